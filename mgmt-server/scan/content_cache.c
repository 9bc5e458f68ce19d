#include "mgmt-server/scan/content_cache.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct slot {
	uint64_t size; /* 0: empty; contents have at least one byte */
	uint8_t sha256[CONTENT_CACHE_SHA256_LEN];
	char *signature; /* NULL: clean */
};

struct content_cache {
	pthread_mutex_t lock;
	struct slot *slots; /* open addressing, at most half full, a power of two */
	size_t slot_count, used;
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

void content_cache_free(struct content_cache *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < c->slot_count; i++)
		free(c->slots[i].signature);
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

bool content_cache_find(struct content_cache *c, const uint8_t *sha256, uint64_t size,
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

void content_cache_add(struct content_cache *c, const uint8_t *sha256, uint64_t size,
		       const struct engine_reply *reply)
{
	struct slot *s;

	if (reply->verdict == ENGINE_UNFINISHED)
		return;
	pthread_mutex_lock(&c->lock);
	s = slot_of(c, sha256, size);
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
	pthread_mutex_unlock(&c->lock);
}
