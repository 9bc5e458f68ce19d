/* http_meeting.h - a client of common/http_client meets a tls_server that says what http_answers.h tells: the set-up that
 * the tests of http_client, http_try and http_trust share. Everything asserts that it worked.
 */
#ifndef GODWIT_TESTS_HTTP_MEETING_H
#define GODWIT_TESTS_HTTP_MEETING_H

#include "common/http_client.h"
#include "tests/lib/certificates.h"
#include "tests/lib/http_answers.h"

extern struct http_meeting {
	struct certificates made;
	struct tls_server *server;
	char url[64]; /* of the server */
} http_meeting;

/* cmocka's, for the group: certificates, and no proxy. */
int http_meeting_set_up(void **state);
int http_meeting_tear_down(void **state);

/* With http_meeting.made's certificate where @options has none. */
void http_meeting_start_with(struct tls_server_options options);
/* cmocka's, for a test. */
int http_meeting_start(void **state);
int http_meeting_stop(void **state);
#define WITH_SERVER(test)                                                                          \
	cmocka_unit_test_setup_teardown(test, http_meeting_start, http_meeting_stop)

/* Of that server and trusting its CA where @options does not say otherwise. */
struct http_client *http_meeting_client(struct http_client_options options);
struct http_client *http_meeting_plain_client(void);
/* Call and expect @want; the text must contain @says (NULL: anything). Return the status. */
long http_meeting_expect(struct http_client *client, const struct http_request *request, int want,
			 const char *says);

#endif
