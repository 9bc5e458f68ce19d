/* http_trust.c as http_client uses it: whom a connection believes, and what it says of a server that refuses us. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/io.h"
#include "tests/lib/http_meeting.h"

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
	assert_int_equal(tls_server_requests(http_meeting.server, "/hello"), !refused);
}

static char *expired(void)
{
	return certificates_expired_chain(&http_meeting.made);
}

static char *with_ca(void)
{
	return strdup(http_meeting.made.chain);
}

static char *without_ca(void)
{
	return strdup(http_meeting.made.server);
}

/* The CA that the client waits for is shown, but another one signed. */
static char *with_a_borrowed_ca(void)
{
	CLEANUP_FREE char *cert = certificates_issue(&http_meeting.made, true, "server", "server");

	return io_printf("%s%s", cert, http_meeting.made.ca);
}

static char *of_foreign_ca(void)
{
	CLEANUP_FREE char *cert = certificates_issue(&http_meeting.made, true, "server", "server");

	return io_printf("%s%s", cert, http_meeting.made.foreign);
}

static char *of_an_endpoint(void)
{
	return io_printf("%s%s", http_meeting.made.client, http_meeting.made.ca);
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

		strcpy(pin, http_meeting.made.fingerprint);
		if (trust_cases[i].trust == BY_LEAF_FINGERPRINT)
			pki_fingerprint(http_meeting.made.server, pin, NULL);
		for (char *p = pin; trust_cases[i].trust == BY_UPPER_CASE && *p; p++)
			*p = (char)(*p >= 'a' ? *p - 32 : *p);
		if (trust_cases[i].trust != BY_CA)
			options.ca_fingerprint = pin;
		http_meeting_start_with((struct tls_server_options){ .chain_pem = chain });
		own_url = io_printf("https://%s:%u", trust_cases[i].host,
				    tls_server_port(http_meeting.server));
		options.base_url = own_url;
		client = http_meeting_client(options);
		print_message("# case %zu\n", i);
		expect(client, -EACCES, trust_cases[i].refused);
		assert_int_equal(tls_server_connections(http_meeting.server),
				 1); /* … and no second chance */
		http_meeting_stop(NULL);
	}
}

static void test_http_trust_presents_its_certificate(void **state)
{
	const struct {
		const char *cert;
		const char *refused;
	} cases[] = {
		{ http_meeting.made.client, NULL },
		{ NULL, "wants a client certificate" },
		{ http_meeting.made.foreign_client, "refused our certificate" },
		{ http_meeting.made.server, "refused our certificate" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct http_client *client;

		http_meeting_start_with(
			(struct tls_server_options){ .client_ca_pem = http_meeting.made.ca });
		client = http_meeting_client((struct http_client_options){
			.cert_pem = cases[i].cert,
			.key_pem = cases[i].cert ? http_meeting.made.key : NULL });
		expect(client, -EACCES, cases[i].refused);
		http_client_free(client);
		http_meeting_stop(NULL);
	}
}

static void test_http_trust_needs_usable_pem(void **state)
{
	struct http_client *client;

	(void)state;
	http_meeting_start_with((struct tls_server_options){ 0 });
	client = http_meeting_client((struct http_client_options){ .ca_pem = "nonsense" });
	expect(client, -EINVAL, http_meeting.url);
	http_client_free(client);
	client = http_meeting_client((struct http_client_options){
		.cert_pem = http_meeting.made.client, .key_pem = http_meeting.made.ca_key });
	expect(client, -EINVAL, http_meeting.url);
	http_client_free(client);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_http_trust_trusts_one_ca_only, http_meeting_stop),
		cmocka_unit_test_teardown(test_http_trust_presents_its_certificate,
					  http_meeting_stop),
		cmocka_unit_test_teardown(test_http_trust_needs_usable_pem, http_meeting_stop),
	};

	return cmocka_run_group_tests_name("http_trust", tests, http_meeting_set_up,
					   http_meeting_tear_down);
}
