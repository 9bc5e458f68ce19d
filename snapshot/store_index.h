/* store_index.h - where is the chunk with this tag? An answer is a hint: the caller compares the whole id with the pack's footer.
 *
 * Entries are derived from pack footers and can always be made again. A tag is a keyed hash of domain and id, so the index
 * on disk tells nothing to whoever lacks the key. Thread-safe. Source: snapshot/FORMAT.md, "Index".
 */
#ifndef GODWIT_SNAPSHOT_STORE_INDEX_H
#define GODWIT_SNAPSHOT_STORE_INDEX_H

#include <stddef.h>
#include <stdint.h>

#include "common/base.h"
#include "common/err.h"

enum { STORE_INDEX_TAG_LEN = 16, STORE_INDEX_CANDIDATES = 16 };

struct store_index_entry {
	uint8_t tag[STORE_INDEX_TAG_LEN];
	uint32_t pack, record; /* pack: its number in the store's table */
};

struct store_index;

int store_index_new(struct store_index **out, struct err *err);
void store_index_free(struct store_index *index);
DEFINE_CLEANUP(struct store_index *, store_index_free);

int store_index_add(struct store_index *index, const struct store_index_entry *entries, size_t n,
		    struct err *err);

/* Entries with that tag, newest first, at most @max; return how many. */
size_t store_index_find(struct store_index *index, const uint8_t tag[STORE_INDEX_TAG_LEN],
			struct store_index_entry *out, size_t max);

#endif
