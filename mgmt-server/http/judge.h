/* judge.h - what is refused from the headers alone, before anybody reads a body. Each function has replied when it
 * returns false. Source: RFC 9112, 6.3 and 11.2 (request smuggling).
 */
#ifndef GODWIT_MGMT_SERVER_JUDGE_H
#define GODWIT_MGMT_SERVER_JUDGE_H

#include "mgmt-server/http/http.h"

struct judge_headers {
	unsigned lengths, encodings; /* how often Content-Length and Transfer-Encoding are there */
	const char *length;          /* the value of the last Content-Length */
};

/* Sets request->body_size. */
bool judge_length(struct http_request *request, const struct judge_headers *headers);
/* Sets request->match; also checks the body's size against the route. */
bool judge_route(struct http_request *request, const struct http_route *routes, size_t n);
/* A problem document, and the end of the connection. */
void judge_refuse(struct http_request *request, unsigned status, const char *text);

#endif
