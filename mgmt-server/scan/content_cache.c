#include "mgmt-server/scan/content_cache.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "mgmt-server/scan/scan_state.h"

enum { BATCH = 256 };

struct slot {
	uint64_t size; /* 0: empty; contents have at least one byte */
	uint8_t sha256[CONTENT_CACHE_SHA256_LEN];
	char *signature; /* NULL: clean */
};

struct content_cache {
	pthread_mutex_t lock;
	struct slot *slots; /* open addressing, at most half full, a power of two */
	size_t slot_count, used;
	struct scan_state *state; /* NULL: nobody else is told */
	uint64_t set;
	struct scan_state_verdict news[BATCH];
	size_t news_count;
};

struct content_cache *content_cache_new(void)
{
	struct content_cache *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->slot_count = 4096;
	c->slots = calloc(c->slot_count, sizeof(*c->slots));
	if (!c->slots) {
		free(c);
		return NULL;
	}
	pthread_mutex_init(&c->lock, NULL);
	return c;
}

static void forget_news(struct content_cache *c)
{
	while (c->news_count)
		free(c->news[--c->news_count].text);
}

void content_cache_free(struct content_cache *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < c->slot_count; i++)
		free(c->slots[i].signature);
	forget_news(c);
	free(c->slots);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

static struct slot *slot_of(const struct content_cache *c, const uint8_t *sha256, uint64_t size)
{
	size_t i;

	memcpy(&i, sha256, sizeof(i));
	for (;; i++) {
		struct slot *s = &c->slots[i & (c->slot_count - 1)];

		if (!s->size || (s->size == size && !memcmp(s->sha256, sha256, sizeof(s->sha256))))
			return s;
	}
}

/* Without memory for more the cache stays as it is: contents are then scanned again. */
static bool grow(struct content_cache *c)
{
	struct content_cache bigger = { .slot_count = c->slot_count * 2 };

	bigger.slots = calloc(bigger.slot_count, sizeof(*bigger.slots));
	if (!bigger.slots)
		return false;
	for (size_t i = 0; i < c->slot_count; i++) {
		if (c->slots[i].size)
			*slot_of(&bigger, c->slots[i].sha256, c->slots[i].size) = c->slots[i];
	}
	free(c->slots);
	c->slots = bigger.slots;
	c->slot_count = bigger.slot_count;
	return true;
}

void content_cache_share(struct content_cache *c, struct scan_state *state, uint64_t set)
{
	c->state = state;
	c->set = set;
}

void content_cache_unshare(struct content_cache *c)
{
	pthread_mutex_lock(&c->lock);
	c->state = NULL;
	forget_news(c);
	pthread_mutex_unlock(&c->lock);
}

/* Under the lock: others wait meanwhile, a few milliseconds in thousands. */
static int flush(struct content_cache *c, struct err *err)
{
	int r = c->state && c->news_count
			? scan_state_add(c->state, c->set, c->news, c->news_count, err)
			: 0;

	forget_news(c);
	return r;
}

int content_cache_flush(struct content_cache *c, struct err *err)
{
	int r;

	pthread_mutex_lock(&c->lock);
	r = flush(c, err);
	pthread_mutex_unlock(&c->lock);
	return r;
}

static bool find_here(struct content_cache *c, const uint8_t *sha256, uint64_t size,
		      struct engine_reply *reply)
{
	const struct slot *s;
	bool found;

	pthread_mutex_lock(&c->lock);
	s = slot_of(c, sha256, size);
	found = s->size != 0;
	if (found) {
		*reply = (struct engine_reply){ .verdict = s->signature ? ENGINE_INFECTED
									: ENGINE_CLEAN,
						.canaries = ENGINE_CANARIES };
		if (s->signature)
			strncpy(reply->text, s->signature, sizeof(reply->text) - 1);
	}
	pthread_mutex_unlock(&c->lock);
	return found;
}

/* Under the lock. */
static void keep(struct content_cache *c, const uint8_t *sha256, uint64_t size,
		 const struct engine_reply *reply)
{
	struct slot *s = slot_of(c, sha256, size);

	if (!s->size && (c->used * 2 < c->slot_count || grow(c))) {
		char *signature = reply->verdict == ENGINE_INFECTED ? strdup(reply->text) : NULL;

		s = slot_of(c, sha256, size);
		if (signature || reply->verdict == ENGINE_CLEAN) {
			s->size = size;
			memcpy(s->sha256, sha256, sizeof(s->sha256));
			s->signature = signature;
			c->used++;
		}
	}
}

bool content_cache_find(struct content_cache *c, const uint8_t *sha256, uint64_t size,
			struct engine_reply *reply)
{
	if (find_here(c, sha256, size, reply))
		return true;
	if (!c->state || !scan_state_find(c->state, c->set, sha256, size, reply))
		return false;
	pthread_mutex_lock(&c->lock);
	keep(c, sha256, size, reply);
	pthread_mutex_unlock(&c->lock);
	return true;
}

void content_cache_add(struct content_cache *c, const uint8_t *sha256, uint64_t size,
		       const struct engine_reply *reply)
{
	struct scan_state_verdict *news;

	pthread_mutex_lock(&c->lock);
	if (reply->verdict != ENGINE_UNFINISHED)
		keep(c, sha256, size, reply);
	if (c->state) {
		news = &c->news[c->news_count++];
		*news = (struct scan_state_verdict){ .size = size, .verdict = reply->verdict };
		memcpy(news->sha256, sha256, sizeof(news->sha256));
		news->text = reply->text[0] ? strdup(reply->text) : NULL;
		if (c->news_count == BATCH)
			flush(c, NULL); /* not kept: scanned again some day */
	}
	pthread_mutex_unlock(&c->lock);
}
