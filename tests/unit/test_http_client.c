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
#include <time.h>
#include <unistd.h>

#include <openssl/pem.h>
#include <openssl/x509.h>

#include "common/clock.h"
#include "common/http_client.h"
#include "common/io.h"
#include "common/pki.h"
#include "tests/lib/tls_server.h"

enum { BIG = 100000, UPLOAD = 8 << 20 };

static struct {
	char *ca_key, *ca, *foreign_key, *foreign;
	char *key, *request;
	char *server, *chain; /* the certificate; it and the CA */
	char *client, *foreign_client;
	char fingerprint[PKI_FINGERPRINT_LEN];
} made;

static struct tls_server *server;
static char url[64];

/* ---- The server's answers ---------------------------------------------------------------------- */

static bool answer_hello(const struct tls_server_request *r)
{
	return tls_server_reply(r, 200, NULL, "hello", 5);
}

static bool answer_echo(const struct tls_server_request *r)
{
	return tls_server_reply(r, 200, NULL, r->body, r->body_len);
}

static bool answer_headers(const struct tls_server_request *r)
{
	return tls_server_reply(r, 200, NULL, r->headers, strlen(r->headers));
}

static bool answer_nothing(const struct tls_server_request *r)
{
	return tls_server_write(r, "HTTP/1.1 204 No Content\r\n\r\n", 27);
}

static bool answer_big(const struct tls_server_request *r)
{
	static char big[BIG];

	return tls_server_reply(r, 200, NULL, big, sizeof(big));
}

static bool answer_endless(const struct tls_server_request *r)
{
	static char chunk[6 + 0x2000 + 2] = "2000\r\n";
	bool ok = tls_server_write(r, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 47);

	memcpy(chunk + sizeof(chunk) - 2, "\r\n", 2);
	while (ok)
		ok = tls_server_write(r, chunk, sizeof(chunk));
	return false;
}

static bool answer_json(const struct tls_server_request *r)
{
	return tls_server_reply(r, 200, NULL, "{\"a\":1}", 7);
}

static bool answer_problem(const struct tls_server_request *r)
{
	static const char problem[] =
		"{\"type\":\"about:blank\",\"title\":\"Conflict\",\"status\":409,"
		"\"detail\":\"desktop d7 runs\\non laptop-3\"}";

	return tls_server_reply(r, 409, "Content-Type: application/problem+json\r\n", problem,
				strlen(problem));
}

static bool answer_busy_twice(const struct tls_server_request *r)
{
	return r->number <= 2 ? tls_server_reply(r, 503, NULL, "busy", 4) : answer_hello(r);
}

static bool answer_later(const struct tls_server_request *r)
{
	return r->number == 1 ? tls_server_reply(r, 429, "Retry-After: 1\r\n", NULL, 0)
			      : answer_hello(r);
}

static bool answer_drop(const struct tls_server_request *r)
{
	(void)r;
	return false;
}

static bool answer_drop_once(const struct tls_server_request *r)
{
	return r->number == 1 ? false : answer_hello(r);
}

static bool answer_half(const struct tls_server_request *r)
{
	tls_server_write(r, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789", 50);
	return false;
}

static bool answer_garbage(const struct tls_server_request *r)
{
	tls_server_write(r, "no HTTP at all\r\n\r\n", 18);
	return false;
}

static bool answer_trickle(const struct tls_server_request *r)
{
	bool ok = tls_server_write(r, "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n", 39);

	for (int i = 0; ok && i < 12; i++) {
		clock_sleep_ms(100);
		ok = tls_server_write(r, "x", 1);
	}
	return ok;
}

static bool answer_redirect(const struct tls_server_request *r)
{
	return tls_server_reply(r, 302, "Location: /hello\r\n", NULL, 0);
}

static const struct {
	const char *path;
	bool (*answer)(const struct tls_server_request *r);
} answers[] = {
	{ "/hello", answer_hello },
	{ "/echo", answer_echo },
	{ "/headers", answer_headers },
	{ "/nothing", answer_nothing },
	{ "/big", answer_big },
	{ "/endless", answer_endless },
	{ "/json", answer_json },
	{ "/problem", answer_problem },
	{ "/busy-twice", answer_busy_twice },
	{ "/later", answer_later },
	{ "/stall", tls_server_stall },
	{ "/drop", answer_drop },
	{ "/drop-once", answer_drop_once },
	{ "/half", answer_half },
	{ "/garbage", answer_garbage },
	{ "/trickle", answer_trickle },
	{ "/redirect", answer_redirect },
};

static bool answer_any(const struct tls_server_request *r)
{
	if (strncmp(r->path, "/status/", 8) == 0)
		return tls_server_reply(r, atoi(r->path + 8), NULL, "oops", 4);
	for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
		if (strcmp(answers[i].path, r->path) == 0)
			return answers[i].answer(r);
	}
	return tls_server_reply(r, 404, NULL, NULL, 0);
}

static bool cut_off_uploads(const struct tls_server_request *r)
{
	return strcmp(r->path, "/cut-off") == 0;
}

/* ---- Set-up ------------------------------------------------------------------------------------ */

static char *issue(const char *ca_key, const char *ca, const char *name, const char *role)
{
	struct pki_issue order = {
		.ca_key_pem = ca_key,
		.ca_cert_pem = ca,
		.request_pem = made.request,
		.name = name,
		.role = role,
		.alt_names = (const char *const[]){ "127.0.0.1", NULL },
		.days = 1,
	};
	struct err err = { 0 };
	char *cert = NULL;

	if (pki_issue(&order, &cert, &err) < 0)
		fail_msg("%s", err_text(&err));
	return cert;
}

static int make_all(void **state)
{
	(void)state;
	/* Nobody's proxy may stand between an agent and its server. */
	setenv("https_proxy", "http://127.0.0.1:1", 1);
	setenv("HTTPS_PROXY", "http://127.0.0.1:1", 1);
	setenv("ALL_PROXY", "http://127.0.0.1:1", 1);
	if (pki_key_new(&made.ca_key, NULL) ||
	    pki_ca_new(made.ca_key, "Test CA", 9, &made.ca, NULL) ||
	    pki_key_new(&made.foreign_key, NULL) ||
	    pki_ca_new(made.foreign_key, "Test CA", 9, &made.foreign, NULL) ||
	    pki_key_new(&made.key, NULL) || pki_request_new(made.key, "x", &made.request, NULL) ||
	    pki_fingerprint(made.ca, made.fingerprint, NULL))
		return 1;
	made.server = issue(made.ca_key, made.ca, "server", "server");
	made.chain = io_printf("%s%s", made.server, made.ca);
	made.client = issue(made.ca_key, made.ca, "laptop", "endpoint");
	made.foreign_client = issue(made.foreign_key, made.foreign, "laptop", "endpoint");
	return 0;
}

static int free_all(void **state)
{
	char *all[] = { made.ca_key,        made.ca,    made.foreign_key,
			made.foreign,       made.key,   made.request,
			made.server,        made.chain, made.client,
			made.foreign_client };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		free(all[i]);
	return 0;
}

static void start_with(struct tls_server_options options)
{
	if (!options.chain_pem)
		options.chain_pem = made.chain;
	options.key_pem = made.key;
	options.answer = answer_any;
	options.cut_off = cut_off_uploads;
	server = tls_server_start(&options);
	snprintf(url, sizeof(url), "https://127.0.0.1:%u", tls_server_port(server));
}

static int start(void **state)
{
	(void)state;
	start_with((struct tls_server_options){ 0 });
	return 0;
}

static int stop(void **state)
{
	(void)state;
	tls_server_stop(server);
	server = NULL;
	return 0;
}

static struct http_client *client_with(struct http_client_options options)
{
	struct http_client *client = NULL;
	struct err err = { 0 };

	if (!options.base_url)
		options.base_url = url;
	if (!options.ca_pem && !options.ca_fingerprint)
		options.ca_pem = made.ca;
	if (http_client_new(&client, &options, &err) < 0)
		fail_msg("%s", err_text(&err));
	return client;
}

static struct http_client *plain_client(void)
{
	return client_with((struct http_client_options){ 0 });
}

/* Call and expect @want; the text must contain @says (NULL: anything). Return the status. */
static long expect(struct http_client *client, const struct http_request *request, int want,
		   const char *says)
{
	struct http_response response CLEANUP_HTTP_RESPONSE = { 0 };
	struct err err = { 0 };
	int r = http_client_call(client, request, &response, &err);

	if (r != want || (says && !strstr(err_text(&err), says)))
		fail_msg("%s: got %d, %s; want %d, %s", request->path, r, err_text(&err), want,
			 says ? says : "anything");
	if (r < 0) {
		assert_int_equal(err.code, -r);
		assert_null(response.body);
	}
	return response.status;
}

/* ---- Exchanges that work ----------------------------------------------------------------------- */

static void test_http_client_gets_and_keeps_the_connection(void **state)
{
	CLEANUP(http_client_free) struct http_client *client = plain_client();
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
	assert_int_equal(tls_server_connections(server), 1);
	http_client_bytes(client, &sent, &received);
	assert_int_equal(sent, 0);
	assert_int_equal(received, 15);
}

static void test_http_client_sends_bodies(void **state)
{
	CLEANUP(http_client_free) struct http_client *client = plain_client();
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
	const char *method, *body, *type;
	const char *has, *has_not;
} header_cases[] = {
	{ "GET", NULL, NULL, "Authorization: Bearer s3cr3t\r\n", "Content-Type:" },
	{ "POST", "{}", NULL, "Content-Type: application/json\r\n", "Expect:" },
	{ "POST", "ab", "application/octet-stream", "Content-Type: application/octet-stream\r\n",
	  "json" },
	{ "POST", NULL, NULL, "Content-Length: 0\r\n", "Content-Type:" },
	{ "PUT", "", NULL, "Content-Length: 0\r\n", "Transfer-Encoding" },
	{ "DELETE", NULL, NULL, "Authorization:", "Content-Length:" },
};

static void test_http_client_sends_the_right_headers(void **state)
{
	CLEANUP(http_client_free)
	struct http_client *client =
		client_with((struct http_client_options){ .bearer = "s3cr3t" });

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(header_cases); i++) {
		struct http_response response CLEANUP_HTTP_RESPONSE = { 0 };
		struct http_request request = {
			.method = header_cases[i].method,
			.path = "/headers",
			.body = header_cases[i].body,
			.body_len = header_cases[i].body ? strlen(header_cases[i].body) : 0,
			.body_type = header_cases[i].type,
		};

		assert_int_equal(http_client_call(client, &request, &response, NULL), 0);
		if (!strstr((char *)response.body, header_cases[i].has) ||
		    strstr((char *)response.body, header_cases[i].has_not))
			fail_msg("case %zu:\n%s", i, (char *)response.body);
	}
}

static void test_http_client_returns_any_status_as_it_is(void **state)
{
	CLEANUP(http_client_free) struct http_client *client = plain_client();
	struct http_response response CLEANUP_HTTP_RESPONSE = { 0 };

	(void)state;
	assert_int_equal(expect(client, &(struct http_request){ .path = "/status/500" }, 0, NULL),
			 500);
	assert_int_equal(expect(client, &(struct http_request){ .path = "/redirect" }, 0, NULL),
			 302);
	assert_int_equal(tls_server_requests(server, "/hello"), 0);
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
	CLEANUP(http_client_free) struct http_client *client = plain_client();
	pthread_t threads[8];
	void *problem;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, call_often, client), 0);
	for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
		pthread_join(threads[i], &problem);
		assert_null(problem);
	}
	assert_int_equal(tls_server_requests(server, "/echo"), 200);
	assert_in_range(tls_server_connections(server), 1, ARRAY_LEN(threads));
}

/* ---- Trying again ------------------------------------------------------------------------------ */

static void test_http_client_repeats_only_what_is_repeatable(void **state)
{
	CLEANUP(http_client_free) struct http_client *client = plain_client();

	(void)state;
	assert_int_equal(expect(client, &(struct http_request){ .path = "/busy-twice" }, 0, NULL),
			 503);
	assert_int_equal(tls_server_requests(server, "/busy-twice"), 1);
	assert_int_equal(expect(client,
				&(struct http_request){ .path = "/busy-twice", .repeatable = true },
				0, NULL),
			 200);
	assert_int_equal(tls_server_requests(server, "/busy-twice"), 3);

	expect(client, &(struct http_request){ .path = "/drop-once" }, -ECONNRESET,
	       "may have been carried out");
	assert_int_equal(tls_server_requests(server, "/drop-once"), 1);
}

static void test_http_client_retries_a_lost_connection(void **state)
{
	CLEANUP(http_client_free) struct http_client *client = plain_client();

	(void)state;
	assert_int_equal(expect(client,
				&(struct http_request){ .path = "/drop-once", .repeatable = true },
				0, NULL),
			 200);
	assert_int_equal(tls_server_requests(server, "/drop-once"), 2);
}

static void test_http_client_waits_as_long_as_the_server_asks(void **state)
{
	CLEANUP(http_client_free) struct http_client *client = plain_client();
	struct http_request request = { .path = "/later", .repeatable = true };
	uint64_t began = clock_now_ms();

	(void)state;
	assert_int_equal(expect(client, &request, 0, NULL), 200);
	assert_true(clock_now_ms() - began >= 1000);
}

static void test_http_client_gives_up_at_the_deadline(void **state)
{
	CLEANUP(http_client_free) struct http_client *client = plain_client();
	struct http_request request = { .path = "/status/503",
					.repeatable = true,
					.deadline_ms = 1000 };
	uint64_t began = clock_now_ms();

	(void)state;
	assert_int_equal(expect(client, &request, 0, NULL), 503); /* the last answer it had */
	assert_in_range(tls_server_requests(server, "/status/503"), 2, 6);
	assert_true(clock_now_ms() - began <= 1500);

	request.path = "/drop";
	expect(client, &request, -ECONNRESET, "tried ");
	request.path = "/stall";
	expect(client, &request, -ETIMEDOUT, "not finished in time");
	request.repeatable = false;
	expect(client, &request, -ETIMEDOUT, "may have been carried out");
}

static void *listen_soon(void *fd)
{
	clock_sleep_ms(400);
	start_with((struct tls_server_options){ .listen_fd = *(int *)fd });
	return NULL;
}

static void test_http_client_waits_for_a_server_that_is_not_up_yet(void **state)
{
	unsigned port;
	int fd = tls_server_reserve(&port);
	char own_url[64];
	struct http_client *client;
	pthread_t thread;

	(void)state;
	snprintf(own_url, sizeof(own_url), "https://127.0.0.1:%u", port);
	client = client_with((struct http_client_options){ .base_url = own_url });
	expect(client, &(struct http_request){ .path = "/hello" }, -ECONNREFUSED, own_url);
	expect(client,
	       &(struct http_request){ .path = "/hello", .repeatable = true, .deadline_ms = 500 },
	       -ECONNREFUSED, "tried ");
	assert_int_equal(pthread_create(&thread, NULL, listen_soon, &fd), 0);
	assert_int_equal(expect(client,
				&(struct http_request){ .path = "/hello", .repeatable = true }, 0,
				NULL),
			 200);
	pthread_join(thread, NULL);
	http_client_free(client);
}

/* On a kept-alive connection libcurl would send a request a second time without asking. */
static void test_http_client_never_sends_twice_behind_our_back(void **state)
{
	CLEANUP(http_client_free) struct http_client *client = plain_client();

	(void)state;
	expect(client, &(struct http_request){ .path = "/hello" }, 0, NULL);
	expect(client, &(struct http_request){ .method = "POST", .path = "/drop" }, -ECONNRESET,
	       "may have been carried out");
	assert_int_equal(tls_server_requests(server, "/drop"), 1);
}

/* ---- Time-outs and cancelling ------------------------------------------------------------------ */

static void test_http_client_stall_timeout_counts_silence_only(void **state)
{
	CLEANUP(http_client_free)
	struct http_client *client =
		client_with((struct http_client_options){ .stall_timeout_ms = 500 });
	uint64_t began = clock_now_ms();

	(void)state;
	expect(client, &(struct http_request){ .path = "/stall" }, -ETIMEDOUT, "no byte moved for");
	assert_in_range(clock_now_ms() - began, 500, 1500);
	/* 1.2 s, but never 0.5 s of nothing */
	assert_int_equal(expect(client, &(struct http_request){ .path = "/trickle" }, 0, NULL),
			 200);
}

static void test_http_client_connect_timeout_includes_the_handshake(void **state)
{
	unsigned port;
	CLEANUP_FD int fd = tls_server_reserve(&port); /* the kernel accepts, nobody answers */
	char own_url[64];
	struct http_client *client;
	uint64_t began;

	(void)state;
	assert_int_equal(listen(fd, 8), 0);
	snprintf(own_url, sizeof(own_url), "https://127.0.0.1:%u", port);
	client = client_with(
		(struct http_client_options){ .base_url = own_url, .connect_timeout_ms = 400 });
	began = clock_now_ms();
	expect(client, &(struct http_request){ .path = "/hello" }, -ETIMEDOUT, own_url);
	assert_in_range(clock_now_ms() - began, 300, 1500);
	http_client_free(client);
}

static void *cancel_soon(void *cancel)
{
	clock_sleep_ms(300);
	atomic_store((atomic_bool *)cancel, true);
	return NULL;
}

static void test_http_client_can_be_cancelled(void **state)
{
	static const char *const paths[] = { "/stall", "/status/503", "/endless" };
	CLEANUP(http_client_free) struct http_client *client = plain_client();

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
		expect(client, &request, -ECANCELED, "cancelled");
		assert_in_range(clock_now_ms() - began, 300, 1000);
		pthread_join(thread, NULL);
	}
	/* The client is as good as before. */
	assert_int_equal(expect(client, &(struct http_request){ .path = "/hello" }, 0, NULL), 200);
}

/* ---- Answers that are wrong -------------------------------------------------------------------- */

static void test_http_client_limits_the_answer(void **state)
{
	CLEANUP(http_client_free) struct http_client *client = plain_client();

	(void)state;
	expect(client, &(struct http_request){ .path = "/big", .response_max = BIG }, 0, NULL);
	expect(client,
	       &(struct http_request){
		       .path = "/big", .response_max = BIG - 1, .repeatable = true },
	       -EMSGSIZE, "longer than 99999 bytes");
	assert_int_equal(tls_server_requests(server, "/big"), 2);
	expect(client, &(struct http_request){ .path = "/endless", .response_max = 1000 },
	       -EMSGSIZE, "longer than 1000 bytes");
	expect(client, &(struct http_request){ .path = "/endless" }, -EMSGSIZE, NULL);
}

static void test_http_client_refuses_broken_answers(void **state)
{
	CLEANUP(http_client_free) struct http_client *client = plain_client();

	(void)state;
	expect(client, &(struct http_request){ .path = "/half" }, -ECONNRESET, url);
	expect(client, &(struct http_request){ .path = "/garbage" }, -EPROTO, url);
}

/* Must not end in SIGPIPE either. */
static void test_http_client_survives_a_cut_off_upload(void **state)
{
	CLEANUP(http_client_free) struct http_client *client = plain_client();
	CLEANUP_FREE char *body = calloc(1, UPLOAD);
	struct http_request request = {
		.method = "PUT", .path = "/cut-off", .body = body, .body_len = UPLOAD
	};

	(void)state;
	expect(client, &request, -ECONNRESET, "may have been carried out");
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
	client = client_with((struct http_client_options){ .base_url = own_url });
	assert_int_equal(pthread_create(&thread, NULL, speak_plainly, &fd), 0);
	expect(client, &(struct http_request){ .path = "/hello" }, -EPROTO, own_url);
	pthread_join(thread, NULL);
	http_client_free(client);
}

/* ---- Trust ------------------------------------------------------------------------------------- */

static char *expired_server(void)
{
	BIO *in = BIO_new_mem_buf(made.server, -1), *key_in = BIO_new_mem_buf(made.ca_key, -1);
	BIO *out = BIO_new(BIO_s_mem());
	X509 *cert = PEM_read_bio_X509(in, NULL, NULL, NULL);
	EVP_PKEY *key = PEM_read_bio_PrivateKey(key_in, NULL, NULL, NULL);
	char *data, *text;
	long len;

	ASN1_TIME_set(X509_getm_notAfter(cert), time(NULL) - 60);
	X509_sign(cert, key, EVP_sha256());
	PEM_write_bio_X509(out, cert);
	len = BIO_get_mem_data(out, &data);
	text = io_printf("%.*s%s", (int)len, data, made.ca);
	BIO_free(in);
	BIO_free(key_in);
	BIO_free(out);
	X509_free(cert);
	EVP_PKEY_free(key);
	return text;
}

static char *with_ca(void)
{
	return strdup(made.chain);
}

static char *without_ca(void)
{
	return strdup(made.server);
}

/* The CA that the client waits for is shown, but another one signed. */
static char *with_a_borrowed_ca(void)
{
	CLEANUP_FREE char *cert = issue(made.foreign_key, made.foreign, "server", "server");

	return io_printf("%s%s", cert, made.ca);
}

static char *of_foreign_ca(void)
{
	CLEANUP_FREE char *cert = issue(made.foreign_key, made.foreign, "server", "server");

	return io_printf("%s%s", cert, made.foreign);
}

static char *of_an_endpoint(void)
{
	return io_printf("%s%s", made.client, made.ca);
}

enum trust { BY_CA, BY_FINGERPRINT, BY_LEAF_FINGERPRINT, BY_UPPER_CASE };

static const struct {
	char *(*chain)(void);
	enum trust trust;
	const char *host;
	const char *refused; /* the text; NULL: trusted */
} trust_cases[] = {
	{ with_ca, BY_CA, "127.0.0.1", NULL },
	{ without_ca, BY_CA, "127.0.0.1", NULL },
	{ with_ca, BY_CA, "localhost", "localhost" },
	{ of_foreign_ca, BY_CA, "127.0.0.1", "certificate" },
	{ with_a_borrowed_ca, BY_CA, "127.0.0.1", "certificate" },
	{ expired_server, BY_CA, "127.0.0.1", "expired" },
	{ of_an_endpoint, BY_CA, "127.0.0.1", "certificate" },
	{ with_ca, BY_FINGERPRINT, "127.0.0.1", NULL },
	{ with_ca, BY_UPPER_CASE, "127.0.0.1", NULL },
	{ with_ca, BY_FINGERPRINT, "localhost", "localhost" },
	{ without_ca, BY_FINGERPRINT, "127.0.0.1", "fingerprint" },
	{ of_foreign_ca, BY_FINGERPRINT, "127.0.0.1", "fingerprint" },
	{ with_a_borrowed_ca, BY_FINGERPRINT, "127.0.0.1", "certificate" },
	{ expired_server, BY_FINGERPRINT, "127.0.0.1", "expired" },
	{ of_an_endpoint, BY_FINGERPRINT, "127.0.0.1", "certificate" },
	{ with_ca, BY_LEAF_FINGERPRINT, "127.0.0.1", "fingerprint" },
};

static void test_http_client_trusts_one_ca_only(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(trust_cases); i++) {
		CLEANUP_FREE char *chain = trust_cases[i].chain();
		CLEANUP(http_client_free) struct http_client *client = NULL;
		CLEANUP_FREE char *own_url = NULL;
		struct http_client_options options = { 0 };
		char pin[PKI_FINGERPRINT_LEN];

		strcpy(pin, made.fingerprint);
		if (trust_cases[i].trust == BY_LEAF_FINGERPRINT)
			pki_fingerprint(made.server, pin, NULL);
		for (char *p = pin; trust_cases[i].trust == BY_UPPER_CASE && *p; p++)
			*p = (char)(*p >= 'a' ? *p - 32 : *p);
		if (trust_cases[i].trust != BY_CA)
			options.ca_fingerprint = pin;
		start_with((struct tls_server_options){ .chain_pem = chain });
		own_url = io_printf("https://%s:%u", trust_cases[i].host, tls_server_port(server));
		options.base_url = own_url;
		client = client_with(options);
		expect(client, &(struct http_request){ .path = "/hello", .repeatable = true },
		       trust_cases[i].refused ? -EACCES : 0, trust_cases[i].refused);
		/* What is not trusted gets no request, and no second chance. */
		assert_int_equal(tls_server_requests(server, "/hello"), !trust_cases[i].refused);
		assert_int_equal(tls_server_connections(server), 1);
		tls_server_stop(server);
		server = NULL;
	}
}

static void test_http_client_presents_its_certificate(void **state)
{
	const struct {
		const char *cert;
		const char *refused;
	} cases[] = {
		{ made.client, NULL },
		{ NULL, "wants a client certificate" },
		{ made.foreign_client, "refused our certificate" },
		{ made.server, "refused our certificate" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct http_client *client;

		start_with((struct tls_server_options){ .client_ca_pem = made.ca });
		client = client_with((struct http_client_options){
			.cert_pem = cases[i].cert, .key_pem = cases[i].cert ? made.key : NULL });
		expect(client, &(struct http_request){ .path = "/hello", .repeatable = true },
		       cases[i].refused ? -EACCES : 0, cases[i].refused);
		assert_int_equal(tls_server_requests(server, "/hello"), !cases[i].refused);
		http_client_free(client);
		tls_server_stop(server);
		server = NULL;
	}
}

static void test_http_client_needs_usable_pem(void **state)
{
	struct http_client *client;

	(void)state;
	client = client_with((struct http_client_options){ .ca_pem = "nonsense" });
	expect(client, &(struct http_request){ .path = "/hello" }, -EINVAL, url);
	http_client_free(client);
	client = client_with(
		(struct http_client_options){ .cert_pem = made.client, .key_pem = made.ca_key });
	expect(client, &(struct http_request){ .path = "/hello" }, -EINVAL, url);
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
	CLEANUP(http_client_free) struct http_client *client = plain_client();

	(void)state;
	expect(client, &(struct http_request){ .path = "hello" }, -EINVAL, "must begin with /");
	expect(client, &(struct http_request){ .path = "" }, -EINVAL, "must begin with /");
	expect(client, &(struct http_request){ .path = "/a b" }, -EINVAL, "be escaped");
	expect(client, &(struct http_request){ .path = "/a\r\nX: y" }, -EINVAL, "be escaped");
	expect(client,
	       &(struct http_request){ .path = "/a", .body = "", .body_type = "text\r\nX: y" },
	       -EINVAL, "line break");
	assert_int_equal(tls_server_connections(server), 0);
}

/* ---- JSON -------------------------------------------------------------------------------------- */

static void test_http_client_json_exchanges_values(void **state)
{
	CLEANUP(http_client_free) struct http_client *client = plain_client();
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
	CLEANUP(http_client_free) struct http_client *client = plain_client();
	struct err err = { 0 };

	(void)state;
	assert_int_equal(http_client_json(client, "POST", "/busy-twice", NULL, NULL, &err), -EIO);
	assert_int_equal(tls_server_requests(server, "/busy-twice"), 1);
	assert_int_equal(http_client_json(client, "PUT", "/busy-twice", NULL, NULL, &err), 0);
	assert_int_equal(tls_server_requests(server, "/busy-twice"), 3);
}

static const struct {
	const char *path;
	int want;
	const char *says;
} status_cases[] = {
	{ "/status/200", 0, NULL },
	{ "/status/202", 0, NULL },
	{ "/status/400", -EINVAL, "HTTP status 400" },
	{ "/status/401", -EACCES, "HTTP status 401" },
	{ "/status/403", -EACCES, "HTTP status 403" },
	{ "/status/404", -ENOENT, "HTTP status 404" },
	{ "/status/409", -EEXIST, "HTTP status 409" },
	{ "/status/412", -ESTALE, "HTTP status 412" },
	{ "/status/413", -EFBIG, "HTTP status 413" },
	{ "/status/507", -ENOSPC, "HTTP status 507" },
	{ "/status/500", -EIO, "HTTP status 500" },
	{ "/redirect", -EIO, "HTTP status 302" },
	{ "/problem", -EEXIST,
	  "/problem: Conflict: desktop d7 runs?on laptop-3 (HTTP status 409)" },
};

static void test_http_client_json_turns_statuses_into_errors(void **state)
{
	CLEANUP(http_client_free) struct http_client *client = plain_client();

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(status_cases); i++) {
		struct err err = { 0 };
		int r = http_client_json(client, "GET", status_cases[i].path, NULL, NULL, &err);

		if (r != status_cases[i].want ||
		    (r < 0 && !strstr(err_text(&err), status_cases[i].says)))
			fail_msg("%s: %d, %s", status_cases[i].path, r, err_text(&err));
	}
}

#define WITH_SERVER(test) cmocka_unit_test_setup_teardown(test, start, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_SERVER(test_http_client_gets_and_keeps_the_connection),
		WITH_SERVER(test_http_client_sends_bodies),
		WITH_SERVER(test_http_client_sends_the_right_headers),
		WITH_SERVER(test_http_client_returns_any_status_as_it_is),
		WITH_SERVER(test_http_client_serves_many_threads),
		WITH_SERVER(test_http_client_repeats_only_what_is_repeatable),
		WITH_SERVER(test_http_client_retries_a_lost_connection),
		WITH_SERVER(test_http_client_waits_as_long_as_the_server_asks),
		WITH_SERVER(test_http_client_gives_up_at_the_deadline),
		cmocka_unit_test_teardown(test_http_client_waits_for_a_server_that_is_not_up_yet,
					  stop),
		WITH_SERVER(test_http_client_never_sends_twice_behind_our_back),
		WITH_SERVER(test_http_client_stall_timeout_counts_silence_only),
		cmocka_unit_test(test_http_client_connect_timeout_includes_the_handshake),
		WITH_SERVER(test_http_client_can_be_cancelled),
		WITH_SERVER(test_http_client_limits_the_answer),
		WITH_SERVER(test_http_client_refuses_broken_answers),
		WITH_SERVER(test_http_client_survives_a_cut_off_upload),
		cmocka_unit_test(test_http_client_never_speaks_without_tls),
		cmocka_unit_test_teardown(test_http_client_trusts_one_ca_only, stop),
		cmocka_unit_test_teardown(test_http_client_presents_its_certificate, stop),
		WITH_SERVER(test_http_client_needs_usable_pem),
		cmocka_unit_test(test_http_client_refuses_bad_options),
		WITH_SERVER(test_http_client_refuses_bad_requests),
		WITH_SERVER(test_http_client_json_exchanges_values),
		WITH_SERVER(test_http_client_json_repeats_by_method),
		WITH_SERVER(test_http_client_json_turns_statuses_into_errors),
	};

	return cmocka_run_group_tests_name("http_client", tests, make_all, free_all);
}
