/* store_index.h - where is the chunk with this tag? An answer is a hint: the caller compares the whole id with the pack's footer.
 *
 * New entries are in a table in memory; when that is full it becomes a run, and runs of similar size are merged. Entries
 * are derived from pack footers and can always be made again. A tag is a keyed hash of domain and id, so the index on
 * disk tells nothing to whoever lacks the key. Memory: 1.4 bytes for each entry in runs, and the table. Thread-safe.
 * Source: snapshot/FORMAT.md, "Index".
 */
#ifndef GODWIT_SNAPSHOT_STORE_INDEX_H
#define GODWIT_SNAPSHOT_STORE_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base.h"
#include "common/err.h"

enum {
	STORE_INDEX_TAG_LEN = 16,
	STORE_INDEX_CANDIDATES = 16,
	STORE_INDEX_TABLE_MAX = 1 << 18, /* entries in memory before they become a run */
	STORE_INDEX_RUNS_MAX = 64,
};

struct store_index_entry {
	uint8_t tag[STORE_INDEX_TAG_LEN];
	uint32_t pack, record; /* pack: its number in the store's table */
};

struct store_index;

/* folder: where runs are. */
int store_index_new(struct store_index **out, const char *folder, struct err *err);
void store_index_free(struct store_index *index);
DEFINE_CLEANUP(struct store_index *, store_index_free);

int store_index_add(struct store_index *index, const struct store_index_entry *entries, size_t n,
		    struct err *err);

/* Entries with that tag, at most @max: *n. Return 0, -EBADMSG when a run is damaged, or -errno. */
int store_index_find(struct store_index *index, const uint8_t tag[STORE_INDEX_TAG_LEN],
		     struct store_index_entry *out, size_t max, size_t *n, struct err *err);

size_t store_index_table_count(struct store_index *index);
uint64_t store_index_bytes(struct store_index *index);

/* Open a run of that number and use it. */
int store_index_add_run(struct store_index *index, uint64_t number, struct err *err);
/* Forget everything, table and runs (their files stay). */
void store_index_clear(struct store_index *index);

/* Make a run of the table; lookups go on meanwhile, adding does not. */
int store_index_flush(struct store_index *index, struct err *err);

/**
 * store_index_merge(index, keep, arg, err):
 * Merge runs until their sizes differ enough; lookups and adding go on. One caller at a time, and not during a flush.
 *
 * keep  is a pack still worth naming? Entries of others are dropped. NULL: all are
 */
typedef bool store_index_keep(void *arg, uint32_t pack);
int store_index_merge(struct store_index *index, store_index_keep *keep, void *arg,
		      struct err *err);

/* The numbers of the runs in use: uint64_t[STORE_INDEX_RUNS_MAX]; return how many. */
size_t store_index_runs(struct store_index *index, uint64_t *numbers);
/* Unlink runs in the folder that are not in use, and temporary files. */
void store_index_tidy(struct store_index *index);

#endif
