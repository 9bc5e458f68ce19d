/* http_client.c: exchanges, what is refused, and values as JSON. Trying again: test_http_try.c; trust: test_http_trust.c. */
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

enum { BIG = HTTP_ANSWERS_BIG, UPLOAD = 8 << 20 };

/* ---- Exchanges that work ----------------------------------------------------------------------- */

static void test_http_client_gets_and_keeps_the_connection(void **state)
{
	CLEANUP(http_client_free) struct http_client *client = http_meeting_plain_client();
	uint64_t sent, received;

	(void)state;
	for (int i = 0; i < 3; i++) {
		struct http_response response CLEANUP_HTTP_RESPONSE = { 0 };
		struct err err = { 0 };

		if (http_client_call(client, &(struct http_request){ .path = "/hello" }, &response,
				     &err) < 0)
			fail_msg("%s", err_text(&err));
		assert_int_equal(response.status, 200);
		assert_int_equal(response.body_len, 5);
		assert_string_equal((char *)response.body, "hello");
	}
	assert_int_equal(tls_server_connections(http_meeting.server), 1);
	http_client_bytes(client, &sent, &received);
	assert_int_equal(sent, 0);
	assert_int_equal(received, 15);
}

static void test_http_client_sends_bodies(void **state)
{
	CLEANUP(http_client_free) struct http_client *client = http_meeting_plain_client();
	struct http_response response CLEANUP_HTTP_RESPONSE = { 0 };
	CLEANUP_FREE char *body = malloc(UPLOAD);
	struct http_request request = {
		.method = "POST", .path = "/echo", .body = body, .body_len = UPLOAD
	};
	uint64_t sent, received;

	(void)state;
	for (size_t i = 0; i < UPLOAD; i++)
		body[i] = (char)(i * 2654435761u >> 24);
	assert_int_equal(http_client_call(client, &request, &response, NULL), 0);
	assert_int_equal(response.body_len, UPLOAD);
	assert_memory_equal(response.body, body, UPLOAD);
	http_client_bytes(client, &sent, &received);
	assert_int_equal(sent, UPLOAD);
	assert_int_equal(received, UPLOAD);
}

static const struct {
	const char *method, *body, *type, *key;
	const char *has, *has_not;
} header_cases[] = {
	{ "GET", NULL, NULL, NULL, "Authorization: Bearer s3cr3t\r\n", "Content-Type:" },
	{ "POST", "{}", NULL, NULL, "Content-Type: application/json\r\n", "Expect:" },
	{ "POST", "ab", "application/octet-stream", NULL,
	  "Content-Type: application/octet-stream\r\n", "json" },
	{ "POST", NULL, NULL, NULL, "Content-Length: 0\r\n", "Content-Type:" },
	{ "PUT", "", NULL, NULL, "Content-Length: 0\r\n", "Transfer-Encoding" },
	{ "DELETE", NULL, NULL, NULL, "Authorization:", "Content-Length:" },
	{ "POST", "{}", NULL, NULL, "Content-Length: 2\r\n", "Idempotency-Key" },
	{ "POST", "{}", NULL, "00ff", "Idempotency-Key: 00ff\r\n", "Expect:" },
};

static void test_http_client_sends_the_right_headers(void **state)
{
	CLEANUP(http_client_free)
	struct http_client *client =
		http_meeting_client((struct http_client_options){ .bearer = "s3cr3t" });

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(header_cases); i++) {
		struct http_response response CLEANUP_HTTP_RESPONSE = { 0 };
		struct http_request request = {
			.method = header_cases[i].method,
			.path = "/headers",
			.body = header_cases[i].body,
			.body_len = header_cases[i].body ? strlen(header_cases[i].body) : 0,
			.body_type = header_cases[i].type,
			.key = header_cases[i].key,
		};

		assert_int_equal(http_client_call(client, &request, &response, NULL), 0);
		if (!strstr((char *)response.body, header_cases[i].has) ||
		    strstr((char *)response.body, header_cases[i].has_not))
			fail_msg("case %zu:\n%s", i, (char *)response.body);
	}
}

static void test_http_client_returns_any_status_as_it_is(void **state)
{
	CLEANUP(http_client_free) struct http_client *client = http_meeting_plain_client();
	struct http_response response CLEANUP_HTTP_RESPONSE = { 0 };

	(void)state;
	assert_int_equal(http_meeting_expect(
				 client, &(struct http_request){ .path = "/status/500" }, 0, NULL),
			 500);
	assert_int_equal(
		http_meeting_expect(client, &(struct http_request){ .path = "/redirect" }, 0, NULL),
		302);
	assert_int_equal(tls_server_requests(http_meeting.server, "/hello"), 0);
	assert_int_equal(http_client_call(client, &(struct http_request){ .path = "/nothing" },
					  &response, NULL),
			 0);
	assert_int_equal(response.status, 204);
	assert_int_equal(response.body_len, 0);
	assert_string_equal((char *)response.body, "");
}

static void *call_often(void *arg)
{
	struct http_client *client = arg;

	for (int i = 0; i < 25; i++) {
		CLEANUP_FREE char *body = io_printf("%p %d", (void *)&client, i);
		struct http_response response CLEANUP_HTTP_RESPONSE = { 0 };
		struct http_request request = {
			.method = "POST", .path = "/echo", .body = body, .body_len = strlen(body)
		};

		if (http_client_call(client, &request, &response, NULL) < 0 ||
		    strcmp((char *)response.body, body) != 0)
			return "wrong answer";
	}
	return NULL;
}

static void test_http_client_serves_many_threads(void **state)
{
	CLEANUP(http_client_free) struct http_client *client = http_meeting_plain_client();
	pthread_t threads[8];
	void *problem;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, call_often, client), 0);
	for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
		pthread_join(threads[i], &problem);
		assert_null(problem);
	}
	assert_int_equal(tls_server_requests(http_meeting.server, "/echo"), 200);
	assert_in_range(tls_server_connections(http_meeting.server), 1, ARRAY_LEN(threads));
}

/* ---- Answers that are wrong -------------------------------------------------------------------- */

static void test_http_client_limits_the_answer(void **state)
{
	CLEANUP(http_client_free) struct http_client *client = http_meeting_plain_client();

	(void)state;
	http_meeting_expect(client, &(struct http_request){ .path = "/big", .response_max = BIG },
			    0, NULL);
	http_meeting_expect(client,
			    &(struct http_request){
				    .path = "/big", .response_max = BIG - 1, .repeatable = true },
			    -EMSGSIZE, "longer than 99999 bytes");
	assert_int_equal(tls_server_requests(http_meeting.server, "/big"), 2);
	http_meeting_expect(client,
			    &(struct http_request){ .path = "/endless", .response_max = 1000 },
			    -EMSGSIZE, "longer than 1000 bytes");
	http_meeting_expect(client, &(struct http_request){ .path = "/endless" }, -EMSGSIZE, NULL);
}

static void test_http_client_refuses_broken_answers(void **state)
{
	CLEANUP(http_client_free) struct http_client *client = http_meeting_plain_client();

	(void)state;
	http_meeting_expect(client, &(struct http_request){ .path = "/half" }, -ECONNRESET,
			    http_meeting.url);
	http_meeting_expect(client, &(struct http_request){ .path = "/garbage" }, -EPROTO,
			    http_meeting.url);
}

/* Must not end in SIGPIPE either. */
static void test_http_client_survives_a_cut_off_upload(void **state)
{
	CLEANUP(http_client_free) struct http_client *client = http_meeting_plain_client();
	CLEANUP_FREE char *body = calloc(1, UPLOAD);
	struct http_request request = {
		.method = "PUT", .path = "/cut-off", .body = body, .body_len = UPLOAD
	};

	(void)state;
	http_meeting_expect(client, &request, -ECONNRESET, "may have been carried out");
}

static void *speak_plainly(void *arg)
{
	int fd = accept(*(int *)arg, NULL, NULL);
	char buf[512];

	if (read(fd, buf, sizeof(buf)) > 0 &&
	    write(fd, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 38) > 0)
		shutdown(fd, SHUT_WR);
	close(fd);
	return NULL;
}

static void test_http_client_never_speaks_without_tls(void **state)
{
	unsigned port;
	CLEANUP_FD int fd = tls_server_reserve(&port);
	char own_url[64];
	struct http_client *client;
	pthread_t thread;

	(void)state;
	assert_int_equal(listen(fd, 8), 0);
	snprintf(own_url, sizeof(own_url), "https://127.0.0.1:%u", port);
	client = http_meeting_client((struct http_client_options){ .base_url = own_url });
	assert_int_equal(pthread_create(&thread, NULL, speak_plainly, &fd), 0);
	http_meeting_expect(client, &(struct http_request){ .path = "/hello" }, -EPROTO, own_url);
	pthread_join(thread, NULL);
	http_client_free(client);
}

/* ---- What is refused before anything is sent --------------------------------------------------- */

static void test_http_client_refuses_bad_options(void **state)
{
	static const struct {
		struct http_client_options options;
		const char *says;
	} cases[] = {
		{ { .base_url = "http://a", .ca_pem = "x" }, "must be https://" },
		{ { .base_url = "https://", .ca_pem = "x" }, "must be https://" },
		{ { .base_url = "https://a/", .ca_pem = "x" }, "must be https://" },
		{ { .base_url = "https://a b", .ca_pem = "x" }, "must be https://" },
		{ { .base_url = "https://a\r\nX: y", .ca_pem = "x" }, "must be https://" },
		{ { .base_url = "https://a" }, "needs either the CA or its fingerprint" },
		{ { .base_url = "https://a", .ca_pem = "x", .ca_fingerprint = "y" },
		  "needs either" },
		{ { .base_url = "https://a", .ca_fingerprint = "abc" }, "64 hexadecimal digits" },
		{ { .base_url = "https://a", .ca_pem = "x", .cert_pem = "c" }, "needs its key" },
		{ { .base_url = "https://a", .ca_pem = "x", .key_pem = "k" }, "needs its key" },
		{ { .base_url = "https://a", .ca_pem = "x", .bearer = "a\r\nX: y" }, "token" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct http_client *client = NULL;
		struct err err = { 0 };

		assert_int_equal(http_client_new(&client, &cases[i].options, &err), -EINVAL);
		assert_null(client);
		if (!strstr(err_text(&err), cases[i].says))
			fail_msg("case %zu: %s", i, err_text(&err));
	}
}

static void test_http_client_refuses_bad_requests(void **state)
{
	CLEANUP(http_client_free) struct http_client *client = http_meeting_plain_client();

	(void)state;
	http_meeting_expect(client, &(struct http_request){ .path = "hello" }, -EINVAL,
			    "must begin with /");
	http_meeting_expect(client, &(struct http_request){ .path = "" }, -EINVAL,
			    "must begin with /");
	http_meeting_expect(client, &(struct http_request){ .path = "/a b" }, -EINVAL,
			    "be escaped");
	http_meeting_expect(client, &(struct http_request){ .path = "/a\r\nX: y" }, -EINVAL,
			    "be escaped");
	http_meeting_expect(
		client,
		&(struct http_request){ .path = "/a", .body = "", .body_type = "text\r\nX: y" },
		-EINVAL, "line break");
	http_meeting_expect(client, &(struct http_request){ .path = "/a", .key = "k\r\nX: y" },
			    -EINVAL, "the key has");
	assert_int_equal(tls_server_connections(http_meeting.server), 0);
}

/* ---- JSON -------------------------------------------------------------------------------------- */

static void test_http_client_json_exchanges_values(void **state)
{
	CLEANUP(http_client_free) struct http_client *client = http_meeting_plain_client();
	CLEANUP(json_decref) json_t *body = json_pack("{s:s}", "name", "d\xc3\xa4"), *reply = NULL;
	struct err err = { 0 };

	(void)state;
	assert_int_equal(http_client_json(client, "POST", "/echo", body, &reply, &err), 0);
	assert_true(json_equal(body, reply));
	json_decref(reply);
	assert_int_equal(http_client_json(client, "GET", "/json", NULL, NULL, &err), 0);
	assert_int_equal(http_client_json(client, "GET", "/nothing", NULL, &reply, &err), 0);
	assert_null(reply);
	assert_int_equal(http_client_json(client, "GET", "/hello", NULL, &reply, &err), -EINVAL);
	assert_non_null(strstr(err_text(&err), "/hello: the answer, line 1"));
	assert_null(reply);
}

static void test_http_client_json_repeats_by_method(void **state)
{
	CLEANUP(http_client_free) struct http_client *client = http_meeting_plain_client();
	struct err err = { 0 };

	(void)state;
	assert_int_equal(http_client_json(client, "POST", "/busy-twice", NULL, NULL, &err), -EIO);
	assert_int_equal(tls_server_requests(http_meeting.server, "/busy-twice"), 1);
	assert_int_equal(http_client_json(client, "PUT", "/busy-twice", NULL, NULL, &err), 0);
	assert_int_equal(tls_server_requests(http_meeting.server, "/busy-twice"), 3);
}

static void test_http_client_json_turns_statuses_into_errors(void **state)
{
	CLEANUP(http_client_free) struct http_client *client = http_meeting_plain_client();
	struct err err = { 0 };

	(void)state;
	assert_int_equal(http_client_json(client, "GET", "/status/404", NULL, NULL, &err), -ENOENT);
	assert_non_null(
		strstr(err_text(&err), "/status/404: the server answered with HTTP status"));
	assert_int_equal(http_client_json(client, "GET", "/problem", NULL, NULL, &err), -EEXIST);
	assert_non_null(
		strstr(err_text(&err), "/problem: Conflict: desktop d7 runs (HTTP status 409)"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_SERVER(test_http_client_gets_and_keeps_the_connection),
		WITH_SERVER(test_http_client_sends_bodies),
		WITH_SERVER(test_http_client_sends_the_right_headers),
		WITH_SERVER(test_http_client_returns_any_status_as_it_is),
		WITH_SERVER(test_http_client_serves_many_threads),
		WITH_SERVER(test_http_client_limits_the_answer),
		WITH_SERVER(test_http_client_refuses_broken_answers),
		WITH_SERVER(test_http_client_survives_a_cut_off_upload),
		cmocka_unit_test(test_http_client_never_speaks_without_tls),
		cmocka_unit_test(test_http_client_refuses_bad_options),
		WITH_SERVER(test_http_client_refuses_bad_requests),
		WITH_SERVER(test_http_client_json_exchanges_values),
		WITH_SERVER(test_http_client_json_repeats_by_method),
		WITH_SERVER(test_http_client_json_turns_statuses_into_errors),
	};

	return cmocka_run_group_tests_name("http_client", tests, http_meeting_set_up,
					   http_meeting_tear_down);
}
