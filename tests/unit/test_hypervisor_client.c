/* The agent's end of the hypervisor's socket, against hypervisors that die at every moment of a connection. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client-agent/hypervisor_client.h"
#include "common/base.h"
#include "common/clock.h"
#include "common/io.h"
#include "common/unix_socket.h"

enum { LINES_MAX = 4 };

/* What is answered on one connection, line by line; then it ends. "": nothing. */
struct life {
	const char *answers[LINES_MAX];
	size_t count;
};

/* In place of an answer: it reads nothing any more, and ends when the client does. */
static const char deaf[] = "deaf";

#define OK "\"ok\": {}"

struct peer {
	char folder[64];
	char *path;
	int fd;
	const struct life *lives;
	size_t count;
	pthread_t thread;
	char said
		[1024]; /* the ops that came, one connection after the other: "hello pause | hello …" */
};

static void note(struct peer *p, const char *word)
{
	size_t len = strlen(p->said);

	snprintf(p->said + len, sizeof(p->said) - len, "%s%s", len ? " " : "", word);
}

static void live(struct peer *p, const struct life *life, int fd)
{
	struct unix_socket_lines lines = { .fd = fd };
	size_t i;

	for (i = 0; i < life->count; i++) {
		json_t *request = NULL;
		char *line, *answer;

		if (life->answers[i] == deaf) {
			if (poll(&(struct pollfd){ .fd = fd }, 1, 60000) == 1)
				note(p, "cut");
			break;
		}
		if (unix_socket_read_line(&lines, 60000, &line, NULL, NULL, NULL) != 0)
			break;
		assert_int_equal(json_parse(&request, line, strlen(line), "a request", NULL), 0);
		note(p, json_string_value(json_object_get(request, "op")));
		answer = io_printf("{\"id\": %lld, %s}",
				   (long long)json_integer_value(json_object_get(request, "id")),
				   life->answers[i]);
		if (life->answers[i][0])
			unix_socket_send_line(fd, answer, NULL, 0, NULL);
		free(answer);
		json_decref(request);
	}
	unix_socket_lines_deinit(&lines);
}

static void *serve(void *arg)
{
	struct peer *p = arg;
	size_t i;

	for (i = 0; i < p->count; i++) {
		int fd = accept(p->fd, NULL, NULL);

		if (fd < 0)
			break;
		if (i > 0)
			note(p, "|");
		live(p, &p->lives[i], fd);
		close(fd);
	}
	return NULL;
}

static void peer_start(struct peer *p, const struct life *lives, size_t count)
{
	*p = (struct peer){ .lives = lives, .count = count };
	snprintf(p->folder, sizeof(p->folder), "/tmp/godwit-test-hv.XXXXXX");
	assert_non_null(mkdtemp(p->folder));
	p->path = io_printf("%s/socket", p->folder);
	p->fd = unix_socket_listen(p->path, 0600, NULL);
	assert_true(p->fd >= 0);
	assert_int_equal(pthread_create(&p->thread, NULL, serve, p), 0);
}

static void peer_stop(struct peer *p)
{
	shutdown(p->fd, SHUT_RDWR);
	pthread_join(p->thread, NULL);
	close(p->fd);
	unlink(p->path);
	rmdir(p->folder);
	free(p->path);
}

static const struct {
	const char *name;
	struct life lives[3];
	size_t count;
	bool again;
	int want;         /* what the call `pause` returns */
	const char *said; /* what the hypervisors heard */
	unsigned connections;
} cases[] = {
	{ "one that answers", { { { OK, OK }, 2 } }, 1, false, 0, "hello pause", 1 },
	{ "one that takes the connection while it dies is none: the call waits for the next",
	  { { { NULL }, 0 }, { { "" }, 1 }, { { OK, OK }, 2 } },
	  3,
	  false,
	  0,
	  "| hello | hello pause",
	  1 },
	{ "one that dies with the request: nobody knows whether it was done",
	  { { { OK, "" }, 2 } },
	  1,
	  false,
	  -ECONNRESET,
	  "hello pause",
	  1 },
	{ "what may be done twice is sent again",
	  { { { OK, "" }, 2 }, { { "" }, 1 }, { { OK, OK }, 2 } },
	  3,
	  true,
	  0,
	  "hello pause | hello | hello pause",
	  2 },
	{ "its refusal is passed on, and is no reason to send again",
	  { { { OK, "\"error\": {\"code\": \"EBUSY\", \"text\": \"a capture is open\"}" }, 2 } },
	  1,
	  true,
	  -EBUSY,
	  "hello pause",
	  1 },
};

static void a_connection_counts_when_it_is_answered(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_LEN(cases); i++) {
		struct hypervisor_client *client = NULL;
		struct err err = { 0 };
		struct peer peer;
		int r;

		peer_start(&peer, cases[i].lives, cases[i].count);
		assert_int_equal(hypervisor_client_new(&client, peer.path, &err), 0);
		r = hypervisor_client_call(client,
					   &(struct hypervisor_call){ .op = "pause",
								      .desktop = "anna",
								      .again = cases[i].again,
								      .timeout_ms = 60000 },
					   &err);
		if (r != cases[i].want || strcmp(peer.said, cases[i].said) != 0 ||
		    hypervisor_client_connections(client) != cases[i].connections)
			fail_msg("%s: got %d (%s), \"%s\", %ju connections", cases[i].name, r,
				 err_text(&err), peer.said,
				 (uintmax_t)hypervisor_client_connections(client));
		hypervisor_client_free(client);
		peer_stop(&peer);
	}
}

/* Nobody answers: the call says so when its time is over, and not before. */
static void nobody_answers(void **state)
{
	static const struct life mute = { { "", "" }, 2 };
	struct hypervisor_client *client = NULL;
	struct err err = { 0 };
	struct peer peer;

	(void)state;
	peer_start(&peer, &mute, 1);
	assert_int_equal(hypervisor_client_new(&client, peer.path, &err), 0);
	assert_int_equal(hypervisor_client_call(client,
						&(struct hypervisor_call){ .op = "pause",
									   .desktop = "anna",
									   .timeout_ms = 300 },
						&err),
			 -ENOTCONN);
	assert_non_null(strstr(err_text(&err), "no hypervisor answers on"));
	hypervisor_client_free(client);
	peer_stop(&peer);
}

/*
 * A hypervisor that does not read: of a request that is larger than what the kernel keeps, only a part goes out. Whatever
 * were sent behind it would be read as its end, so the connection is over, and the next call gets another.
 */
static void a_request_sent_in_part_cuts_the_connection(void **state)
{
	static const struct life lives[] = { { { OK, deaf }, 2 }, { { OK, OK }, 2 } };
	struct hypervisor_client *client = NULL;
	CLEANUP_FREE char *filler = calloc(1, UNIX_SOCKET_LINE_MAX);
	json_t *args;
	struct err err = { 0 };
	struct peer peer;
	int tries;

	(void)state;
	assert_non_null(filler);
	memset(filler, 'x', UNIX_SOCKET_LINE_MAX - 1024);
	args = json_pack("{s:s}", "text", filler);
	peer_start(&peer, lives, ARRAY_LEN(lives));
	assert_int_equal(hypervisor_client_new(&client, peer.path, &err), 0);
	for (tries = 0; tries < 6000 && hypervisor_client_connections(client) == 0; tries++)
		clock_sleep_ms(10);
	/* The kernel could have room for the first ones. */
	for (tries = 0; tries < 100 && !strstr(err_text(&err), "send a line"); tries++)
		assert_int_equal(
			hypervisor_client_call(client,
					       &(struct hypervisor_call){ .op = "restore",
									  .desktop = "anna",
									  .args = args,
									  .timeout_ms = 500 },
					       &err),
			-ETIMEDOUT);
	assert_int_equal(hypervisor_client_call(client,
						&(struct hypervisor_call){ .op = "pause",
									   .desktop = "anna",
									   .timeout_ms = 60000 },
						&err),
			 0);
	assert_int_equal(hypervisor_client_connections(client), 2);
	hypervisor_client_free(client);
	peer_stop(&peer);
	assert_string_equal(peer.said, "hello cut | hello pause");
	json_decref(args);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_connection_counts_when_it_is_answered),
		cmocka_unit_test(nobody_answers),
		cmocka_unit_test(a_request_sent_in_part_cuts_the_connection),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
