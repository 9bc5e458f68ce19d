/* http_answers.h - what tls_server says in the tests of http_client: each path is another way to answer, or not to.
 *
 * /hello "hello"; /echo the body; /headers the request's header lines; /nothing 204; /json {"a":1}; /problem 409 with a
 * problem document; /status/N that status; /redirect 302 to /hello; /big HTTP_ANSWERS_BIG bytes; /endless chunks for ever;
 * /busy-twice 503 for the first two; /later 429 with "Retry-After: 1" for the first; /stall nothing; /trickle 12 bytes in
 * 1.8 s; /drop closes; /drop-once closes the first time; /half a body that ends too early; /garbage no HTTP;
 * /cut-off closes before it has read the body.
 */
#ifndef GODWIT_TESTS_HTTP_ANSWERS_H
#define GODWIT_TESTS_HTTP_ANSWERS_H

#include "tests/lib/tls_server.h"

enum { HTTP_ANSWERS_BIG = 100000 };

/* For tls_server_options.answer and .cut_off. */
bool http_answers(const struct tls_server_request *r);
bool http_answers_cut_off(const struct tls_server_request *r);

#endif
