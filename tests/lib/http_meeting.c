/* http_meeting.c - see http_meeting.h. */
#include "tests/lib/http_meeting.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct http_meeting http_meeting;

int http_meeting_set_up(void **state)
{
	(void)state;
	/* Nobody's proxy may stand between an agent and its server. */
	setenv("https_proxy", "http://127.0.0.1:1", 1);
	setenv("HTTPS_PROXY", "http://127.0.0.1:1", 1);
	setenv("ALL_PROXY", "http://127.0.0.1:1", 1);
	certificates_init(&http_meeting.made);
	return 0;
}

int http_meeting_tear_down(void **state)
{
	(void)state;
	certificates_deinit(&http_meeting.made);
	return 0;
}

void http_meeting_start_with(struct tls_server_options options)
{
	if (!options.chain_pem)
		options.chain_pem = http_meeting.made.chain;
	options.key_pem = http_meeting.made.key;
	options.answer = http_answers;
	options.cut_off = http_answers_cut_off;
	http_meeting.server = tls_server_start(&options);
	snprintf(http_meeting.url, sizeof(http_meeting.url), "https://127.0.0.1:%u",
		 tls_server_port(http_meeting.server));
}

int http_meeting_start(void **state)
{
	(void)state;
	http_meeting_start_with((struct tls_server_options){ 0 });
	return 0;
}

int http_meeting_stop(void **state)
{
	(void)state;
	tls_server_stop(http_meeting.server);
	http_meeting.server = NULL;
	return 0;
}

struct http_client *http_meeting_client(struct http_client_options options)
{
	struct http_client *client = NULL;
	struct err err = { 0 };

	if (!options.base_url)
		options.base_url = http_meeting.url;
	if (!options.ca_pem && !options.ca_fingerprint)
		options.ca_pem = http_meeting.made.ca;
	if (http_client_new(&client, &options, &err) < 0)
		fail_msg("%s", err_text(&err));
	return client;
}

struct http_client *http_meeting_plain_client(void)
{
	return http_meeting_client((struct http_client_options){ 0 });
}

/* Call and expect @want; the text must contain @says (NULL: anything). Return the status. */
long http_meeting_expect(struct http_client *client, const struct http_request *request, int want,
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
