/* store_refs_parts.h - the inside of the counts, for store_refs.c (counting) and store_refs_state.c (keeping them between runs). */
#ifndef GODWIT_SNAPSHOT_STORE_REFS_PARTS_H
#define GODWIT_SNAPSHOT_STORE_REFS_PARTS_H

#include "snapshot/store_refs.h"

enum {
	STORE_REFS_MANY = 255,      /* in a byte: the table of counts has the number */
	STORE_REFS_LEVEL_BITS = 4,  /* in a key of that table: the node's level; */
	STORE_REFS_LEVEL_MANY = 15, /* or this: all references to a record that has many */
};

/* Counts that are not 0, by keys that are not ~0. Open addressing. */
struct store_refs_table {
	struct store_refs_slot {
		uint64_t key;
		uint32_t count;
	} * slots;
	size_t slot_count, used;
};

struct store_refs_pack {
	uint8_t *counts;     /* one for each record; NULL: none is referenced */
	uint32_t records;    /* 0: its footer was not looked at yet */
	uint32_t others;     /* manifests and notes */
	uint32_t live;       /* records that are referenced */
	uint64_t live_bytes; /* of those */
};

/* Where chunks were found lately, by tag: versions of a node share most of their children. A fixed number of them, whatever the store's size. */
enum { STORE_REFS_CACHE = 1 << 20, STORE_REFS_WAYS = 2 };
struct store_refs_cached {
	uint8_t tag[STORE_INDEX_TAG_LEN];
	uint32_t pack, record;
	uint32_t generation; /* holds while it is that of the counts */
};

/* A snapshot that is counted. */
struct store_refs_done {
	char id[MANIFEST_ID_LEN];
	uint64_t created_wall_ms;
};

struct store_refs {
	struct store *store;
	struct store_refs_pack *packs; /* by pack number */
	size_t pack_count;
	struct store_refs_table table;
	struct store_refs_cached (*cache)
		[STORE_REFS_WAYS]; /* STORE_REFS_CACHE of them; the newest of each is its first */
	uint32_t generation;       /* grows whenever packs may have been condemned since */
	struct store_refs_done *done; /* sorted by id */
	size_t done_count;
	uint8_t *record; /* CHUNK_MAX + PACK_RECORD_EXTRA */
	uint64_t bytes_read, walked;
	bool changed; /* since it was loaded or saved */
};

static inline uint64_t store_refs_key(uint32_t pack, uint32_t record, unsigned level)
{
	return (uint64_t)pack << 32 | (uint64_t)record << STORE_REFS_LEVEL_BITS | level;
}

uint32_t store_refs_table_get(const struct store_refs_table *table, uint64_t key);
/* count 0: take the key out. Return 0 or -ENOMEM. */
int store_refs_table_set(struct store_refs_table *table, uint64_t key, uint32_t count);
/* Room for packs up to @pack. */
int store_refs_grow(struct store_refs *refs, uint32_t pack, struct err *err);

#endif
