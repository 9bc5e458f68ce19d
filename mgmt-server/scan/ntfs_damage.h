/* ntfs_damage.h - records of the master file table that look free but are a file's, damaged. Internal to ntfs_mft.
 *
 * libfsntfs passes over them in silence: records with another signature than FILE, and continuations of a record that has none.
 */
#ifndef GODWIT_SCAN_NTFS_DAMAGE_H
#define GODWIT_SCAN_NTFS_DAMAGE_H

#include "mgmt-server/scan/reader.h"

/* A record that says it goes on with what another one, its base, has no room for. */
struct ntfs_continuation {
	uint64_t record, base;
};

struct ntfs_damage {
	uint64_t count, first; /* records; the first one's number */
	struct ntfs_continuation *continuations;
	size_t continuation_count, capacity;
};

void ntfs_damage_deinit(struct ntfs_damage *damage);
void ntfs_damage_add(struct ntfs_damage *damage, uint64_t record);
/* reference: of the base, as the record has it. Return 0 or -ENOMEM. */
int ntfs_damage_continues(struct ntfs_damage *damage, uint64_t record, uint64_t reference);

/* At the end: what goes on with a record that is no base is damaged, too. */
void ntfs_damage_judge(struct ntfs_damage *damage,
		       bool (*is_base)(const void *arg, uint64_t record), const void *arg);
/* One reason for all of them, if there are any. Return 0 or -errno. */
int ntfs_damage_tell(const struct ntfs_damage *damage, struct reader *reader, struct err *err);

#endif
