/* http.h - the HTTPS server: listeners with route tables in front of handlers that run on worker threads.
 *
 * A request goes through these stands: headers checked and route found (I/O thread) → the route's `admit` decides from
 * the headers alone whether the caller may go on → the whole body is collected, after its size was reserved from a
 * budget that all requests share → the handler runs on a worker → somebody replies, once, now or later, from any
 * thread. Between the handler's start and the reply the connection is suspended and costs no thread, so long polls
 * and event streams may park by the thousand.
 * What is refused before a handler sees it: Transfer-Encoding, a repeated Content-Length, bodies over the route's
 * limit, escapes that hide NUL or control characters, and requests that take longer than their deadline (the
 * descriptor is shut down, however busily the client trickles). Source: RFC 9110, 9112; libmicrohttpd 0.9.75 manual.
 */
#ifndef GODWIT_MGMT_SERVER_HTTP_H
#define GODWIT_MGMT_SERVER_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base.h"
#include "common/err.h"
#include "common/json.h"
#include "mgmt-server/http/route.h"

struct http;
struct http_request;

typedef void http_handler(struct http_request *request);
/* Return 0 to let the request go on; else it has replied (http_fail). Runs on an I/O thread: must be quick. */
typedef int http_admit(struct http_request *request, const struct http_route *route);

struct http_listener_options {
	const char *listen; /* "127.0.0.1:8443", "[::]:8443", port 0: any */
	const char *cert_pem, *key_pem;
	const char *client_ca_pem; /* ask for client certificates of this CA; NULL: do not ask */
	const struct http_route *routes;
	size_t route_count;
	http_admit *admit;
};

struct http_options {
	void *app;                      /* http_request_app */
	unsigned workers, bulk_workers; /* threads; bulk: routes with ROUTE_BULK */
	unsigned connections_max, connections_per_address;
	size_t body_budget;       /* bytes of request bodies in memory, all connections together */
	uint64_t idle_timeout_ms; /* from the last reply to the next request's complete header */
	uint64_t body_timeout_ms; /* from there to the end of the body */
	uint64_t send_timeout_ms; /* for a reply, streams excepted */
};

int http_new(struct http **out, const struct http_options *options, struct err *err);
/* Bind and serve. *port: the port it got. */
int http_listen(struct http *http, const struct http_listener_options *options, unsigned *port,
		struct err *err);
/* No new connections; whoever holds parked requests must answer them now. */
void http_close(struct http *http);
/* Waits until no request is under way (5 s, then it cuts), then stops everything. */
void http_free(struct http *http);

/* ---- What a handler asks ---- */

void *http_request_app(const struct http_request *request);
const char *http_method(const struct http_request *request);
const char *http_path(const struct http_request *request);
unsigned http_route_flags(const struct http_request *request); /* enum route_flags */
/* The text that {NAME} of the route's pattern matched; NULL: it has no such name. */
const char *http_param(const struct http_request *request, const char *name);
const char *http_header(const struct http_request *request, const char *name); /* NULL: not there */
const char *http_cookie(const struct http_request *request, const char *name);
const uint8_t *http_body(const struct http_request *request, size_t *len);
const char *http_address(const struct http_request *request); /* the peer, without its port */

/* The client certificate, after GnuTLS verified it for this connection. 0, -EACCES (none, or not trusted), -errno. */
int http_peer_certificate(struct http_request *request, char **cert_pem, struct err *err);

/* The query string against a table: unknown or repeated keys and malformed values are -EINVAL. Kinds: STRING, UINT, BOOL. */
int http_query(struct http_request *request, const struct json_field *fields, size_t n,
	       struct err *err);

/* Who asks, as `admit` found out. */
struct http_caller {
	char name[68]; /* user or endpoint */
	char role[16];
	bool by_cookie;
	uint64_t expires_wall_ms;
};
struct http_caller *http_caller(struct http_request *request);

/* ---- Replying: exactly once; the request is gone afterwards ---- */

void http_reply_header(struct http_request *request, const char *name, const char *value);
void http_reply_empty(struct http_request *request, unsigned status);
void http_reply_json(struct http_request *request, unsigned status,
		     json_t *value); /* takes the reference */
/* text: heap, taken over */
void http_reply_text(struct http_request *request, unsigned status, const char *type, char *text,
		     size_t len);
/* A problem document (RFC 7807). */
void http_fail(struct http_request *request, unsigned status, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* The same from a failure: its code picks the status (problem.h). */
void http_fail_err(struct http_request *request, int r, const struct err *err);

enum {                       /* what a stream's fill says */
       HTTP_STREAM_MORE = 0, /* *len bytes were filled in (> 0) */
       HTTP_STREAM_END,
       HTTP_STREAM_WAIT, /* call again after *wait_ms, or after http_wake */
};
struct http_stream {
	void *ctx;
	/* On a worker, or for `inline_fill` on an I/O thread (then it must not block). Negative: the transfer is cut. */
	int (*fill)(void *ctx, uint8_t *buf, size_t cap, size_t *len, uint64_t *wait_ms);
	void (*close)(void *ctx); /* the client left, or the end was reached */
	bool bulk;
	size_t buffer; /* bytes */
};
void http_reply_stream(struct http_request *request, unsigned status, const char *type,
		       const struct http_stream *stream);
/* The stream's fill has something now. Allowed until its close is called. */
void http_wake(struct http_request *request);

#endif
