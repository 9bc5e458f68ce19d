/* fat_entries.h - how many files and folders the raw entries of a FAT or exFAT folder name.
 *
 * libtsk passes over entries that it takes for damaged, such as a short name with a character that FAT forbids, without
 * a word. Drivers do not, so a file could hide there: what libtsk lists is counted against this. Pure functions.
 * Source: Microsoft's FAT specification ("FAT Directory Structure") and exFAT specification (section 6); Linux's
 * fs/fat/dir.c, which also shows what lies behind the end marker.
 */
#ifndef GODWIT_SCAN_FAT_ENTRIES_H
#define GODWIT_SCAN_FAT_ENTRIES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { FAT_ENTRY_LEN = 32 };

struct fat_entries {
	bool exfat;
	bool ended;   /* exFAT: the end marker was seen; nothing counts after it */
	uint64_t at;  /* entries taken so far */
	size_t files; /* files and folders in use, without "." and ".." */
};

/* Take the next @len bytes of the folder, in order; a piece of an entry at the end is no entry. Zero-initialise before use. */
void fat_entries_take(struct fat_entries *e, const uint8_t *raw, size_t len);

#endif
