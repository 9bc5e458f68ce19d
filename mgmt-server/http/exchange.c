/* exchange.c - see exchange.h. Threads and locks: http.c. */
#include "mgmt-server/http/exchange.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "mgmt-server/http/judge.h"
#include "mgmt-server/http/listen.h"
#include "mgmt-server/http/peer.h"

/* ---- What a handler asks ---- */

void *http_request_app(const struct http_request *request)
{
	return request->http->options.app;
}

const char *http_header(const struct http_request *request, const char *name)
{
	return MHD_lookup_connection_value(request->mhd, MHD_HEADER_KIND, name);
}

const char *http_cookie(const struct http_request *request, const char *name)
{
	return MHD_lookup_connection_value(request->mhd, MHD_COOKIE_KIND, name);
}

const char *http_address(const struct http_request *request)
{
	return request->connection->address;
}

/* ---- Client certificates ---- */

static int peer_check(struct http_request *request, char **pem, struct err *err)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(request->mhd, MHD_CONNECTION_INFO_GNUTLS_SESSION);

	if (!info || !info->tls_session)
		return err_say(err, EACCES, "no TLS session");
	return peer_verify(info->tls_session, pem, err);
}

int http_peer_certificate(struct http_request *request, char **cert_pem, struct err *err)
{
	struct http_connection *c = request->connection;

	if (!c->peer_checked) {
		c->peer_checked = true;
		c->peer_result = peer_check(request, &c->peer_pem, &c->peer_error);
	}
	*cert_pem = c->peer_pem;
	if (c->peer_result < 0 && err)
		*err = c->peer_error;
	return c->peer_result;
}

/* ---- Bodies ---- */

static void body_free(struct http_request *request)
{
	free(request->body);
	request->body = NULL;
	request->body_len = 0;
	budget_release(&request->http->budget, request);
}

/* The whole body's room now, or the connection waits, suspended, until there is some. */
static void reserve_or_queue(struct http_request *request)
{
	struct http *http = request->http;

	pthread_mutex_lock(&http->budget.lock);
	if (!budget_reserve(&http->budget, request)) {
		request->phase = PHASE_QUEUED;
		watch_set(&http->watch, &request->connection->watched, 0);
		MHD_suspend_connection(request->mhd); /* before anybody can resume it */
	}
	pthread_mutex_unlock(&http->budget.lock);
}

static bool take_body(struct http_request *request, const char *data, size_t len)
{
	if (!request->body)
		request->body = malloc(request->body_size + 1);
	if (!request->body || len > request->body_size - request->body_len)
		return false;
	memcpy(request->body + request->body_len, data, len);
	request->body_len += len;
	request->body[request->body_len] = '\0'; /* for whoever reads it as text */
	return true;
}

/* ---- Refusals before a handler ---- */

static enum MHD_Result count_header(void *arg, enum MHD_ValueKind kind, const char *name,
				    const char *value)
{
	struct judge_headers *count = arg;

	(void)kind;
	if (strcasecmp(name, "Content-Length") == 0) {
		count->lengths++;
		count->length = value;
	}
	if (strcasecmp(name, "Transfer-Encoding") == 0)
		count->encodings++;
	return MHD_YES;
}

static enum MHD_Result keep_argument(void *arg, enum MHD_ValueKind kind, const char *name,
				     const char *value)
{
	struct http_request *request = arg;

	(void)kind;
	if (request->query_count == HTTP_QUERY_MAX)
		return MHD_NO;
	request->query[request->query_count].name = name;
	request->query[request->query_count++].value = value ? value : "";
	return MHD_YES;
}

static void judge(struct http_request *request)
{
	const struct http_listener_options *options = &request->listener->options;
	struct judge_headers headers = { 0 };
	struct http *http = request->http;

	watch_set(&http->watch, &request->connection->watched, http->options.body_timeout_ms);
	if (request->path[0] != '/') {
		judge_refuse(request, 400, "the path is malformed");
		return;
	}
	if (http->closing) {
		judge_refuse(request, 503, "the server is stopping");
		return;
	}
	MHD_get_connection_values(request->mhd, MHD_HEADER_KIND, count_header, &headers);
	if (!judge_length(request, &headers) ||
	    !judge_route(request, options->routes, options->route_count))
		return;
	MHD_get_connection_values(request->mhd, MHD_GET_ARGUMENT_KIND, keep_argument, request);
	if (options->admit(request, request->match.route) != 0) {
		request->must_close = request->body_size > 0;
		return;
	}
	request->phase = PHASE_BODY;
	if (request->body_size > 0)
		reserve_or_queue(request);
}

/* ---- A request's life ---- */

static int run_handler(void *arg, struct err *err)
{
	struct http_request *request = arg;

	(void)err;
	request->match.route->handler(request);
	return 0;
}

void http_request_replied(struct http_request *request)
{
	bool running = request->phase == PHASE_RUNNING;

	assert(request->phase != PHASE_REPLIED && request->phase != PHASE_SENDING);
	body_free(request);
	request->phase = PHASE_REPLIED;
	if (running)
		MHD_resume_connection(request->mhd);
}

void http_request_resume(struct http_request *request)
{
	MHD_resume_connection(request->mhd);
}

static ssize_t on_read(void *arg, uint64_t offset, char *buf, size_t max)
{
	struct http_request *request = arg;
	long n;

	(void)offset;
	pthread_mutex_lock(&request->lock);
	n = http_stream_take(request, buf, max);
	if (n == 0)
		MHD_suspend_connection(request->mhd);
	pthread_mutex_unlock(&request->lock);
	if (n == -1)
		return MHD_CONTENT_READER_END_OF_STREAM;
	return n == -2 ? MHD_CONTENT_READER_END_WITH_ERROR : n;
}

static void add_headers(struct http_request *request, struct MHD_Response *response)
{
	bool cached = false;
	size_t i;

	for (i = 0; i < request->header_count; i++) {
		cached |= strcmp(request->headers[i].name, "Cache-Control") == 0;
		MHD_add_response_header(response, request->headers[i].name,
					request->headers[i].value);
	}
	if (!cached)
		MHD_add_response_header(response, "Cache-Control", "no-store");
	if (request->type)
		MHD_add_response_header(response, "Content-Type", request->type);
	if (request->must_close)
		MHD_add_response_header(response, "Connection", "close");
	MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
}

static enum MHD_Result send_reply(struct http_request *request)
{
	struct http *http = request->http;
	struct MHD_Response *response;
	enum MHD_Result result;
	bool stream = request->s.stream.fill != NULL;

	if (stream) {
		response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, EXCHANGE_MEMORY,
							     on_read, request, NULL);
	} else {
		response = MHD_create_response_from_buffer(
			request->text_len, request->text ? request->text : "",
			request->text ? MHD_RESPMEM_MUST_FREE : MHD_RESPMEM_PERSISTENT);
		if (response)
			request->text = NULL;
	}
	if (!response)
		return MHD_NO;
	add_headers(request, response);
	watch_set(&http->watch, &request->connection->watched,
		  stream ? 0 : http->options.send_timeout_ms);
	result = MHD_queue_response(request->mhd, request->status, response);
	MHD_destroy_response(response);
	request->phase = PHASE_SENDING;
	return result;
}

static struct http_request *request_new(struct http_listener *listener, struct MHD_Connection *mhd)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	struct http_request *request;
	struct http *http = listener->http;

	if (!info || !info->socket_context)
		return NULL;
	request = calloc(1, sizeof(*request));
	if (!request)
		return NULL;
	request->http = http;
	request->listener = listener;
	request->mhd = mhd;
	request->connection = info->socket_context;
	pthread_mutex_init(&request->lock, NULL);
	pthread_mutex_lock(&http->lock);
	request->prev = http->all.prev;
	request->next = &http->all;
	request->prev->next = request->next->prev = request;
	http->active++;
	pthread_mutex_unlock(&http->lock);
	return request;
}

enum MHD_Result exchange_on_request(void *arg, struct MHD_Connection *mhd, const char *url,
				    const char *method, const char *version, const char *data,
				    size_t *data_len, void **context)
{
	struct http_request *request = *context;

	(void)version;
	if (!request) {
		request = *context = request_new(arg, mhd);
		if (!request)
			return MHD_NO;
		request->path = url;
		request->method = method;
		judge(request);
		return request->phase == PHASE_REPLIED ? send_reply(request) : MHD_YES;
	}
	if (request->phase == PHASE_REPLIED)
		return send_reply(request);
	if (request->phase == PHASE_QUEUED) {
		request->phase = PHASE_BODY;
		watch_set(&request->http->watch, &request->connection->watched,
			  request->http->options.body_timeout_ms);
	}
	if (*data_len > 0) {
		if (!take_body(request, data, *data_len))
			return MHD_NO;
		*data_len = 0;
	} else if (request->phase == PHASE_BODY && request->body_len == request->body_size) {
		request->phase = PHASE_RUNNING;
		watch_set(&request->http->watch, &request->connection->watched, 0);
		MHD_suspend_connection(mhd);
		http_submit(request->http, request->match.route->flags & ROUTE_BULK, run_handler,
			    request);
	}
	return MHD_YES;
}

void exchange_on_completed(void *arg, struct MHD_Connection *mhd, void **context,
			   enum MHD_RequestTerminationCode code)
{
	struct http_request *request = *context;
	struct http *http;
	size_t i;

	(void)arg;
	(void)mhd;
	(void)code;
	if (!request)
		return;
	*context = NULL;
	http = request->http;
	if (request->s.stream.fill)
		request->s.stream.close(request->s.stream.ctx);
	body_free(request);
	watch_set(&http->watch, &request->connection->watched, http->options.idle_timeout_ms);
	pthread_mutex_lock(&http->lock);
	request->prev->next = request->next;
	request->next->prev = request->prev;
	http->active--;
	pthread_mutex_unlock(&http->lock);
	for (i = 0; i < request->header_count; i++)
		free(request->headers[i].value);
	/* A wake or a timer that is just ending may still hold the lock. */
	pthread_mutex_lock(&request->lock);
	pthread_mutex_unlock(&request->lock);
	pthread_mutex_destroy(&request->lock);
	free(request->s.buf);
	free(request->text);
	free(request);
}

/* ---- Connections ---- */

void exchange_on_connection(void *arg, struct MHD_Connection *mhd, void **context,
			    enum MHD_ConnectionNotificationCode code)
{
	struct http_listener *listener = arg;
	struct http *http = listener->http;
	struct http_connection *c = *context;
	const union MHD_ConnectionInfo *info, *peer;

	if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
		if (!c)
			return;
		*context = NULL;
		watch_remove(&http->watch, &c->watched);
		free(c->peer_pem);
		free(c);
		return;
	}
	info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
	c = info ? calloc(1, sizeof(*c)) : NULL;
	if (!c)
		return; /* its first request will be refused */
	peer = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
	listen_address(peer ? peer->client_addr : NULL, c->address, sizeof(c->address));
	watch_add(&http->watch, &c->watched, info->connect_fd, http->options.idle_timeout_ms);
	*context = c;
}

size_t exchange_on_unescape(void *arg, struct MHD_Connection *mhd, char *text)
{
	(void)arg;
	(void)mhd;
	if (route_unescape(text) < 0)
		strcpy(text,
		       "%"); /* shorter than what was broken; no path and no value looks like this */
	return strlen(text);
}
