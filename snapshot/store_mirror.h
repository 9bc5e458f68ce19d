/* store_mirror.h - a second store with the same packs: in another building, on another disk.
 *
 * Packs are immutable and have random names, so a mirror is the set of packs that are not there yet. They are staged in
 * DEST/incoming, checked there, and take their place all at one instant, in which those that the source's GC deleted cease to
 * count (store_staged.h): what a mirror lists it can restore. A mirror is a store: the same key opens it. It deletes only what the
 * source says its GC deleted and what it holds twice since a repair (store_mirror_stray.h), and nothing that is inside the mirror's own
 * no-delete window, so a source that lost its packs takes nothing along.
 */
#ifndef GODWIT_SNAPSHOT_STORE_MIRROR_H
#define GODWIT_SNAPSHOT_STORE_MIRROR_H

#include "snapshot/store.h"

struct store_mirror {
	const char *dest; /* a folder that is absent, empty or a mirror of this store */
	uint64_t
		no_delete_ms; /* of a mirror that is made now; 0, or as it is, of one that there is */
	uint64_t bytes_per_second;        /* 0: as fast as it goes */
	struct volume_progress *progress; /* may be NULL */
};
struct store_mirror_result {
	uint64_t packs_copied, bytes_copied, packs_deleted;
	uint64_t packs_damaged; /* in the source: not copied */
};
/* Return 0; -EBUSY when another process writes to the mirror; -EINVAL for a folder that is something else; -ECANCELED; -errno. May be repeated at any time. */
int store_mirror(struct store *store, const struct store_mirror *order,
		 struct store_mirror_result *result, struct err *err);

struct store_mirror_repair {
	struct store *store;
	const char *mirror;               /* its folder */
	struct volume_progress *progress; /* its rate holds for all that is read; may be NULL */
	/* Called with a line for each pack; may be NULL. */
	void (*repaired)(void *arg, const char *text);
	void *arg;
};
/**
 * store_mirror_repair(order, err):
 * Replace packs of the store that cannot be read, or are missing, by the mirror's. Every record of a pack is checked down to
 * its hash, in the store to find damage and in the mirror before it is used.
 *
 * Return 0; -ECANCELED: what was replaced until then is; or -errno.
 */
int store_mirror_repair(const struct store_mirror_repair *order, struct err *err);

#endif
