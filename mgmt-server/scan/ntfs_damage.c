#include "mgmt-server/scan/ntfs_damage.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { CAPACITY_FIRST = 64, RECORD_BITS = 48 }; /* of a file reference: the rest counts reuses */

void ntfs_damage_deinit(struct ntfs_damage *d)
{
	free(d->continuations);
	*d = (struct ntfs_damage){ 0 };
}

void ntfs_damage_add(struct ntfs_damage *d, uint64_t record)
{
	if (!d->count++)
		d->first = record;
}

int ntfs_damage_continues(struct ntfs_damage *d, uint64_t record, uint64_t reference)
{
	if (d->continuation_count == d->capacity) {
		size_t capacity = d->capacity ? 2 * d->capacity : CAPACITY_FIRST;
		void *more = reallocarray(d->continuations, capacity, sizeof(*d->continuations));

		if (!more)
			return -ENOMEM;
		d->continuations = more;
		d->capacity = capacity;
	}
	d->continuations[d->continuation_count++] =
		(struct ntfs_continuation){ record, reference & ((1ULL << RECORD_BITS) - 1) };
	return 0;
}

void ntfs_damage_judge(struct ntfs_damage *d, bool (*is_base)(const void *arg, uint64_t record),
		       const void *arg)
{
	for (size_t i = 0; i < d->continuation_count; i++) {
		if (!is_base(arg, d->continuations[i].base))
			ntfs_damage_add(d, d->continuations[i].record);
	}
}

int ntfs_damage_tell(const struct ntfs_damage *d, struct reader *reader, struct err *err)
{
	char reason[128];

	if (!d->count)
		return 0;
	snprintf(reason, sizeof(reason),
		 "damaged records of files: %llu, of which %llu is the first",
		 (unsigned long long)d->count, (unsigned long long)d->first);
	return reader_incomplete(reader, reason, err);
}
