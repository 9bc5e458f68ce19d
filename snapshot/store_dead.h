/* store_dead.h - manifests that lie in packs although their snapshots are not listed (there).
 *
 * A manifest can outlive its snapshot: in a pack that has enough else alive, or as a second copy that an interrupted rewrite left
 * behind. As long as it does, the note that forgets it must stay: an index that is made anew finds both or neither.
 */
#ifndef GODWIT_SNAPSHOT_STORE_DEAD_H
#define GODWIT_SNAPSHOT_STORE_DEAD_H

#include "snapshot/store_internal.h"

struct store_dead {
	char (*ids)[MANIFEST_ID_LEN]; /* of their snapshots, sorted */
	size_t count, capacity;
};

/**
 * store_dead_find(dead, store, listed, n, err):
 * Find them all; opens only packs that have more manifests than are listed.
 *
 * dead    empty; store_dead_deinit is the caller's, also after a failure
 * listed  uint64_t[n], pack << 32 | record of the manifests of listed snapshots, sorted
 */
int store_dead_find(struct store_dead *dead, struct store *store, const uint64_t *listed, size_t n,
		    struct err *err);
bool store_dead_has(const struct store_dead *dead, const char *id);
void store_dead_deinit(struct store_dead *dead);

#endif
