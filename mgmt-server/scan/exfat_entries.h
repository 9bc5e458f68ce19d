/* exfat_entries.h - the files and folders that the raw entries of an exFAT folder name.
 *
 * 32 bytes at a time, in the order of the folder. A file is a set of entries with a checksum: the file, its stream, its
 * name in pieces. A set that is not whole or whose checksum is wrong is counted as damaged; so is an entry in use that belongs to
 * none. What can be made of it is still found. The end marker ends nothing here: behind it there are no entries in use, or
 * something is wrong. Pure functions. Source: Microsoft's exFAT specification (sections 6 and 7).
 */
#ifndef GODWIT_SCAN_EXFAT_ENTRIES_H
#define GODWIT_SCAN_EXFAT_ENTRIES_H

#include "mgmt-server/scan/fat_entries.h"

enum { EXFAT_SET_MAX = 1 + 255 };

/* One for each folder, and zero but for what is set by its user. */
struct exfat_entries {
	bool wants_deleted;
	uint64_t damaged;    /* files, or entries that belong to none */
	unsigned have, want; /* entries of the set that is being collected; want 0: none is */
	bool deleted;
	uint8_t set[EXFAT_SET_MAX * FAT_ENTRY_LEN];
};

/* @out: undefined if 0 is returned. Return 0 (nothing ends here) or FAT_ENTRIES_FOUND. */
int exfat_entries_take(struct exfat_entries *e, const uint8_t raw[FAT_ENTRY_LEN],
		       struct fat_entry *out);

/* The folder ends here: a set that goes on is damaged. */
void exfat_entries_end(struct exfat_entries *e);

#endif
