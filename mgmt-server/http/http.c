/* http.c - see http.h: the server, its threads and its listeners. What happens to a request is in exchange.c.
 *
 * Threads: libmicrohttpd's I/O threads run exchange.c's callbacks; two pools run handlers and fills; one timer thread
 * sweeps deadlines. Locks, outer first: http->lock (list of requests) · budget.lock · request->lock · MHD's own.
 */
#include "mgmt-server/http/http.h"

#include <assert.h>
#include <errno.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "mgmt-server/http/exchange.h"
#include "mgmt-server/http/listen.h"

enum { SWEEP_MS = 250 };

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

static void sweep(void *arg)
{
	struct http *http = arg;
	size_t cut = watch_sweep(&http->watch);

	if (cut)
		log_debug("cut connections that missed their deadline count=%zu", cut);
	timer_after(http->timers, SWEEP_MS, sweep, http);
}

/* ---- Listening ---- */

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
		0, NULL, NULL, exchange_on_request, l, MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL,
		MHD_OPTION_LISTEN_SOCKET, l->fd, MHD_OPTION_HTTPS_MEM_CERT, l->options.cert_pem,
		MHD_OPTION_HTTPS_MEM_KEY, l->options.key_pem, MHD_OPTION_HTTPS_PRIORITIES,
		"SECURE128:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2", MHD_OPTION_THREAD_POOL_SIZE, 2u,
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)EXCHANGE_MEMORY,
		MHD_OPTION_CONNECTION_LIMIT, o->connections_max, MHD_OPTION_PER_IP_CONNECTION_LIMIT,
		o->connections_per_address, MHD_OPTION_CONNECTION_TIMEOUT, 60u,
		MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_NOTIFY_COMPLETED, exchange_on_completed,
		l, MHD_OPTION_NOTIFY_CONNECTION, exchange_on_connection, l,
		MHD_OPTION_UNESCAPE_CALLBACK, exchange_on_unescape, l, MHD_OPTION_ARRAY, trust,
		MHD_OPTION_END);
}

int http_listen(struct http *http, const struct http_listener_options *options, unsigned *port,
		struct err *err)
{
	struct http_listener *l = &http->listeners[http->listener_count];

	assert(http->listener_count < HTTP_LISTENERS_MAX);
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
	size_t queue = options->connections_max * HTTP_LISTENERS_MAX;
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
