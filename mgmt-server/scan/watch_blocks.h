/* watch_blocks.h - how much of a disk changed, and how much of that became random: the cheap look at an incremental.
 *
 * Costs what changed, not what is there. Of more than 2 GiB a part is looked at, evenly spread, and the figures are
 * those of the whole.
 */
#ifndef GODWIT_SCAN_WATCH_BLOCKS_H
#define GODWIT_SCAN_WATCH_BLOCKS_H

#include "snapshot/volume.h"

struct watch_blocks_result { /* bytes; sums over disks; zero-initialise */
	uint64_t changed;
	uint64_t random;        /* now */
	uint64_t became_random; /* and before it was neither random nor zeros */
};

/* @changed: extents of @after. Return 0, -ECANCELED, or -errno. */
int watch_blocks(const struct volume_input *before, const struct volume_input *after,
		 const struct volume_extent *changed, size_t count, const atomic_bool *cancel,
		 struct watch_blocks_result *result, struct err *err);

#endif
