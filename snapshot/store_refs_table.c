/* The table of counts: nodes by level, and records that are referenced often. Few in comparison with chunks. */
#include <errno.h>
#include <stdlib.h>

#include "snapshot/store_refs_parts.h"

enum { FIRST_SLOTS = 1024 };
#define FREE UINT64_MAX

static size_t slot_of(const struct store_refs_table *t, uint64_t key)
{
	return (size_t)(key * UINT64_C(0x9e3779b97f4a7c15) >> 20) & (t->slot_count - 1);
}

/* Where @key is, or the free slot where it belongs. */
static size_t find(const struct store_refs_table *t, uint64_t key)
{
	size_t slot = slot_of(t, key);

	while (t->slots[slot].key != FREE && t->slots[slot].key != key)
		slot = (slot + 1) & (t->slot_count - 1);
	return slot;
}

uint32_t store_refs_table_get(const struct store_refs_table *t, uint64_t key)
{
	size_t slot;

	if (!t->slot_count)
		return 0;
	slot = find(t, key);
	return t->slots[slot].key == key ? t->slots[slot].count : 0;
}

static int grow(struct store_refs_table *t)
{
	struct store_refs_table bigger = { .slot_count = t->slot_count ? 2 * t->slot_count
								       : FIRST_SLOTS };

	bigger.slots = malloc(bigger.slot_count * sizeof(*bigger.slots));
	if (!bigger.slots)
		return -ENOMEM;
	for (size_t i = 0; i < bigger.slot_count; i++)
		bigger.slots[i].key = FREE;
	for (size_t i = 0; i < t->slot_count; i++)
		if (t->slots[i].key != FREE)
			bigger.slots[find(&bigger, t->slots[i].key)] = t->slots[i];
	bigger.used = t->used;
	free(t->slots);
	*t = bigger;
	return 0;
}

/* Close the gap at @slot: what stands behind it moves up unless it would come before where it belongs. */
static void take_out(struct store_refs_table *t, size_t slot)
{
	size_t mask = t->slot_count - 1;

	for (size_t next = (slot + 1) & mask; t->slots[next].key != FREE;
	     next = (next + 1) & mask) {
		size_t home = slot_of(t, t->slots[next].key);

		if (((next - home) & mask) < ((next - slot) & mask))
			continue;
		t->slots[slot] = t->slots[next];
		slot = next;
	}
	t->slots[slot].key = FREE;
	t->used--;
}

int store_refs_table_set(struct store_refs_table *t, uint64_t key, uint32_t count)
{
	size_t slot;

	if (t->used * 2 >= t->slot_count && grow(t) < 0)
		return -ENOMEM;
	slot = find(t, key);
	if (!count) {
		if (t->slots[slot].key == key)
			take_out(t, slot);
		return 0;
	}
	t->used += t->slots[slot].key == FREE;
	t->slots[slot] = (struct store_refs_slot){ key, count };
	return 0;
}
