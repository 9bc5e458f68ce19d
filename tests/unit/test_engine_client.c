/* What becomes of a content when the engine misbehaves: the engine here is this program itself, started with other arguments. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "mgmt-server/scan/engine_client.h"

enum { CONTROL_FD = 3 };

/* ---- The engine: argv[1], the signature folder, says how it behaves ---- */

static void hello(const char *mode)
{
	struct engine_hello h = { .signatures = 1 };

	if (!strcmp(mode, "no-signatures")) {
		h.status = -ENOENT;
		snprintf(h.version, sizeof(h.version), "no signatures in %s", mode);
	}
	engine_wire_send(CONTROL_FD, &h, sizeof(h), -1);
}

static int new_worker(void)
{
	struct engine_worker_ready ready = { 0 };
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		_exit(3);
	engine_wire_send(CONTROL_FD, &ready, sizeof(ready), pair[0]);
	close(pair[0]);
	return pair[1];
}

static struct engine_reply answer(const char *mode)
{
	struct engine_reply r = { .verdict = ENGINE_CLEAN, .canaries = ENGINE_CANARIES };

	if (!strcmp(mode, "no-canary"))
		r.canaries = 0;
	else if (!strcmp(mode, "no-archive-canary"))
		r.canaries = ENGINE_CANARY_PLAIN;
	else if (!strcmp(mode, "nonsense"))
		r.verdict = 77;
	else if (!strcmp(mode, "infected"))
		r.verdict = ENGINE_INFECTED,
		memset(r.text, 'x', sizeof(r.text)); /* not terminated */
	return r;
}

static int engine(const char *mode)
{
	int deaths = !strcmp(mode, "dies-once") ? 1 : !strcmp(mode, "dies") ? 100 : 0;

	hello(mode);
	if (!strcmp(mode, "ends"))
		return 0;
	for (int fd = new_worker();;) {
		struct engine_request request;
		struct engine_reply reply = answer(mode);
		int content = -1;

		if (engine_wire_receive(fd, &request, sizeof(request), &content, -1))
			return 0;
		close(content);
		if (deaths-- > 0) {
			close(fd); /* the worker is gone, a new one takes its place */
			fd = new_worker();
			continue;
		}
		engine_wire_send(fd, &reply,
				 !strcmp(mode, "half") ? sizeof(reply) / 2 : sizeof(reply), -1);
	}
}

/* ---- The tests ---- */

static const struct {
	const char *mode;
	enum engine_verdict want;
	const char *text; /* part of the reason */
} cases[] = {
	{ "honest", ENGINE_CLEAN, "" },
	{ "dies-once", ENGINE_CLEAN, "" },
	{ "dies", ENGINE_UNFINISHED, "died twice" },
	{ "ends", ENGINE_UNFINISHED, "died twice" },
	{ "no-canary", ENGINE_UNFINISHED, "canary" },
	{ "no-archive-canary", ENGINE_UNFINISHED, "inside an archive" },
	{ "nonsense", ENGINE_UNFINISHED, "no verdict" },
	{ "half", ENGINE_UNFINISHED, "died twice" },
	{ "infected", ENGINE_INFECTED, "xxx" },
};

static void test_engine_client_believes_only_proof(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		CLEANUP(engine_client_stop) struct engine_client *e = NULL;
		CLEANUP_FD int content = memfd_create("content", MFD_CLOEXEC);
		struct engine_reply reply = { .verdict = ENGINE_CLEAN };
		struct err err = { 0 };

		assert_int_equal(write(content, "hello", 5), 5);
		assert_int_equal(engine_client_start(&e, "/proc/self/exe", cases[i].mode, 1, &err),
				 0);
		engine_client_scan(e, content, 5, &reply);
		if (reply.verdict != cases[i].want || !strstr(reply.text, cases[i].text))
			fail_msg("%s: verdict %u, '%s'", cases[i].mode, reply.verdict, reply.text);
		assert_true(strlen(reply.text) < ENGINE_TEXT_MAX);
	}
}

static void test_engine_client_needs_signatures(void **state)
{
	struct engine_client *e = NULL;
	struct err err = { 0 };

	(void)state;
	assert_int_equal(engine_client_start(&e, "/proc/self/exe", "no-signatures", 1, &err),
			 -ENOENT);
	assert_non_null(strstr(err.text, "no signatures"));
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_engine_client_believes_only_proof),
		cmocka_unit_test(test_engine_client_needs_signatures),
	};

	if (argc == 4) /* SIGNATURES TEMP WORKERS */
		return engine(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
