/* store_repair.h - making a damaged store whole, chunk by chunk, from whatever else holds the chunks.
 *
 * Damaged records that snapshots need are looked for by their ids: in packs of this store whose footer is lost (their records can still
 * be found), in other stores (a mirror, or any store with the same content in other packs), and in images (raw files or devices: the
 * bytes at the same place of the disk). What is found goes into new packs, together with all that is sound in the packs that
 * are damaged; only when those are durable do the damaged ones go to STORE/damaged. So a record that cannot be repaired is
 * missing from then on, instead of being there and wrong: the next backup that has it stores it again.
 */
#ifndef GODWIT_SNAPSHOT_STORE_REPAIR_H
#define GODWIT_SNAPSHOT_STORE_REPAIR_H

#include "snapshot/store.h"

struct store_repair {
	struct store *const
		*stores; /* open for reading; mirrors among them serve whole packs first */
	const char *const *store_paths;
	size_t store_count;
	const char *const *images;
	size_t image_count;
	struct volume_progress *
		progress; /* of reading packs, the store's own and a mirror's; its rate holds; may be NULL */
	/* A line for what was repaired, and one for each thing that is lost: desktop, snapshot, volume, bytes. */
	void (*repaired)(void *arg, const char *text);
	void (*lost)(void *arg, const char *text);
	void *arg;
};
struct store_repair_result {
	uint64_t bad_records;     /* that were found in packs that can be opened */
	uint64_t bad_packs;       /* that cannot be opened, or are missing */
	uint64_t repaired_chunks; /* found elsewhere */
	uint64_t lost_chunks;     /* needed by snapshots and found nowhere */
	uint64_t packs_replaced;
};
/* Return 0 (also when something is lost); -ECANCELED; or -errno. May be killed and repeated at any time. */
int store_repair(struct store *store, const struct store_repair *order,
		 struct store_repair_result *result, struct err *err);

#endif
