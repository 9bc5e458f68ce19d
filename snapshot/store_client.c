/* The reading half: manifests, and chunks in several requests at a time.
 *
 * A get of many ids is cut into parts. The calling thread works on them itself; the source's helper threads join in, so
 * a get makes progress even when all helpers are busy elsewhere, and a get of one part costs no hand-over.
 */
#include "snapshot/store_client.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "common/io.h"
#include "snapshot/chunk_wire.h"
#include "snapshot/store_client_path.h"

enum {
	SOURCE_PART = 64,   /* ids in one request */
	SOURCE_HELPERS = 3, /* requests in flight beside the caller's own */
	SOURCE_DEADLINE_MS = 60 * 1000,
};

/* One call of the source. `next` only grows; `helpers` counts threads other than the caller that look at it. */
struct get {
	const struct chunk_id *ids;
	size_t n, next;
	chunk_arrived *fn;
	void *arg;
	int r; /* first failure */
	struct err *err;
	unsigned helpers;
	pthread_mutex_t deliver; /* fn is never called twice at the same time */
	struct get *queue_next;
};

struct source {
	struct http_client *http;
	char *path;
	pthread_mutex_t lock; /* queue, stop, and the members of queued gets */
	pthread_cond_t work, idle;
	struct get *queue;
	bool stop;
	unsigned threads;
	pthread_t thread[SOURCE_HELPERS];
};

static int deliver(struct get *g, size_t first, size_t n, const struct http_response *response,
		   struct err *err)
{
	struct chunk_wire_reader reader = { .buf = response->body, .len = response->body_len };
	struct chunk_encoded chunk;
	CLEANUP_FREE uint8_t *raw = NULL;
	size_t room = 0, i;
	int r;

	for (i = 0; i < n; i++) {
		r = chunk_wire_next(&reader, &chunk, err);
		if (r == CHUNK_WIRE_END)
			return err_say(err, EBADMSG, "%zu chunks asked for, %zu answered", n, i);
		if (r < 0)
			return r;
		if (!chunk_id_equal(&chunk.id, &g->ids[first + i]))
			return err_say(err, EBADMSG, "record %zu is another chunk than asked for",
				       i);
		if (chunk.raw_len > room) {
			free(raw);
			room = chunk.raw_len;
			raw = malloc(room);
			if (!raw)
				return err_set(err, ENOMEM, "decode a chunk");
		}
		r = chunk_decode(&chunk, raw, err);
		if (r == CHUNK_CORRUPT)
			return err_wrap(err, -EBADMSG, "record %zu", i);
		if (r < 0)
			return r;
		pthread_mutex_lock(&g->deliver);
		r = g->fn(g->arg, first + i, raw, chunk.raw_len, err);
		pthread_mutex_unlock(&g->deliver);
		if (r < 0)
			return r;
	}
	if (chunk_wire_next(&reader, &chunk, err) != CHUNK_WIRE_END)
		return err_say(err, EBADMSG, "more records than the %zu asked for", n);
	return 0;
}

static int fetch(struct source *s, struct get *g, size_t first, size_t n, struct err *err)
{
	struct http_response response = { 0 };
	int r;

	r = http_client_call(s->http,
			     &(struct http_request){
				     .method = "POST",
				     .path = s->path,
				     .body = &g->ids[first],
				     .body_len = n * sizeof(g->ids[0]),
				     .body_type = "application/octet-stream",
				     .repeatable = true,
				     .deadline_ms = SOURCE_DEADLINE_MS,
				     .response_max = n * CHUNK_WIRE_RECORD_MAX,
			     },
			     &response, err);
	if (r == 0)
		r = http_response_check(&response, s->path, err);
	if (r == 0)
		r = deliver(g, first, n, &response, err);
	http_response_deinit(&response);
	return r < 0 ? err_wrap(err, r, "fetch chunks") : 0;
}

/* Work on parts of @g until none is left. The lock is held on entry and on return. */
static void get_help(struct source *s, struct get *g)
{
	struct err err = { 0 };
	size_t first, n;
	int r;

	while (g->r == 0 && g->next < g->n) {
		first = g->next;
		n = g->n - first < SOURCE_PART ? g->n - first : SOURCE_PART;
		g->next += n;
		pthread_mutex_unlock(&s->lock);
		r = fetch(s, g, first, n, &err);
		pthread_mutex_lock(&s->lock);
		if (r < 0 && g->r == 0) {
			g->r = r;
			if (g->err)
				*g->err = err;
		}
	}
}

static void dequeue(struct source *s, struct get *g)
{
	struct get **at = &s->queue;

	while (*at && *at != g)
		at = &(*at)->queue_next;
	if (*at)
		*at = g->queue_next;
}

static void *helper(void *arg)
{
	struct source *s = arg;
	struct get *g;

	pthread_mutex_lock(&s->lock);
	while (!s->stop) {
		for (g = s->queue; g && (g->r < 0 || g->next >= g->n);)
			g = g->queue_next;
		if (!g) {
			pthread_cond_wait(&s->work, &s->lock);
			continue;
		}
		g->helpers++;
		get_help(s, g);
		if (--g->helpers == 0)
			pthread_cond_broadcast(&s->idle);
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

static int source_get(void *ctx, const struct chunk_id *ids, size_t n, chunk_arrived *fn, void *arg,
		      struct err *err)
{
	struct source *s = ctx;
	struct get g = { .ids = ids, .n = n, .fn = fn, .arg = arg, .err = err };

	assert(n <= CHUNK_IO_BATCH);
	pthread_mutex_init(&g.deliver, NULL);
	pthread_mutex_lock(&s->lock);
	if (n > SOURCE_PART) {
		g.queue_next = s->queue;
		s->queue = &g;
		pthread_cond_broadcast(&s->work);
	}
	get_help(s, &g);
	dequeue(s, &g);
	while (g.helpers > 0)
		pthread_cond_wait(&s->idle, &s->lock);
	pthread_mutex_unlock(&s->lock);
	pthread_mutex_destroy(&g.deliver);
	return g.r;
}

int store_client_source_new(struct chunk_source *out, struct http_client *http, const char *prefix,
			    const char *desktop, const char *job, struct err *err)
{
	struct chunk_source made = { .get = source_get };
	struct source *s;
	int r;

	if (!manifest_desktop_valid(desktop) || (job && !store_client_path_word_valid(job)))
		return err_say(err, EINVAL, "chunks of '%s' for job '%s': not a name", desktop,
			       job ? job : "");
	s = calloc(1, sizeof(*s));
	if (!s)
		return err_set(err, ENOMEM, "open the server's store");
	made.ctx = s;
	s->http = http;
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->work, NULL);
	pthread_cond_init(&s->idle, NULL);
	s->path = io_printf("%s/desktops/%s/chunks%s%s", prefix, desktop, job ? "?job=" : "",
			    job ? job : "");
	if (!s->path) {
		store_client_source_free(&made);
		return err_set(err, ENOMEM, "open the server's store");
	}
	while (s->threads < SOURCE_HELPERS) {
		r = pthread_create(&s->thread[s->threads], NULL, helper, s);
		if (r != 0) {
			store_client_source_free(&made);
			return err_set(err, r, "start a thread for downloads");
		}
		s->threads++;
	}
	*out = made;
	return 0;
}

void store_client_source_free(struct chunk_source *source)
{
	struct source *s = source->ctx;
	unsigned i;

	if (!s)
		return;
	pthread_mutex_lock(&s->lock);
	s->stop = true;
	pthread_cond_broadcast(&s->work);
	pthread_mutex_unlock(&s->lock);
	for (i = 0; i < s->threads; i++)
		pthread_join(s->thread[i], NULL);
	pthread_cond_destroy(&s->idle);
	pthread_cond_destroy(&s->work);
	pthread_mutex_destroy(&s->lock);
	free(s->path);
	free(s);
	*source = (struct chunk_source){ 0 };
}

int store_client_manifest(struct http_client *http, const char *prefix, const char *desktop,
			  const char *id, struct manifest *out, struct err *err)
{
	struct http_response response = { 0 };
	CLEANUP_FREE char *path = NULL;
	int r;

	if (!manifest_desktop_valid(desktop) ||
	    (strcmp(id, "latest") != 0 && !manifest_id_valid(id)))
		return err_say(err, EINVAL, "snapshot '%s' of '%s': not a name", id, desktop);
	path = io_printf("%s/desktops/%s/snapshots/%s", prefix, desktop, id);
	if (!path)
		return err_set(err, ENOMEM, "fetch a manifest");

	r = http_client_call(http, &(struct http_request){ .path = path, .repeatable = true },
			     &response, err);
	if (r == 0)
		r = http_response_check(&response, path, err);
	if (r == 0)
		r = manifest_parse(out, (const char *)response.body, response.body_len, err);
	http_response_deinit(&response);
	return r < 0 ? err_wrap(err, r, "manifest of snapshot %s of desktop %s", id, desktop) : 0;
}
