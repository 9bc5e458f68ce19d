/* events.c - see events.h. */
#include "mgmt-server/core/events.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/hex.h"
#include "common/io.h"

enum { RING = 1024, KEEPALIVE_MS = 15000, BUFFER = 64 << 10 };

struct watcher {
	struct events *events;
	struct http_request *request;
	uint64_t next; /* number of the next event */
	bool reload, greeted;
	uint64_t quiet_since_ms;
	size_t offset; /* of event `next`, already sent */
	struct watcher *link, *back;
};

struct events {
	pthread_mutex_t lock;
	char boot[17];
	uint64_t first, end; /* numbers in the ring: first <= n < end */
	char *ring[RING];    /* complete text of event n at [n % RING] */
	struct watcher all;
};

int events_new(struct events **out, struct err *err)
{
	struct events *e = calloc(1, sizeof(*e));

	if (!e)
		return err_set(err, ENOMEM, "events");
	pthread_mutex_init(&e->lock, NULL);
	hex_random(e->boot, 8);
	e->first = e->end = 1;
	e->all.link = e->all.back = &e->all;
	*out = e;
	return 0;
}

void events_free(struct events *e)
{
	size_t i;

	for (i = 0; i < RING; i++)
		free(e->ring[i]);
	pthread_mutex_destroy(&e->lock);
	free(e);
}

void events_publish(struct events *e, const char *type, json_t *data)
{
	CLEANUP_FREE char *text = data ? json_text(data) : NULL;
	struct watcher *w;
	char *event;

	json_decref(data);
	if (!text)
		return; /* out of memory: watchers miss one state, the next one repairs it */
	pthread_mutex_lock(&e->lock);
	event = io_printf("id: %s-%llu\nevent: %s\ndata: %s\n\n", e->boot,
			  (unsigned long long)e->end, type, text);
	if (event) {
		if (e->end - e->first == RING)
			e->first++;
		free(e->ring[e->end % RING]);
		e->ring[e->end++ % RING] = event;
		for (w = e->all.link; w != &e->all; w = w->link)
			http_wake(w->request);
	}
	pthread_mutex_unlock(&e->lock);
}

/* With the lock: as much of the next event as fits. */
static size_t take_event(struct watcher *w, uint8_t *buf, size_t cap)
{
	const char *text = w->events->ring[w->next % RING];
	size_t n = strlen(text) - w->offset;

	if (n > cap)
		n = cap;
	memcpy(buf, text + w->offset, n);
	w->offset += n;
	if (text[w->offset] == '\0') {
		w->next++;
		w->offset = 0;
	}
	return n;
}

static size_t take_words(struct watcher *w, uint8_t *buf, size_t cap, uint64_t now)
{
	size_t n = 0;

	if (!w->greeted) {
		n = (size_t)snprintf((char *)buf, cap, "retry: 2000\n\n");
		w->greeted = true;
	}
	if (w->next < w->events->first) {
		w->next = w->events->end;
		w->offset = 0;
		w->reload = true;
	}
	if (w->reload) {
		w->reload = false;
		/* An empty line first: the stream may have stopped within an event. */
		n += (size_t)snprintf((char *)buf + n, cap - n,
				      "\n\nid: %s-%llu\nevent: reload\ndata: {}\n\n",
				      w->events->boot, (unsigned long long)w->next - 1);
	}
	if (n == 0 && w->next == w->events->end && now - w->quiet_since_ms >= KEEPALIVE_MS)
		n = (size_t)snprintf((char *)buf, cap, ": still here\n\n");
	return n;
}

static int watcher_fill(void *ctx, uint8_t *buf, size_t cap, size_t *len, uint64_t *wait_ms)
{
	struct watcher *w = ctx;
	uint64_t now = clock_now_ms();
	size_t n;

	pthread_mutex_lock(&w->events->lock);
	n = take_words(w, buf, cap, now);
	while (n < cap && w->next < w->events->end)
		n += take_event(w, buf + n, cap - n);
	pthread_mutex_unlock(&w->events->lock);
	*len = n;
	if (n > 0) {
		w->quiet_since_ms = now;
		return HTTP_STREAM_MORE;
	}
	*wait_ms = KEEPALIVE_MS - (now - w->quiet_since_ms);
	return HTTP_STREAM_WAIT;
}

static void watcher_close(void *ctx)
{
	struct watcher *w = ctx;

	pthread_mutex_lock(&w->events->lock);
	w->link->back = w->back;
	w->back->link = w->link;
	pthread_mutex_unlock(&w->events->lock);
	free(w);
}

/* Where to go on after "BOOT-NUMBER"; false: that is not known any more. */
static bool resume_at(const struct events *e, const char *id, uint64_t *next)
{
	size_t boot = strlen(e->boot);
	uint64_t n;
	char *end;

	if (strncmp(id, e->boot, boot) != 0 || id[boot] != '-')
		return false;
	errno = 0;
	n = strtoull(id + boot + 1, &end, 10);
	if (errno || *end || n >= e->end || n + 1 < e->first)
		return false;
	*next = n + 1;
	return true;
}

void events_watch(struct events *e, struct http_request *request, const char *last_event_id)
{
	struct watcher *w = calloc(1, sizeof(*w));
	struct http_stream stream = {
		.ctx = w, .fill = watcher_fill, .close = watcher_close, .buffer = BUFFER
	};

	if (!w) {
		http_fail(request, 503, "out of memory");
		return;
	}
	w->events = e;
	w->request = request;
	w->quiet_since_ms = clock_now_ms();
	pthread_mutex_lock(&e->lock);
	w->next = e->end;
	if (last_event_id && last_event_id[0])
		w->reload = !resume_at(e, last_event_id, &w->next);
	w->link = e->all.link;
	w->back = &e->all;
	w->link->back = w->back->link = w;
	pthread_mutex_unlock(&e->lock);
	http_reply_stream(request, 200, "text/event-stream", &stream);
}
