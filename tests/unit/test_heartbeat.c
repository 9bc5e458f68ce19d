#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdint.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client-agent/heartbeat.h"
#include "client-agent/memory_server.h"
#include "common/base.h"
#include "common/clock.h"
#include "common/io.h"
#include "common/json.h"
#include "common/unix_socket.h"
#include "tests/lib/certificates.h"
#include "tests/lib/tls_server.h"

static void test_heartbeat_ttl_counts_from_sending(void **state)
{
	static const struct {
		const char *name;
		uint64_t ttl_ms, sent_ms, now_ms, want;
	} cases[] = {
		{ "answered at once", 6000, 1000, 1000, 6000 },
		{ "the journey is taken off", 6000, 1000, 1250, 5750 },
		{ "last millisecond", 6000, 1000, 6999, 1 },
		{ "exactly over", 6000, 1000, 7000, 0 },
		{ "long over", 6000, 1000, UINT64_MAX, 0 },
		{ "no right at all", 0, 1000, 1000, 0 },
		{ "longest", UINT64_MAX, 0, 1, UINT64_MAX - 1 },
		{ "a clock that went back", 6000, 1000, 900, 6000 },
	};
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_LEN(cases); i++) {
		uint64_t got =
			heartbeat_ttl_left(cases[i].ttl_ms, cases[i].sent_ms, cases[i].now_ms);

		if (got != cases[i].want)
			fail_msg("%s: %ju", cases[i].name, (uintmax_t)got);
	}
}

/* ---- An agent's heartbeat between a server and a hypervisor that this test plays ------------------------------- */

enum { TTL_MS = 2000, SLOW_MS = 400 };

static struct {
	struct certificates made;
	struct tls_server *server;
	struct agent agent;
	struct heartbeat *heartbeat;
	char folder[64];
	char *socket;
	int listen_fd, fd;
	pthread_t hypervisor;

	const char *desktops; /* what the hypervisor lists */
	const char *answer;   /* what the server says after the interval */
	unsigned interval_ms; /* as the server wants it; 0: a second */
	unsigned lost;        /* the number of the request that gets no answer */
	bool slow, orphan_hangs;
	unsigned doubts; /* it ends with so many heartbeats that name "bert" and show its number */
	unsigned shown;
	bool bert_only; /* the answer is for heartbeats that name "bert"; others get an empty one */
	atomic_uint leases, orphans, cuts, cures;
	_Atomic(uint64_t) asked_at_ms; /* when the server got the heartbeat that named "bert" */
	char *asked;                   /* its body */
} world;

static void reply(int fd, const json_t *request, const char *ok)
{
	char *line = io_printf("{\"id\":%lld,\"ok\":%s}",
			       (long long)json_integer_value(json_object_get(request, "id")), ok);

	unix_socket_send_line(fd, line, NULL, 0, NULL);
	free(line);
}

static void hypervisor_line(int fd, const char *line)
{
	CLEANUP(json_decref) json_t *request = json_loads(line, 0, NULL);
	const char *op = json_string_value(json_object_get(request, "op"));
	char *list = NULL;

	if (strcmp(op, "hello") == 0) {
		reply(fd, request,
		      "{\"version\":\"1\",\"accelerator\":\"tcg\",\"note\":\"\",\"cpus\":1,"
		      "\"memory_mib\":1,\"disk_free_bytes\":1,\"live_capture\":true}");
	} else if (strcmp(op, "list") == 0) {
		list = io_printf("{\"desktops\":%s}", world.desktops);
		reply(fd, request, list);
	} else if (strcmp(op, "lease") == 0) {
		world.leases++;
		reply(fd, request, "{}");
	} else if (strcmp(op, "quarantine") == 0) {
		if (json_is_true(json_object_get(request, "on")))
			world.cuts++;
		else
			world.cures++;
		reply(fd, request, "{}");
	} else if (strcmp(op, "orphan") == 0) {
		world.orphans++;
		if (!world.orphan_hangs)
			reply(fd, request, "{\"folder\":\"/x\"}");
	}
	free(list);
}

static void *hypervisor(void *arg)
{
	int fd = world.fd = accept(world.listen_fd, NULL, NULL);
	struct unix_socket_lines lines = { .fd = fd };
	char *line;

	(void)arg;
	while (unix_socket_read_line(&lines, -1, &line, NULL, NULL, NULL) == 0)
		hypervisor_line(fd, line);
	unix_socket_lines_deinit(&lines);
	close(fd);
	return NULL;
}

#define IN_DOUBT "\"doubt\":\"17\",\"leases\":[],\"stale\":[]"

static const char *answer_to(const struct tls_server_request *r)
{
	bool bert = strstr(r->body, "bert");

	/* Not counted by answers: one that came too late was not heard. */
	if (bert && strstr(r->body, "\"doubt\":\"17\""))
		world.shown++;
	if (bert && world.shown < world.doubts)
		return IN_DOUBT;
	return world.bert_only && !bert ? "\"leases\":[],\"stale\":[]" : world.answer;
}

static bool server_answers(const struct tls_server_request *r)
{
	char body[1024];

	if (r->number == world.lost)
		return false;
	if (strstr(r->body,
		   "bert")) { /* the last one of these is the one that was answered in time */
		free(world.asked);
		world.asked = strndup(r->body, r->body_len);
		world.asked_at_ms = clock_now_ms();
	}
	if (world.slow)
		clock_sleep_ms(SLOW_MS);
	snprintf(body, sizeof(body), "{\"interval_ms\":%u,%s}",
		 world.interval_ms ? world.interval_ms : 1000, answer_to(r));
	return tls_server_reply(r, 200, "Content-Type: application/json\r\n", body, strlen(body));
}

static void begin(void)
{
	char url[64];

	strcpy(world.folder, "/tmp/godwit-beat-XXXXXX");
	assert_non_null(mkdtemp(world.folder));
	world.socket = io_printf("%s/s", world.folder);
	world.listen_fd = unix_socket_listen(world.socket, 0600, NULL);
	assert_true(world.listen_fd >= 0);
	assert_int_equal(pthread_create(&world.hypervisor, NULL, hypervisor, NULL), 0);
	certificates_init(&world.made);
	world.server = tls_server_start(&(struct tls_server_options){ .chain_pem = world.made.chain,
								      .key_pem = world.made.key,
								      .answer = server_answers });
	snprintf(url, sizeof(url), "https://127.0.0.1:%u", tls_server_port(world.server));
	world.agent.identity = (struct identity){ .url = strdup(url),
						  .ca_pem = world.made.ca,
						  .cert_pem = world.made.client,
						  .key_pem = world.made.key };
	assert_int_equal(memory_server_new(&world.agent.memory, &world.agent, NULL), 0);
	assert_int_equal(hypervisor_client_new(&world.agent.hypervisor, world.socket, NULL), 0);
	assert_int_equal(heartbeat_start(&world.heartbeat, &world.agent, NULL), 0);
}

static void end(void)
{
	world.agent.stop = true;
	heartbeat_stop(world.heartbeat);
	shutdown(world.fd, SHUT_RDWR);
	heartbeat_free(world.heartbeat); /* also of the thread that waited in `orphan` */
	hypervisor_client_free(world.agent.hypervisor);
	pthread_join(world.hypervisor, NULL);
	tls_server_stop(world.server);
	close(world.listen_fd);
	unlink(world.socket);
	rmdir(world.folder);
	free(world.socket);
	free(world.asked);
	/* In the agent it stays until the process ends: jobs may still wait for it. */
	free(world.agent.memory);
	free(world.agent.identity.url);
	certificates_deinit(&world.made);
	memset(&world, 0, sizeof(world));
}

static bool comes_true(bool (*holds)(void))
{
	uint64_t until = clock_now_ms() + 60000;

	while (!holds() && clock_now_ms() < until)
		clock_sleep_ms(10);
	return holds();
}

#define ANNA                                                                                       \
	"[{\"desktop\":\"anna\",\"epoch\":1,\"state\":\"running\",\"snapshot\":\"\",\"memory\":"   \
	"\"local\","                                                                               \
	"\"disks\":[],\"capture\":false,\"lease_ms\":1,\"first_output_ms\":null,\"machine\":{},"   \
	"\"reason\":\"\"}]"
#define ANNA_RENEWED "{\"desktop\":\"anna\",\"epoch\":1,\"ttl_ms\":2000}"

/* A grant does not let run: the right counts from a heartbeat that was sent after it, and from its sending. */
static void test_heartbeat_confirms_what_was_granted(void **state)
{
	struct heartbeat_right right = { .until_ms = 0 };
	uint64_t before;
	atomic_bool cancel = false;
	struct err err = { 0 };

	(void)state;
	world.desktops = "[]";
	world.slow = world.bert_only = true;
	world.answer = "\"leases\":[{\"desktop\":\"bert\",\"epoch\":4,\"ttl_ms\":2000,"
		       "\"quarantined\":true}],\"stale\":[]";
	begin();
	before = clock_now_ms();
	assert_int_equal(heartbeat_confirm(world.heartbeat, "bert", 4, &cancel, &right, &err), 0);
	assert_true(clock_now_ms() >= before + SLOW_MS);
	assert_non_null(strstr(world.asked, "\"bert\""));
	assert_in_range(right.until_ms, before + TTL_MS, world.asked_at_ms + TTL_MS);
	assert_true(right.quarantined);
	assert_int_equal(world.leases,
			 0); /* the hypervisor has nothing yet that could be renewed */
	end();
}

static void test_heartbeat_refuses_what_is_over(void **state)
{
	static const char *const answers[] = {
		"\"leases\":[],\"stale\":[{\"desktop\":\"bert\",\"epoch\":4}]",
		"\"leases\":[{\"desktop\":\"bert\",\"epoch\":5,\"ttl_ms\":2000}],\"stale\":[]",
		"\"leases\":[],\"stale\":[]",
		"\"doubt\":\"17\",\"leases\":[],\"stale\":[{\"desktop\":\"bert\",\"epoch\":4}]",
	};
	atomic_bool cancel = false;
	struct err err = { 0 };
	struct heartbeat_right right;
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_LEN(answers); i++) {
		world.desktops = "[]";
		world.bert_only = true;
		world.answer = answers[i];
		begin();
		assert_int_equal(
			heartbeat_confirm(world.heartbeat, "bert", 4, &cancel, &right, &err),
			-ESTALE);
		assert_int_equal(world.orphans, 0);
		end();
	}
}

/* It says at once which leases are in force, with the doubt's number; who wants to begin waits for a word. */
static void test_heartbeat_answers_a_doubt(void **state)
{
	static const struct {
		unsigned doubts, interval_ms, least_ms, most_ms;
	} cases[] = {
		{ 1, 60000, 0, 50000 },    /* a new one: the interval is not waited for */
		{ 2, 1000, 1000, 120000 }, /* one that lasts: it is */
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct heartbeat_right right = { .until_ms = 0 };
		atomic_bool cancel = false;
		struct err err = { 0 };
		uint64_t began;

		world.desktops = ANNA;
		world.doubts = cases[i].doubts;
		world.interval_ms = cases[i].interval_ms;
		world.bert_only = true;
		world.answer = "\"leases\":[{\"desktop\":\"bert\",\"epoch\":4,\"ttl_ms\":2000}],"
			       "\"stale\":[]";
		began = clock_now_ms();
		begin();
		assert_int_equal(
			heartbeat_confirm(world.heartbeat, "bert", 4, &cancel, &right, &err), 0);
		assert_in_range(clock_now_ms() - began, cases[i].least_ms, cases[i].most_ms);
		assert_non_null(strstr(world.asked, "\"doubt\":\"17\""));
		assert_non_null(strstr(world.asked, "\"lease_ms\":1"));
		end();
	}
}

static bool three_renewals(void)
{
	return world.leases >= 3;
}

static bool one_orphan(void)
{
	return world.orphans >= 1;
}

static void test_heartbeat_renews_while_a_stale_desktop_dies_slowly(void **state)
{
	(void)state;
	world.desktops = ANNA;
	world.orphan_hangs = true;
	world.answer =
		"\"leases\":[" ANNA_RENEWED "],\"stale\":[{\"desktop\":\"carl\",\"epoch\":1}]";
	begin();
	assert_true(comes_true(one_orphan));
	world.leases = 0;
	assert_true(comes_true(three_renewals));
	assert_int_equal(world.orphans,
			 1); /* not one more for each time that the server repeats it */
	end();
}

static bool one_renewal(void)
{
	return world.leases >= 1;
}

/* The second one, which asks for bert, is lost; the next interval would end a minute later. */
static void test_heartbeat_is_soon_repeated(void **state)
{
	struct heartbeat_right right;
	atomic_bool cancel = false;
	struct err err = { 0 };
	uint64_t began;

	(void)state;
	world.desktops = ANNA;
	world.interval_ms = 60000;
	world.lost = 2;
	world.answer = "\"leases\":[" ANNA_RENEWED "],\"stale\":[]";
	begin();
	assert_true(comes_true(one_renewal));
	began = clock_now_ms();
	assert_int_equal(heartbeat_confirm(world.heartbeat, "bert", 4, &cancel, &right, &err),
			 -ESTALE);
	assert_true(clock_now_ms() < began + 50000);
	assert_true(tls_server_requests(world.server, AGENT_PREFIX "/heartbeat") >= 3);
	assert_null(strstr(world.asked, "lease_ms")); /* no server in doubt wants to know */
	end();
}

#define ANNA_QUARANTINED                                                                           \
	"[{\"desktop\":\"anna\",\"epoch\":1,\"state\":\"running\",\"snapshot\":\"\",\"memory\":"   \
	"\"local\","                                                                               \
	"\"disks\":[],\"capture\":false,\"quarantined\":true}]"
#define KEEP_QUARANTINED "{\"desktop\":\"anna\",\"epoch\":1,\"ttl_ms\":2000,\"quarantined\":true}"

/* The hypervisor hears of it whenever it has something else than the server wants, and only then. */
static void test_heartbeat_passes_a_quarantine_on(void **state)
{
	static const struct {
		const char *name, *desktops, *lease;
		unsigned cuts, cures; /* with each heartbeat */
	} cases[] = {
		{ "begins", ANNA, KEEP_QUARANTINED, 1, 0 },
		{ "goes on", ANNA_QUARANTINED, KEEP_QUARANTINED, 0, 0 },
		{ "ends", ANNA_QUARANTINED, ANNA_RENEWED, 0, 1 },
		{ "none", ANNA, ANNA_RENEWED, 0, 0 },
		{ "another epoch's", ANNA,
		  "{\"desktop\":\"anna\",\"epoch\":2,\"ttl_ms\":2000,\"quarantined\":true}", 0, 0 },
		{ "nothing is said of it", ANNA_QUARANTINED, "", 0, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char *answer = io_printf("\"leases\":[%s],\"stale\":[]", cases[i].lease);
		struct heartbeat_right right;
		atomic_bool cancel = false;
		struct err err = { 0 };

		world.desktops = cases[i].desktops;
		world.answer = answer;
		begin();
		/* It hears of bert after the rest of that answer was followed. */
		assert_int_equal(
			heartbeat_confirm(world.heartbeat, "bert", 4, &cancel, &right, &err),
			-ESTALE);
		if ((cases[i].cuts > 0) != (world.cuts > 0) ||
		    (cases[i].cures > 0) != (world.cures > 0))
			fail_msg("%s: cut %u times, given back %u times", cases[i].name, world.cuts,
				 world.cures);
		end();
		free(answer);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_heartbeat_ttl_counts_from_sending),
		cmocka_unit_test(test_heartbeat_confirms_what_was_granted),
		cmocka_unit_test(test_heartbeat_refuses_what_is_over),
		cmocka_unit_test(test_heartbeat_answers_a_doubt),
		cmocka_unit_test(test_heartbeat_renews_while_a_stale_desktop_dies_slowly),
		cmocka_unit_test(test_heartbeat_is_soon_repeated),
		cmocka_unit_test(test_heartbeat_passes_a_quarantine_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
