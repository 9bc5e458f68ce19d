/* judge.c - see judge.h. */
#include "mgmt-server/http/judge.h"

#include <errno.h>
#include <stdlib.h>

#include "mgmt-server/http/request.h"

void judge_refuse(struct http_request *request, unsigned status, const char *text)
{
	request->must_close = true;
	http_fail(request, status, "%s", text);
}

/* The length, or a refusal. Two lengths, or a length and an encoding, are how requests are smuggled past a proxy. */
bool judge_length(struct http_request *request, const struct judge_headers *headers)
{
	char *end;

	if (headers->lengths > 1 || (headers->lengths && headers->encodings)) {
		judge_refuse(request, 400,
			     "Content-Length must be there once, and without Transfer-Encoding");
		return false;
	}
	if (headers->encodings) {
		judge_refuse(request, 411,
			     "send a Content-Length; Transfer-Encoding is not accepted");
		return false;
	}
	if (!headers->length)
		return true;
	errno = 0;
	request->body_size = strtoull(headers->length, &end, 10);
	if (errno || *end || headers->length[0] < '0' || headers->length[0] > '9') {
		judge_refuse(request, 400, "Content-Length is not a number");
		return false;
	}
	return true;
}

bool judge_route(struct http_request *request, const struct http_route *routes, size_t n)
{
	int r;

	r = route_find(routes, n, request->method, request->path, &request->match);
	if (r == 0 && request->body_size > request->match.route->body_max) {
		request->must_close = true;
		http_fail(request, 413, "the body has %zu bytes, this request takes at most %zu",
			  request->body_size, request->match.route->body_max);
		return false;
	}
	if (r == 0)
		return true;
	request->must_close = request->body_size > 0;
	if (r == ROUTE_METHOD)
		http_fail(request, 405, "%s is not possible on %.200s", request->method,
			  request->path);
	else
		http_fail(request, 404, "there is no %.200s", request->path);
	return false;
}
