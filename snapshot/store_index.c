#include "snapshot/store_index.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_SLOTS = 1 << 12 };

/* Open addressing by the tag itself, which is as good as random. At most 3/4 full. */
struct store_index {
	pthread_rwlock_t lock;
	struct store_index_entry *slots;
	size_t slot_count, used; /* slot_count: a power of two */
};

enum { PACK_NONE = UINT32_MAX };

static size_t slot_of(const struct store_index *index, const uint8_t *tag)
{
	uint64_t word;

	memcpy(&word, tag, sizeof(word));
	return (size_t)word & (index->slot_count - 1);
}

static struct store_index_entry *slots_new(size_t n)
{
	struct store_index_entry *slots = malloc(n * sizeof(*slots));

	for (size_t i = 0; slots && i < n; i++)
		slots[i].pack = (uint32_t)PACK_NONE;
	return slots;
}

int store_index_new(struct store_index **out, struct err *err)
{
	CLEANUP(store_index_free) struct store_index *index = calloc(1, sizeof(*index));

	if (!index)
		return err_set(err, ENOMEM, "make an index");
	pthread_rwlock_init(&index->lock, NULL);
	index->slot_count = FIRST_SLOTS;
	index->slots = slots_new(index->slot_count);
	if (!index->slots)
		return err_set(err, ENOMEM, "make an index");
	*out = TAKE(index);
	return 0;
}

void store_index_free(struct store_index *index)
{
	if (!index)
		return;
	pthread_rwlock_destroy(&index->lock);
	free(index->slots);
	free(index);
}

static void insert(struct store_index *index, const struct store_index_entry *entry)
{
	size_t slot = slot_of(index, entry->tag);

	while (index->slots[slot].pack != (uint32_t)PACK_NONE)
		slot = (slot + 1) & (index->slot_count - 1);
	index->slots[slot] = *entry;
	index->used++;
}

static bool grow(struct store_index *index, size_t for_more)
{
	struct store_index_entry *old = index->slots;
	size_t old_count = index->slot_count, n = old_count;

	while ((index->used + for_more) * 4 > n * 3)
		n *= 2;
	if (n == old_count)
		return true;
	index->slots = slots_new(n);
	if (!index->slots) {
		index->slots = old;
		return false;
	}
	index->slot_count = n;
	index->used = 0;
	for (size_t i = 0; i < old_count; i++)
		if (old[i].pack != (uint32_t)PACK_NONE)
			insert(index, &old[i]);
	free(old);
	return true;
}

int store_index_add(struct store_index *index, const struct store_index_entry *entries, size_t n,
		    struct err *err)
{
	bool ok;

	pthread_rwlock_wrlock(&index->lock);
	ok = grow(index, n);
	for (size_t i = 0; ok && i < n; i++)
		insert(index, &entries[i]);
	pthread_rwlock_unlock(&index->lock);
	return ok ? 0 : err_set(err, ENOMEM, "grow the index by %zu entries", n);
}

size_t store_index_find(struct store_index *index, const uint8_t tag[STORE_INDEX_TAG_LEN],
			struct store_index_entry *out, size_t max)
{
	size_t n = 0;

	pthread_rwlock_rdlock(&index->lock);
	for (size_t slot = slot_of(index, tag);
	     n < max && index->slots[slot].pack != (uint32_t)PACK_NONE;
	     slot = (slot + 1) & (index->slot_count - 1))
		if (memcmp(index->slots[slot].tag, tag, STORE_INDEX_TAG_LEN) == 0)
			out[n++] = index->slots[slot];
	pthread_rwlock_unlock(&index->lock);
	return n;
}
