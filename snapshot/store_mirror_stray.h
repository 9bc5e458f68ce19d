/* store_mirror_stray.h - packs of a mirror that its store does not know, and which of them hold nothing of their own.
 *
 * They come about by repairs: one inside the mirror writes packs under names of its own, one in the store leaves the mirror with
 * the packs that it replaced. The store's GC will never name them, and a manifest in one would bring back a snapshot whose note the
 * store has dropped. So a mirror run lets go of those of which every record is also in a pack that store and mirror both
 * have: that needs no trust in anybody's word. What the store has nowhere stays: the store may have lost it.
 */
#ifndef GODWIT_SNAPSHOT_STORE_MIRROR_STRAY_H
#define GODWIT_SNAPSHOT_STORE_MIRROR_STRAY_H

#include "snapshot/store_internal.h"

struct store_mirror_stray {
	struct store *store;
	const char *packs, *incoming; /* the mirror's folders */
	uint64_t no_delete_ms;        /* the mirror's */
};

/* Is a pack of the mirror older than its no-delete window? */
bool store_mirror_stray_old_enough(const char *path, uint64_t no_delete_ms);

/**
 * store_mirror_stray_find(order, names, count, err):
 * Which may go. What cannot be told, for whatever reason, may not.
 *
 * names  out, heap
 *
 * Return 0 or -errno.
 */
int store_mirror_stray_find(const struct store_mirror_stray *order, struct pack_name **names,
			    size_t *count, struct err *err);

#endif
