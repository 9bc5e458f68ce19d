/* request.h - the inside of a request, shared by exchange.c (which speaks to libmicrohttpd) and reply.c (which does not).
 *
 * Who may touch it: the I/O thread until `phase` is PHASE_RUNNING; then whoever holds the request until he replies;
 * after that the I/O thread again. A stream's part is guarded by `lock`.
 */
#ifndef GODWIT_MGMT_SERVER_REQUEST_H
#define GODWIT_MGMT_SERVER_REQUEST_H

#include <pthread.h>

#include "mgmt-server/http/http.h"

enum http_phase {
	PHASE_HEADER,  /* not judged yet */
	PHASE_QUEUED,  /* suspended until the body budget has room */
	PHASE_BODY,    /* the body arrives */
	PHASE_RUNNING, /* suspended; the handler's */
	PHASE_REPLIED, /* the reply is complete, MHD has not got it yet */
	PHASE_SENDING,
};

enum { HTTP_HEADERS_MAX = 8, HTTP_QUERY_MAX = 16 };

struct http_stream_state {
	struct http_stream stream; /* fill NULL: the reply is no stream */
	uint8_t *buf;
	size_t at, len; /* buf[at..len) waits to be sent */
	bool filling;   /* a fill is queued or running */
	bool waiting;   /* it said WAIT: `timer` or http_wake goes on */
	bool woken;     /* http_wake came while filling */
	bool suspended, ended, failed;
	uint64_t timer;
};

struct http_request {
	struct http *http;
	struct http_listener *listener;
	void *mhd; /* struct MHD_Connection * */
	struct http_connection *connection;
	struct http_request *next, *prev; /* all requests */
	struct http_request *next_queued; /* waiting for the body budget */
	enum http_phase phase;
	const char *method, *path; /* MHD's */
	struct route_match match;
	struct http_caller caller;
	struct {
		const char *name, *value;
	} query[HTTP_QUERY_MAX];
	size_t query_count;
	uint8_t *body;
	size_t body_len, body_size; /* arrived, announced */
	size_t reserved;            /* of the budget */
	bool must_close;            /* refused before its body was read */

	unsigned status;
	const char *type; /* static */
	char *text;
	size_t text_len;
	struct {
		const char *name; /* static */
		char *value;
	} headers[HTTP_HEADERS_MAX];
	size_t header_count;

	pthread_mutex_t lock;
	struct http_stream_state s;
};

/* exchange.c: the reply is complete. Called by reply.c once per request. */
void http_request_replied(struct http_request *request);
/* exchange.c: go on with a suspended stream. */
void http_request_resume(struct http_request *request);
/* http.c: a place on a worker, a timer. */
void http_submit(struct http *http, bool bulk, int (*fn)(void *arg, struct err *err), void *arg);
uint64_t http_after(struct http *http, uint64_t ms, void (*fn)(void *arg), void *arg);
bool http_cancel(struct http *http, uint64_t timer);

/* reply.c: MHD wants bytes. Return > 0: so many; 0: none yet, the caller suspends before it unlocks; -1: the end;
 * -2: cut. With request->lock held. */
long http_stream_take(struct http_request *request, char *buf, size_t max);
/* reply.c: the server stops: end a stream that waits. */
void http_stream_stop(struct http_request *request);

#endif
