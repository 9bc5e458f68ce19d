/* http_try.c as http_client uses it: when a request is sent again, and when it ends without an answer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/http_client.h"
#include "common/io.h"
#include "tests/lib/http_meeting.h"

/* ---- Trying again ------------------------------------------------------------------------------ */

static void test_http_try_repeats_only_what_is_repeatable(void **state)
{
	CLEANUP(http_client_free) struct http_client *client = http_meeting_plain_client();

	(void)state;
	assert_int_equal(http_meeting_expect(
				 client, &(struct http_request){ .path = "/busy-twice" }, 0, NULL),
			 503);
	assert_int_equal(tls_server_requests(http_meeting.server, "/busy-twice"), 1);
	assert_int_equal(http_meeting_expect(client,
					     &(struct http_request){ .path = "/busy-twice",
								     .repeatable = true },
					     0, NULL),
			 200);
	assert_int_equal(tls_server_requests(http_meeting.server, "/busy-twice"), 3);

	http_meeting_expect(client, &(struct http_request){ .path = "/drop-once" }, -ECONNRESET,
			    "may have been carried out");
	assert_int_equal(tls_server_requests(http_meeting.server, "/drop-once"), 1);
}

static void test_http_try_retries_a_lost_connection(void **state)
{
	CLEANUP(http_client_free) struct http_client *client = http_meeting_plain_client();

	(void)state;
	assert_int_equal(http_meeting_expect(
				 client,
				 &(struct http_request){ .path = "/drop-once", .repeatable = true },
				 0, NULL),
			 200);
	assert_int_equal(tls_server_requests(http_meeting.server, "/drop-once"), 2);
}

static void test_http_try_waits_as_long_as_the_server_asks(void **state)
{
	CLEANUP(http_client_free) struct http_client *client = http_meeting_plain_client();
	struct http_request request = { .path = "/later", .repeatable = true };
	uint64_t began = clock_now_ms();

	(void)state;
	assert_int_equal(http_meeting_expect(client, &request, 0, NULL), 200);
	assert_true(clock_now_ms() - began >= 1000);
}

static void test_http_try_gives_up_at_the_deadline(void **state)
{
	CLEANUP(http_client_free) struct http_client *client = http_meeting_plain_client();
	struct http_request request = { .path = "/much-later",
					.repeatable = true,
					.deadline_ms = 60000 };
	struct http_response response CLEANUP_HTTP_RESPONSE = { 0 };
	uint64_t began = clock_now_ms();
	struct err err = { 0 };
	int r;

	(void)state;
	assert_int_equal(http_meeting_expect(client, &request, 0, NULL),
			 503); /* the last answer it had */
	assert_int_equal(tls_server_requests(http_meeting.server, "/much-later"), 2);
	assert_true(clock_now_ms() - began < 60000);

	/* What happened last: the connection was lost again, or that try was cut off. */
	request.path = "/drop";
	request.deadline_ms = 3000;
	r = http_client_call(client, &request, &response, &err);
	assert_true(r == -ECONNRESET || r == -ETIMEDOUT);
	assert_non_null(strstr(err_text(&err), "tried "));

	request.path = "/stall";
	request.deadline_ms = 1000;
	http_meeting_expect(client, &request, -ETIMEDOUT, "not finished in time");
	http_meeting_expect(client, &(struct http_request){ .path = "/hello" }, 0,
			    NULL); /* connected again */
	request.repeatable = false;
	request.deadline_ms = 2000;
	http_meeting_expect(client, &request, -ETIMEDOUT, "may have been carried out");
}

static void *listen_soon(void *fd)
{
	clock_sleep_ms(400);
	http_meeting_start_with((struct tls_server_options){ .listen_fd = *(int *)fd });
	return NULL;
}

static void test_http_try_waits_for_a_server_that_is_not_up_yet(void **state)
{
	unsigned port;
	int fd = tls_server_reserve(&port);
	char own_url[64];
	struct http_client *client;
	pthread_t thread;

	(void)state;
	snprintf(own_url, sizeof(own_url), "https://127.0.0.1:%u", port);
	client = http_meeting_client((struct http_client_options){ .base_url = own_url });
	http_meeting_expect(client, &(struct http_request){ .path = "/hello" }, -ECONNREFUSED,
			    own_url);
	http_meeting_expect(
		client,
		&(struct http_request){ .path = "/hello", .repeatable = true, .deadline_ms = 3000 },
		-ECONNREFUSED, "tried ");
	assert_int_equal(pthread_create(&thread, NULL, listen_soon, &fd), 0);
	assert_int_equal(
		http_meeting_expect(client,
				    &(struct http_request){ .path = "/hello", .repeatable = true },
				    0, NULL),
		200);
	pthread_join(thread, NULL);
	http_client_free(client);
}

/* On a kept-alive connection libcurl would send a request a second time without asking. */
static void test_http_try_never_sends_twice_behind_our_back(void **state)
{
	CLEANUP(http_client_free) struct http_client *client = http_meeting_plain_client();

	(void)state;
	http_meeting_expect(client, &(struct http_request){ .path = "/hello" }, 0, NULL);
	http_meeting_expect(client, &(struct http_request){ .method = "POST", .path = "/drop" },
			    -ECONNRESET, "may have been carried out");
	assert_int_equal(tls_server_requests(http_meeting.server, "/drop"), 1);
}

/* ---- Time-outs and cancelling ------------------------------------------------------------------ */

static void test_http_try_stall_timeout_counts_silence_only(void **state)
{
	CLEANUP(http_client_free)
	struct http_client *client =
		http_meeting_client((struct http_client_options){ .stall_timeout_ms = 2000 });
	uint64_t began = clock_now_ms();

	(void)state;
	http_meeting_expect(client, &(struct http_request){ .path = "/stall" }, -ETIMEDOUT,
			    "no byte moved for");
	assert_in_range(clock_now_ms() - began, 2000, 60000);
	/* 3 s, but never two of nothing */
	assert_int_equal(
		http_meeting_expect(client, &(struct http_request){ .path = "/trickle" }, 0, NULL),
		200);
}

static void test_http_try_connect_timeout_includes_the_handshake(void **state)
{
	unsigned port;
	CLEANUP_FD int fd = tls_server_reserve(&port); /* the kernel accepts, nobody answers */
	char own_url[64];
	struct http_client *client;
	uint64_t began;

	(void)state;
	assert_int_equal(listen(fd, 8), 0);
	snprintf(own_url, sizeof(own_url), "https://127.0.0.1:%u", port);
	client = http_meeting_client(
		(struct http_client_options){ .base_url = own_url, .connect_timeout_ms = 400 });
	began = clock_now_ms();
	http_meeting_expect(client, &(struct http_request){ .path = "/hello" }, -ETIMEDOUT,
			    own_url);
	assert_in_range(clock_now_ms() - began, 300, 60000);
	http_client_free(client);
}

static void *cancel_soon(void *cancel)
{
	clock_sleep_ms(300);
	atomic_store((atomic_bool *)cancel, true);
	return NULL;
}

static void test_http_try_can_be_cancelled(void **state)
{
	static const char *const paths[] = { "/stall", "/status/503", "/endless" };
	CLEANUP(http_client_free) struct http_client *client = http_meeting_plain_client();

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		atomic_bool cancel = false;
		struct http_request request = {
			.path = paths[i],
			.repeatable = true,
			.cancel = &cancel,
			.response_max = SIZE_MAX / 4,
		};
		uint64_t began = clock_now_ms();
		pthread_t thread;

		assert_int_equal(pthread_create(&thread, NULL, cancel_soon, &cancel), 0);
		http_meeting_expect(client, &request, -ECANCELED, "cancelled");
		assert_in_range(clock_now_ms() - began, 300, 60000);
		pthread_join(thread, NULL);
	}
	/* The client is as good as before. */
	assert_int_equal(
		http_meeting_expect(client, &(struct http_request){ .path = "/hello" }, 0, NULL),
		200);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_SERVER(test_http_try_repeats_only_what_is_repeatable),
		WITH_SERVER(test_http_try_retries_a_lost_connection),
		WITH_SERVER(test_http_try_waits_as_long_as_the_server_asks),
		WITH_SERVER(test_http_try_gives_up_at_the_deadline),
		cmocka_unit_test_teardown(test_http_try_waits_for_a_server_that_is_not_up_yet,
					  http_meeting_stop),
		WITH_SERVER(test_http_try_never_sends_twice_behind_our_back),
		WITH_SERVER(test_http_try_stall_timeout_counts_silence_only),
		cmocka_unit_test(test_http_try_connect_timeout_includes_the_handshake),
		WITH_SERVER(test_http_try_can_be_cancelled),
	};

	return cmocka_run_group_tests_name("http_try", tests, http_meeting_set_up,
					   http_meeting_tear_down);
}
