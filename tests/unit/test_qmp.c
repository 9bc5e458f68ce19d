/* The client against a peer that follows a script: replies in any order, refusals, events in between, a dying QEMU. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/unix_socket.h"
#include "hypervisor/qmp.h"

#define GREETING "{\"QMP\": {\"version\": {}, \"capabilities\": []}}"
#define EVENT    "{\"timestamp\": {\"seconds\": 1, \"microseconds\": 0}, \"event\": \"STOP\"}"

/*
 * The peer reads QMP objects and answers each by its command's name: "good" succeeds, "bad" is refused, "late" is
 * answered after the next command, "silent" never, "die" ends the connection, "noisy" gets an event first, "junk" gets a
 * line that is no JSON.
 */
struct peer {
	int fd;
	pthread_t thread;
	bool got_fd;
	atomic_bool got_late;
};

static void say(int fd, const char *line)
{
	unix_socket_send_line(fd, line, NULL, 0, NULL);
}

static void answer(int fd, json_int_t id, bool ok)
{
	char line[128];

	snprintf(line, sizeof(line),
		 ok ? "{\"return\": {\"n\": %lld}, \"id\": %lld}"
		    : "{\"id\": %lld, \"error\": {\"class\": \"GenericError\", \"desc\": \"no, "
		      "%lld\"}}",
		 (long long)id, (long long)id);
	say(fd, line);
}

/* Return false when the connection is to end. */
static bool act(struct peer *p, const char *name, json_int_t id, json_int_t *late)
{
	if (strcmp(name, "die") == 0)
		return false;
	if (strcmp(name, "late") == 0) {
		*late = id;
		p->got_late = true;
		return true;
	}
	if (strcmp(name, "silent") == 0)
		return true;
	if (strcmp(name, "junk") == 0)
		say(p->fd, "junk");
	if (strcmp(name, "noisy") == 0)
		say(p->fd, EVENT);
	answer(p->fd, id, strcmp(name, "bad") != 0);
	if (*late)
		answer(p->fd, *late, true);
	*late = 0;
	return true;
}

/* Several objects may stand in one line. */
static bool act_on_line(struct peer *p, const char *line, json_int_t *late)
{
	size_t at = 0, len = strlen(line);

	while (at < len) {
		json_error_t where;
		CLEANUP(json_decref)
		json_t *command = json_loadb(line + at, len - at, JSON_DISABLE_EOF_CHECK, &where);
		const char *name = json_string_value(json_object_get(command, "execute"));

		if (!command || !name)
			return false;
		at += (size_t)where.position;
		while (line[at] == ' ')
			at++;
		if (strcmp(name, "qmp_capabilities") == 0)
			say(p->fd, "{\"return\": {}}");
		else if (!act(p, name, json_integer_value(json_object_get(command, "id")), late))
			return false;
	}
	return true;
}

static void *play(void *arg)
{
	struct peer *p = arg;
	struct unix_socket_lines lines = { .fd = p->fd };
	json_int_t late = 0;
	int fds[UNIX_SOCKET_FDS_MAX];
	size_t n;
	char *line;

	say(p->fd, EVENT);
	say(p->fd, GREETING);
	while (unix_socket_read_line(&lines, -1, &line, fds, &n, NULL) == 0) {
		for (size_t i = 0; i < n; i++) {
			p->got_fd = true;
			close(fds[i]);
		}
		if (!act_on_line(p, line, &late))
			break;
	}
	unix_socket_lines_deinit(&lines);
	shutdown(p->fd, SHUT_RDWR);
	return NULL;
}

static atomic_int events, ends;

static void on_event(void *arg, const char *name, const json_t *data, uint64_t time_us)
{
	(void)arg;
	(void)data;
	assert_string_equal(name, "STOP");
	assert_int_equal(time_us, 1000000);
	events++;
}

static void on_closed(void *arg)
{
	(void)arg;
	ends++;
}

static struct qmp *connect_peer(struct peer *p)
{
	const struct qmp_handlers handlers = { .event = on_event, .closed = on_closed };
	struct err err = { .code = 0 };
	struct qmp *qmp = NULL;
	int pair[2];

	events = ends = 0;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	*p = (struct peer){ .fd = pair[0] };
	assert_int_equal(pthread_create(&p->thread, NULL, play, p), 0);
	if (qmp_open(&qmp, pair[1], &handlers, &err) < 0)
		fail_msg("%s", err_text(&err));
	return qmp;
}

static void disconnect(struct peer *p, struct qmp *qmp)
{
	qmp_close(qmp);
	pthread_join(p->thread, NULL);
	close(p->fd);
}

static void test_qmp_run(void **unused)
{
	CLEANUP(json_decref) json_t *reply = NULL;
	struct err err = { .code = 0 };
	struct peer p;
	struct qmp *qmp = connect_peer(&p);

	(void)unused;
	assert_int_equal(qmp_run(qmp, "good", json_pack("{s:i}", "x", 1), &reply, &err), 0);
	assert_true(json_integer_value(json_object_get(reply, "n")) > 0);
	assert_int_equal(qmp_run(qmp, "bad", NULL, NULL, &err), -EREMOTEIO);
	assert_non_null(strstr(err_text(&err), "QEMU refused 'bad': no, "));
	assert_int_equal(qmp_run(qmp, "noisy", NULL, NULL, &err), 0);
	assert_int_equal(events, 1);
	assert_int_equal(qmp_run_fd(qmp, "good", NULL, 0, &err), 0);
	assert_true(p.got_fd);
	assert_int_equal(qmp_tell(qmp, "good"), 0);
	assert_int_equal(qmp_run(qmp, "good", NULL, NULL, &err), 0);
	disconnect(&p, qmp);
	assert_int_equal(ends, 1);
}

static void *run_late(void *arg)
{
	return (void *)(intptr_t)qmp_run(arg, "late", NULL, NULL, NULL);
}

static void test_qmp_replies_in_any_order(void **unused)
{
	struct peer p;
	struct qmp *qmp = connect_peer(&p);
	pthread_t other;
	void *late;

	(void)unused;
	assert_int_equal(pthread_create(&other, NULL, run_late, qmp), 0);
	while (!p.got_late)
		usleep(1000);
	assert_int_equal(qmp_run(qmp, "good", NULL, NULL, NULL), 0);
	pthread_join(other, &late);
	assert_null(late);
	disconnect(&p, qmp);
}

static const struct {
	const char *name, *commands[4];
	int want;
	const char *text;
} batches[] = {
	{ "all good", { "good", "good", "good" }, 0, NULL },
	{ "out of order", { "late", "good", "good" }, 0, NULL },
	{ "the second is refused", { "good", "bad", "good" }, -EREMOTEIO, "'bad'" },
	{ "the first of two refusals counts", { "bad", "good", "bad" }, -EREMOTEIO, "'bad'" },
	{ "one is never answered", { "good", "silent", "good" }, -ETIMEDOUT, "'silent'" },
	{ "QEMU dies", { "good", "die", "good" }, -EPIPE, "'die'" },
	{ "QEMU talks junk", { "good", "silent", "junk" }, -EPIPE, "'silent'" },
};

static void test_qmp_post(void **unused)
{
	(void)unused;
	for (size_t i = 0; i < ARRAY_LEN(batches); i++) {
		struct qmp_command commands[4];
		struct qmp_batch batch;
		struct err err = { .code = 0 };
		struct pollfd wake;
		struct peer p;
		struct qmp *qmp = connect_peer(&p);
		size_t n;
		int r;

		for (n = 0; n < 4 && batches[i].commands[n]; n++)
			commands[n] =
				(struct qmp_command){ .name = batches[i].commands[n],
						      .arguments = json_pack("{s:i}", "x", 1) };
		assert_int_equal(qmp_post(qmp, commands, n, &batch, &err), 0);
		wake = (struct pollfd){ .fd = batch.wake_fd, .events = POLLIN };
		assert_int_equal(poll(&wake, 1, batches[i].want == -ETIMEDOUT ? 100 : 60000),
				 batches[i].want == -ETIMEDOUT ? 0 : 1);
		r = qmp_collect(qmp, &batch, 200, &err);
		if (r != batches[i].want ||
		    (batches[i].text && !strstr(err_text(&err), batches[i].text)))
			fail_msg("%s: got %d (%s)", batches[i].name, r, err_text(&err));
		disconnect(&p, qmp);
	}
}

static void test_qmp_after_the_end(void **unused)
{
	struct err err = { .code = 0 };
	struct qmp_batch batch;
	struct qmp_command command = { .name = "good" };
	struct peer p;
	struct qmp *qmp = connect_peer(&p);
	int r;

	(void)unused;
	assert_int_equal(qmp_run(qmp, "die", NULL, NULL, &err), -EPIPE);
	assert_int_equal(qmp_run(qmp, "good", NULL, NULL, &err), -EPIPE);
	r = qmp_post(qmp, &command, 1, &batch, &err);
	assert_true(r == -EPIPE || qmp_collect(qmp, &batch, 1000, &err) == -EPIPE);
	disconnect(&p, qmp);
	assert_int_equal(ends, 1);
}

static const struct {
	const char *name, *greeting;
	int want;
} greetings[] = {
	{ "nothing", NULL, -EPIPE },
	{ "junk", "SSH-2.0-OpenSSH", -EBADMSG },
	{ "a reply", "{\"return\": {}}", -EBADMSG },
	{ "no end", GREETING, -EPIPE },
};

static void test_qmp_open_refuses(void **unused)
{
	const struct qmp_handlers handlers = { .event = on_event };

	(void)unused;
	for (size_t i = 0; i < ARRAY_LEN(greetings); i++) {
		struct err err = { .code = 0 };
		struct qmp *qmp = NULL;
		int pair[2], r;

		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
		if (greetings[i].greeting)
			say(pair[0], greetings[i].greeting);
		shutdown(pair[0], SHUT_WR);
		r = qmp_open(&qmp, pair[1], &handlers, &err);
		if (r != greetings[i].want)
			fail_msg("%s: got %d (%s)", greetings[i].name, r, err_text(&err));
		close(pair[0]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_qmp_run),
		cmocka_unit_test(test_qmp_replies_in_any_order),
		cmocka_unit_test(test_qmp_post),
		cmocka_unit_test(test_qmp_after_the_end),
		cmocka_unit_test(test_qmp_open_refuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
