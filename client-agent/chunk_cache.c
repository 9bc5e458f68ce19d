#include "client-agent/chunk_cache.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { BUCKETS = 4096 };

/* One chunk. In its bucket while it is fetched or held; in the LRU list exactly while it is held and unpinned.
 * A pinned one (refs > 0) is never freed. data NULL: somebody fetches it. */
struct entry {
	struct chunk_id id;
	struct entry *bucket_next;
	struct entry *newer, *older;
	unsigned refs;
	bool gone; /* its fetch failed: no longer in the bucket, free with the last ref */
	size_t len;
	uint8_t *data;
};

struct chunk_cache {
	struct chunk_source origin;
	size_t max_bytes;
	pthread_mutex_t lock; /* all below */
	pthread_cond_t arrived;
	struct entry *buckets[BUCKETS];
	struct entry *newest, *oldest;
	struct chunk_cache_stats stats;
};

/* ---- The table; the lock is held ---------------------------------------------------------------------------------- */

static struct entry **bucket_of(struct chunk_cache *c, const struct chunk_id *id)
{
	return &c->buckets[(id->bytes[0] | id->bytes[1] << 8) % BUCKETS];
}

static struct entry *find(struct chunk_cache *c, const struct chunk_id *id)
{
	struct entry *e = *bucket_of(c, id);

	while (e && !chunk_id_equal(&e->id, id))
		e = e->bucket_next;
	return e;
}

static void lru_remove(struct chunk_cache *c, struct entry *e)
{
	*(e->newer ? &e->newer->older : &c->newest) = e->older;
	*(e->older ? &e->older->newer : &c->oldest) = e->newer;
	e->newer = e->older = NULL;
}

static void lru_add(struct chunk_cache *c, struct entry *e)
{
	e->newer = NULL;
	e->older = c->newest;
	*(c->newest ? &c->newest->newer : &c->oldest) = e;
	c->newest = e;
}

static void bucket_remove(struct chunk_cache *c, struct entry *e)
{
	struct entry **at = bucket_of(c, &e->id);

	while (*at != e)
		at = &(*at)->bucket_next;
	*at = e->bucket_next;
}

static void entry_free(struct entry *e)
{
	free(e->data);
	free(e);
}

static void shrink(struct chunk_cache *c)
{
	while (c->stats.bytes > c->max_bytes && c->oldest) {
		struct entry *e = c->oldest;

		lru_remove(c, e);
		bucket_remove(c, e);
		c->stats.bytes -= e->len;
		entry_free(e);
	}
}

static void pin(struct chunk_cache *c, struct entry *e)
{
	if (e->refs++ == 0 && e->data)
		lru_remove(c, e);
}

static void unpin(struct chunk_cache *c, struct entry *e)
{
	assert(e->refs > 0);
	if (--e->refs > 0)
		return;
	if (e->gone) {
		entry_free(e);
		return;
	}
	lru_add(c, e);
	shrink(c);
}

/* ---- A get --------------------------------------------------------------------------------------------------------- */

struct get {
	struct chunk_cache *cache;
	struct entry **entries; /* one for each id, pinned */
	size_t n;
	struct chunk_id *wanted; /* those that this get fetches */
	size_t *place;           /* where they stand among the entries */
	size_t wanted_count;
};

static int fetched(void *arg, size_t i, const uint8_t *data, size_t len, struct err *err)
{
	struct get *g = arg;
	struct chunk_cache *c = g->cache;
	struct entry *e = g->entries[g->place[i]];
	uint8_t *copy = malloc(len);

	if (!copy)
		return err_set(err, ENOMEM, "keep a chunk");
	memcpy(copy, data, len);
	pthread_mutex_lock(&c->lock);
	e->data = copy;
	e->len = len;
	c->stats.bytes += len;
	pthread_cond_broadcast(&c->arrived);
	pthread_mutex_unlock(&c->lock);
	return 0;
}

/* Find or reserve an entry for each id. */
static int reserve(struct get *g, const struct chunk_id *ids, struct err *err)
{
	struct chunk_cache *c = g->cache;
	struct entry *e, **bucket;
	size_t i;

	for (i = 0; i < g->n; i++) {
		e = find(c, &ids[i]);
		if (!e) {
			e = calloc(1, sizeof(*e));
			if (!e)
				return err_set(err, ENOMEM, "keep a chunk");
			e->id = ids[i];
			bucket = bucket_of(c, &ids[i]);
			e->bucket_next = *bucket;
			*bucket = e;
			g->wanted[g->wanted_count] = ids[i];
			g->place[g->wanted_count++] = i;
			c->stats.misses++;
		} else {
			c->stats.hits++;
		}
		pin(c, e);
		g->entries[i] = e;
	}
	return 0;
}

/* What we reserved and did not get must not keep others waiting. */
static void give_up_missing(struct get *g)
{
	size_t i;

	for (i = 0; i < g->wanted_count; i++) {
		struct entry *e = g->entries[g->place[i]];

		if (!e->data && !e->gone) {
			bucket_remove(g->cache, e);
			e->gone = true;
		}
	}
	pthread_cond_broadcast(&g->cache->arrived);
}

/* Another get's fetch failed; ours need not. */
static int deliver_directly(struct get *g, size_t i, chunk_arrived *fn, void *arg, struct err *err);

static int deliver(struct get *g, chunk_arrived *fn, void *arg, struct err *err)
{
	struct chunk_cache *c = g->cache;
	size_t i;
	int r = 0;

	for (i = 0; i < g->n && r >= 0; i++) {
		struct entry *e = g->entries[i];

		pthread_mutex_lock(&c->lock);
		while (!e->data && !e->gone)
			pthread_cond_wait(&c->arrived, &c->lock);
		pthread_mutex_unlock(&c->lock);
		r = e->data ? fn(arg, i, e->data, e->len, err)
			    : deliver_directly(g, i, fn, arg, err);
	}
	return r;
}

struct one {
	size_t i;
	chunk_arrived *fn;
	void *arg;
};

static int one_arrived(void *arg, size_t i, const uint8_t *data, size_t len, struct err *err)
{
	const struct one *one = arg;

	(void)i;
	return one->fn(one->arg, one->i, data, len, err);
}

static int deliver_directly(struct get *g, size_t i, chunk_arrived *fn, void *arg, struct err *err)
{
	struct one one = { i, fn, arg };

	return g->cache->origin.get(g->cache->origin.ctx, &g->entries[i]->id, 1, one_arrived, &one,
				    err);
}

static int get_run(struct get *g, const struct chunk_id *ids, chunk_arrived *fn, void *arg,
		   struct err *err)
{
	struct chunk_cache *c = g->cache;
	size_t i;
	int r;

	pthread_mutex_lock(&c->lock);
	r = reserve(g, ids, err);
	pthread_mutex_unlock(&c->lock);
	if (r == 0 && g->wanted_count > 0)
		r = c->origin.get(c->origin.ctx, g->wanted, g->wanted_count, fetched, g, err);
	if (r < 0) {
		pthread_mutex_lock(&c->lock);
		give_up_missing(g);
		pthread_mutex_unlock(&c->lock);
	} else {
		r = deliver(g, fn, arg, err);
	}
	pthread_mutex_lock(&c->lock);
	for (i = 0; i < g->n && g->entries[i]; i++)
		unpin(c, g->entries[i]);
	pthread_mutex_unlock(&c->lock);
	return r;
}

static int cache_get(void *ctx, const struct chunk_id *ids, size_t n, chunk_arrived *fn, void *arg,
		     struct err *err)
{
	struct get g = { .cache = ctx, .n = n };
	int r;

	g.entries = calloc(n, sizeof(*g.entries));
	g.wanted = calloc(n, sizeof(*g.wanted));
	g.place = calloc(n, sizeof(*g.place));
	if (!g.entries || !g.wanted || !g.place)
		r = err_set(err, ENOMEM, "fetch chunks");
	else
		r = get_run(&g, ids, fn, arg, err);
	free(g.entries);
	free(g.wanted);
	free(g.place);
	return r;
}

struct chunk_source chunk_cache_source(struct chunk_cache *cache)
{
	return (struct chunk_source){ .ctx = cache, .get = cache_get };
}

int chunk_cache_new(struct chunk_cache **out, struct chunk_source origin, size_t max_bytes,
		    struct err *err)
{
	struct chunk_cache *c = calloc(1, sizeof(*c));

	if (!c)
		return err_set(err, ENOMEM, "make a chunk cache");
	c->origin = origin;
	c->max_bytes = max_bytes;
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->arrived, NULL);
	*out = c;
	return 0;
}

void chunk_cache_free(struct chunk_cache *cache)
{
	if (!cache)
		return;
	cache->max_bytes = 0;
	shrink(cache);
	pthread_cond_destroy(&cache->arrived);
	pthread_mutex_destroy(&cache->lock);
	free(cache);
}

void chunk_cache_stats(struct chunk_cache *cache, struct chunk_cache_stats *out)
{
	pthread_mutex_lock(&cache->lock);
	*out = cache->stats;
	pthread_mutex_unlock(&cache->lock);
}
