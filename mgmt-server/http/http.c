/* http.c - see http.h. The only file that includes microhttpd.h.
 *
 * Threads: libmicrohttpd's I/O threads run the on_… callbacks; two pools run handlers and fills; one timer thread
 * sweeps deadlines. Locks, outer first: http->lock (list of requests) · budget.lock · request->lock · MHD's own.
 */
#include "mgmt-server/http/http.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/task.h"
#include "mgmt-server/http/budget.h"
#include "mgmt-server/http/judge.h"
#include "mgmt-server/http/listen.h"
#include "mgmt-server/http/peer.h"
#include "mgmt-server/http/request.h"
#include "mgmt-server/http/timer.h"
#include "mgmt-server/http/watch.h"

enum { LISTENERS_MAX = 2, CONNECTION_MEMORY = 64 << 10, SWEEP_MS = 250 };

struct http_connection {
	struct watch_entry watched;
	char address[INET6_ADDRSTRLEN];
	bool peer_checked;
	int peer_result;
	char *peer_pem;
	struct err peer_error;
};

struct http_listener {
	struct http *http;
	struct http_listener_options options; /* pointers are the caller's, valid until http_free */
	struct MHD_Daemon *daemon;
	int fd;
};

struct http {
	struct http_options options;
	struct http_listener listeners[LISTENERS_MAX];
	size_t listener_count;
	struct task_pool *pools[2]; /* [1]: bulk */
	struct timer_wheel *timers;
	struct watch watch;
	pthread_mutex_t lock;
	struct http_request all; /* ring */
	size_t active;
	bool closing;
	struct budget budget;
};

/* ---- Small services ---- */

void http_submit(struct http *http, bool bulk, int (*fn)(void *arg, struct err *err), void *arg)
{
	/* Tasks never fail and the queue is longer than there can be connections: this neither blocks nor refuses. */
	task_pool_submit(http->pools[bulk], fn, arg);
}

uint64_t http_after(struct http *http, uint64_t ms, void (*fn)(void *arg), void *arg)
{
	return timer_after(http->timers, ms, fn, arg);
}

bool http_cancel(struct http *http, uint64_t timer)
{
	return timer_cancel(http->timers, timer);
}

void http_request_resume(struct http_request *request)
{
	MHD_resume_connection(request->mhd);
}

static void sweep(void *arg)
{
	struct http *http = arg;
	size_t cut = watch_sweep(&http->watch);

	if (cut)
		log_debug("cut connections that missed their deadline count=%zu", cut);
	timer_after(http->timers, SWEEP_MS, sweep, http);
}

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
		response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, CONNECTION_MEMORY,
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

static enum MHD_Result on_request(void *arg, struct MHD_Connection *mhd, const char *url,
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

static void on_completed(void *arg, struct MHD_Connection *mhd, void **context,
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

static void on_connection(void *arg, struct MHD_Connection *mhd, void **context,
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

static size_t on_unescape(void *arg, struct MHD_Connection *mhd, char *text)
{
	(void)arg;
	(void)mhd;
	if (route_unescape(text) < 0)
		strcpy(text,
		       "%"); /* shorter than what was broken; no path and no value looks like this */
	return strlen(text);
}

static void on_log(void *arg, const char *format, va_list args)
{
	char text[256];
	size_t len;

	(void)arg;
	vsnprintf(text, sizeof(text), format, args);
	len = strcspn(text, "\n");
	text[len] = '\0';
	log_debug("http: %s", text);
}

/* ---- Listening ---- */

static struct MHD_Daemon *start_daemon(struct http_listener *l)
{
	const struct http_options *o = &l->http->options;
	struct MHD_OptionItem trust[] = {
		{ l->options.client_ca_pem ? MHD_OPTION_HTTPS_MEM_TRUST : MHD_OPTION_END, 0,
		  (void *)(uintptr_t)l->options.client_ca_pem },
		{ MHD_OPTION_END, 0, NULL },
	};

	return MHD_start_daemon(
		MHD_USE_TLS | MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_ITC |
			MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG,
		0, NULL, NULL, on_request, l, MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL,
		MHD_OPTION_LISTEN_SOCKET, l->fd, MHD_OPTION_HTTPS_MEM_CERT, l->options.cert_pem,
		MHD_OPTION_HTTPS_MEM_KEY, l->options.key_pem, MHD_OPTION_HTTPS_PRIORITIES,
		"SECURE128:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2", MHD_OPTION_THREAD_POOL_SIZE, 2u,
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY,
		MHD_OPTION_CONNECTION_LIMIT, o->connections_max, MHD_OPTION_PER_IP_CONNECTION_LIMIT,
		o->connections_per_address, MHD_OPTION_CONNECTION_TIMEOUT, 60u,
		MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_NOTIFY_COMPLETED, on_completed, l,
		MHD_OPTION_NOTIFY_CONNECTION, on_connection, l, MHD_OPTION_UNESCAPE_CALLBACK,
		on_unescape, l, MHD_OPTION_ARRAY, trust, MHD_OPTION_END);
}

int http_listen(struct http *http, const struct http_listener_options *options, unsigned *port,
		struct err *err)
{
	struct http_listener *l = &http->listeners[http->listener_count];

	assert(http->listener_count < LISTENERS_MAX);
	l->http = http;
	l->options = *options;
	l->fd = listen_open(options->listen, err);
	if (l->fd < 0)
		return l->fd;
	*port = listen_port(l->fd);
	l->daemon = start_daemon(l);
	if (!l->daemon) {
		close(l->fd);
		return err_say(err, EIO,
			       "start the HTTPS listener on %s (certificate, key, threads?)",
			       options->listen);
	}
	http->listener_count++;
	return 0;
}

int http_new(struct http **out, const struct http_options *options, struct err *err)
{
	size_t queue = options->connections_max * LISTENERS_MAX;
	struct http *http = calloc(1, sizeof(*http));
	int r;

	if (!http)
		return err_set(err, ENOMEM, "http server");
	http->options = *options;
	http->all.next = http->all.prev = &http->all;
	pthread_mutex_init(&http->lock, NULL);
	watch_init(&http->watch);
	budget_init(&http->budget, options->body_budget);
	r = timer_wheel_new(&http->timers, err);
	if (r == 0)
		r = task_pool_new(&http->pools[0], options->workers, queue, err);
	if (r == 0)
		r = task_pool_new(&http->pools[1], options->bulk_workers, queue, err);
	if (r < 0) {
		http_free(http);
		return r;
	}
	sweep(http);
	*out = http;
	return 0;
}

void http_close(struct http *http)
{
	struct http_request *request;
	size_t i;

	pthread_mutex_lock(&http->lock);
	http->closing = true;
	for (request = http->all.next; request != &http->all; request = request->next) {
		if (request->s.stream.fill)
			http_stream_stop(request);
	}
	pthread_mutex_unlock(&http->lock);
	for (i = 0; i < http->listener_count; i++) {
		int fd = MHD_quiesce_daemon(http->listeners[i].daemon);

		if (fd >= 0)
			close(fd);
	}
}

static bool wait_quiet(struct http *http, uint64_t ms)
{
	uint64_t end = clock_now_ms() + ms;
	size_t active;

	for (;;) {
		pthread_mutex_lock(&http->lock);
		active = http->active;
		pthread_mutex_unlock(&http->lock);
		if (active == 0 || clock_now_ms() >= end)
			return active == 0;
		clock_sleep_ms(20);
	}
}

void http_free(struct http *http)
{
	size_t i;

	if (http->listener_count && !wait_quiet(http, 5000)) {
		/* Requests that are still running can't be taken from libmicrohttpd. Nothing is lost by ending here:
		 * every state on disk is made for kill -9. */
		log_warning("requests were still under way, leaving them");
		_exit(0);
	}
	for (i = 0; i < http->listener_count; i++)
		MHD_stop_daemon(http->listeners[i].daemon);
	if (http->timers)
		timer_wheel_free(http->timers);
	for (i = 0; i < ARRAY_LEN(http->pools); i++) {
		if (http->pools[i])
			task_pool_free(http->pools[i]);
	}
	watch_deinit(&http->watch);
	budget_deinit(&http->budget);
	pthread_mutex_destroy(&http->lock);
	free(http);
}
