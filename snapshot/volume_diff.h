/* volume_diff.h - where two volumes differ, found by comparing their trees.
 *
 * Where both have the same id at the same place, all below is the same. Source: snapshot/FORMAT.md, "Volumes".
 */
#ifndef GODWIT_SNAPSHOT_VOLUME_DIFF_H
#define GODWIT_SNAPSHOT_VOLUME_DIFF_H

#include "snapshot/volume.h"

/* Extents of @volume, ascending, not touching each other. Zero-initialise before use. */
struct volume_diff {
	struct volume_extent *extents; /* heap */
	size_t count, capacity;
};

void volume_diff_deinit(struct volume_diff *diff);

/**
 * volume_diff(volume, base, source, base_source, diff, err):
 * Everything of @volume that may differ from @base, at grid precision. A base of another grid or height: all of it.
 * Cost O(different).
 *
 * Return 0 or -errno (a node that cannot be read).
 */
int volume_diff(const struct volume *volume, const struct volume *base, struct chunk_source source,
		struct chunk_source base_source, struct volume_diff *diff, struct err *err);

/* Does any byte of [offset, offset + len) lie in it? */
bool volume_diff_meets(const struct volume_extent *extents, size_t count, uint64_t offset,
		       uint64_t len);

#endif
