/* store_mark.h - which records do snapshots need? A bit for each record of each pack, found by walking trees, nodes only.
 *
 * A node that was seen before is not walked again, so the cost is that of the nodes that differ between snapshots.
 */
#ifndef GODWIT_SNAPSHOT_STORE_MARK_H
#define GODWIT_SNAPSHOT_STORE_MARK_H

#include "snapshot/store_internal.h"

struct store_mark;

int store_mark_new(struct store_mark **out, struct store *store, struct err *err);
void store_mark_free(struct store_mark *mark);
DEFINE_CLEANUP(struct store_mark *, store_mark_free);

/* Mark everything that snapshots need which were not marked before. Return 0; -ENOENT, -EBADMSG for a damaged one; or -errno. */
int store_mark_snapshots(struct store_mark *mark, struct err *err);

bool store_mark_has(const struct store_mark *mark, uint32_t pack, uint32_t record);
uint64_t store_mark_count(const struct store_mark *mark, uint32_t pack); /* marked records */

#endif
