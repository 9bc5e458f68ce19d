#include "tests/lib/memory_chunks.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct item {
	struct chunk_id id;
	size_t len;
	uint8_t *data;
	struct item *next;
};

enum { BUCKETS = 4096 };

struct memory_chunks {
	pthread_mutex_t lock;
	struct item *buckets[BUCKETS];
	size_t count, puts, gets;
};

struct memory_chunks *memory_chunks_new(void)
{
	struct memory_chunks *c = calloc(1, sizeof(*c));

	assert(c);
	pthread_mutex_init(&c->lock, NULL);
	return c;
}

void memory_chunks_free(struct memory_chunks *c)
{
	for (size_t i = 0; i < BUCKETS; i++) {
		while (c->buckets[i]) {
			struct item *item = c->buckets[i];

			c->buckets[i] = item->next;
			free(item->data);
			free(item);
		}
	}
	pthread_mutex_destroy(&c->lock);
	free(c);
}

static struct item **find(struct memory_chunks *c, const struct chunk_id *id)
{
	struct item **p = &c->buckets[(id->bytes[0] << 8 | id->bytes[1]) % BUCKETS];

	while (*p && !chunk_id_equal(&(*p)->id, id))
		p = &(*p)->next;
	return p;
}

static int get(void *ctx, const struct chunk_id *ids, size_t n, chunk_arrived *fn, void *arg,
	       struct err *err)
{
	struct memory_chunks *c = ctx;
	int r = 0;

	for (size_t i = n; r == 0 && i-- > 0;) { /* backwards: "in any order" */
		struct item *item;

		pthread_mutex_lock(&c->lock);
		item = *find(c, &ids[i]);
		c->gets++;
		pthread_mutex_unlock(&c->lock);
		if (!item)
			return err_say(err, ENOENT, "no such chunk");
		r = fn(arg, i, item->data, item->len, err);
	}
	return r;
}

static int query(void *ctx, const struct chunk_id *ids, size_t n, uint8_t *present, struct err *err)
{
	struct memory_chunks *c = ctx;

	(void)err;
	memset(present, 0, (n + 7) / 8);
	pthread_mutex_lock(&c->lock);
	for (size_t i = 0; i < n; i++)
		if (*find(c, &ids[i]))
			present[i / 8] |= (uint8_t)(1u << (i % 8));
	pthread_mutex_unlock(&c->lock);
	return 0;
}

static int put(void *ctx, const struct chunk_encoded *chunks, size_t n, struct err *err)
{
	struct memory_chunks *c = ctx;

	for (size_t i = 0; i < n; i++) {
		uint8_t *raw = malloc(chunks[i].raw_len);
		struct item **p;
		int r;

		assert(raw);
		r = chunk_decode(&chunks[i], raw, err);
		if (r) {
			free(raw);
			return err_say(err, EBADMSG, "a chunk that is not what its id says");
		}
		pthread_mutex_lock(&c->lock);
		c->puts++;
		p = find(c, &chunks[i].id);
		if (*p) {
			free(raw);
		} else {
			*p = calloc(1, sizeof(**p));
			assert(*p);
			**p = (struct item){ chunks[i].id, chunks[i].raw_len, raw, NULL };
			c->count++;
		}
		pthread_mutex_unlock(&c->lock);
	}
	return 0;
}

struct chunk_source memory_chunks_source(struct memory_chunks *c)
{
	return (struct chunk_source){ .ctx = c, .get = get };
}

struct chunk_sink memory_chunks_sink(struct memory_chunks *c)
{
	return (struct chunk_sink){ .ctx = c, .query = query, .put = put };
}

size_t memory_chunks_count(struct memory_chunks *c)
{
	return c->count;
}

size_t memory_chunks_puts(struct memory_chunks *c)
{
	return c->puts;
}

size_t memory_chunks_gets(struct memory_chunks *c)
{
	return c->gets;
}

void memory_chunks_damage(struct memory_chunks *c, const struct chunk_id *id)
{
	struct item *item = *find(c, id);

	assert(item);
	item->len--;
}

void memory_chunks_remove(struct memory_chunks *c, const struct chunk_id *id)
{
	struct item **p = find(c, id), *item = *p;

	assert(item);
	*p = item->next;
	free(item->data);
	free(item);
	c->count--;
}
