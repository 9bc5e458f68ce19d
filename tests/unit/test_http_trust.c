/* http_trust.c as http_client uses it: whom a connection believes, and what it says of a server that refuses us. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/http_client.h"
#include "common/io.h"
#include "tests/lib/certificates.h"
#include "tests/lib/tls_server.h"

static struct certificates made;
static struct tls_server *server;
static char url[64];

static int make_all(void **state)
{
	(void)state;
	certificates_init(&made);
	return 0;
}

static int free_all(void **state)
{
	(void)state;
	certificates_deinit(&made);
	return 0;
}

static bool answer_hello(const struct tls_server_request *r)
{
	return tls_server_reply(r, 200, NULL, "hello", 5);
}

static void start_with(struct tls_server_options options)
{
	if (!options.chain_pem)
		options.chain_pem = made.chain;
	options.key_pem = made.key;
	options.answer = answer_hello;
	server = tls_server_start(&options);
	snprintf(url, sizeof(url), "https://127.0.0.1:%u", tls_server_port(server));
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

/* A request that must be refused with that text, or (NULL) answered. */
static void expect(struct http_client *client, int want, const char *refused)
{
	struct http_request request = { .path = "/hello", .repeatable = true };
	struct http_response response CLEANUP_HTTP_RESPONSE = { 0 };
	struct err err = { 0 };
	int r = http_client_call(client, &request, &response, &err);

	if (r != (refused ? want : 0) || (refused && !strstr(err_text(&err), refused)))
		fail_msg("got %d, %s; want %s", r, err_text(&err), refused ? refused : "an answer");
	/* What is not trusted gets no request … */
	assert_int_equal(tls_server_requests(server, "/hello"), !refused);
}

static char *expired(void)
{
	return certificates_expired_chain(&made);
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
	CLEANUP_FREE char *cert = certificates_issue(&made, true, "server", "server");

	return io_printf("%s%s", cert, made.ca);
}

static char *of_foreign_ca(void)
{
	CLEANUP_FREE char *cert = certificates_issue(&made, true, "server", "server");

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
	{ expired, BY_CA, "127.0.0.1", "expired" },
	{ of_an_endpoint, BY_CA, "127.0.0.1", "certificate" },
	{ with_ca, BY_FINGERPRINT, "127.0.0.1", NULL },
	{ with_ca, BY_UPPER_CASE, "127.0.0.1", NULL },
	{ with_ca, BY_FINGERPRINT, "localhost", "localhost" },
	{ without_ca, BY_FINGERPRINT, "127.0.0.1", "fingerprint" },
	{ of_foreign_ca, BY_FINGERPRINT, "127.0.0.1", "fingerprint" },
	{ with_a_borrowed_ca, BY_FINGERPRINT, "127.0.0.1", "certificate" },
	{ expired, BY_FINGERPRINT, "127.0.0.1", "expired" },
	{ of_an_endpoint, BY_FINGERPRINT, "127.0.0.1", "certificate" },
	{ with_ca, BY_LEAF_FINGERPRINT, "127.0.0.1", "fingerprint" },
};

static void test_http_trust_trusts_one_ca_only(void **state)
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
		print_message("# case %zu\n", i);
		expect(client, -EACCES, trust_cases[i].refused);
		assert_int_equal(tls_server_connections(server), 1); /* … and no second chance */
		stop(NULL);
	}
}

static void test_http_trust_presents_its_certificate(void **state)
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
		expect(client, -EACCES, cases[i].refused);
		http_client_free(client);
		stop(NULL);
	}
}

static void test_http_trust_needs_usable_pem(void **state)
{
	struct http_client *client;

	(void)state;
	start_with((struct tls_server_options){ 0 });
	client = client_with((struct http_client_options){ .ca_pem = "nonsense" });
	expect(client, -EINVAL, url);
	http_client_free(client);
	client = client_with(
		(struct http_client_options){ .cert_pem = made.client, .key_pem = made.ca_key });
	expect(client, -EINVAL, url);
	http_client_free(client);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_http_trust_trusts_one_ca_only, stop),
		cmocka_unit_test_teardown(test_http_trust_presents_its_certificate, stop),
		cmocka_unit_test_teardown(test_http_trust_needs_usable_pem, stop),
	};

	return cmocka_run_group_tests_name("http_trust", tests, make_all, free_all);
}
