/* fat_entries.h - the files and folders that the raw entries of a FAT12, FAT16 or FAT32 folder name.
 *
 * 32 bytes at a time, in the order of the folder; a long name lies in the entries before its file's. What drivers show is
 * found, however odd: Linux shows short names of any bytes, and what lies behind the end marker. So is what no driver
 * shows, but that has content: an entry marked as a label, which names clusters. Pure functions.
 * Source: Microsoft's FAT specification ("FAT Directory Structure"); Linux's fs/fat/dir.c.
 */
#ifndef GODWIT_SCAN_FAT_ENTRIES_H
#define GODWIT_SCAN_FAT_ENTRIES_H

#include <stdbool.h>

#include "mgmt-server/scan/fat_names.h"

enum { FAT_ENTRY_LEN = 32 };

/* Of exFAT's files, too (exfat_entries.h). */
struct fat_entry {
	bool folder, deleted;
	bool contiguous;      /* its clusters follow each other; the table does not know them */
	uint32_t cluster;     /* the first; 0: none */
	uint64_t size;        /* bytes; of a folder of FAT: nothing */
	uint64_t valid;       /* bytes that were written; zeros follow up to `size` */
	int64_t mtime, ctime; /* seconds since 1970 in the computer's own time; 0: unknown */
	size_t name_len;      /* 0: it has none that could be shown */
	char name[FAT_NAMES_BYTES_MAX];
};

/* One for each folder, and zero but for what is set by its user. */
struct fat_entries {
	bool wide; /* FAT32: clusters have 28 bits */
	bool wants_deleted;
	uint64_t taken; /* entries so far */
	unsigned
		expected; /* number of the long name's entry that must come next; 0: the file's own */
	unsigned count;   /* entries of the long name; 0: none is being collected */
	uint8_t sum;      /* of the short name that it belongs to */
	bool erased; /* the long name of a deleted file: its entries have no numbers any more */
	uint16_t units[FAT_NAMES_UNITS_MAX];
};

enum {
	FAT_ENTRIES_FOUND = 1, /* a file or folder */
	FAT_ENTRIES_DOTS, /* the folder itself, or the one above it: `cluster` says where they are */
};

/* @out: undefined if 0 is returned. Return 0 (nothing ends here) or one of the above. */
int fat_entries_take(struct fat_entries *e, const uint8_t raw[FAT_ENTRY_LEN],
		     struct fat_entry *out);

/* DOS's date and time, as both store them. 0 for none. */
int64_t fat_entries_time(uint16_t date, uint16_t time);

#endif
