/* fat_names.h - what the files of FAT and exFAT are called.
 *
 * As Linux's driver shows it with its default code page, so that a path in a report is one that can be looked up. A slash, which
 * no path can have within a name, becomes the bytes c0 af, which no name in UTF-8 has: two files never get one path.
 * Source: Microsoft's FAT specification ("Directory Structure"); Linux's fs/fat/dir.c; code page 437.
 */
#ifndef GODWIT_SCAN_FAT_NAMES_H
#define GODWIT_SCAN_FAT_NAMES_H

#include <stddef.h>
#include <stdint.h>

#include "mgmt-server/scan/utf16.h"

enum {
	FAT_NAMES_SHORT_LEN = 11,  /* eight characters and three, padded with blanks */
	FAT_NAMES_UNITS_MAX = 260, /* of a long name: twenty entries' */
	FAT_NAMES_BYTES_MAX = FAT_NAMES_UNITS_MAX * UTF16_BYTES_MAX,
	FAT_NAMES_LOWER_BASE = 0x08, /* Windows NT's bits: shown in lower case */
	FAT_NAMES_LOWER_EXTENSION = 0x10,
};

/* Both: out char[FAT_NAMES_BYTES_MAX], not terminated. Return its length; 0: nothing but blanks, or nothing. */
size_t fat_names_short(const uint8_t raw[FAT_NAMES_SHORT_LEN], uint8_t case_bits, char *out);
/* Up to the first unit that is zero. */
size_t fat_names_long(const uint16_t *units, size_t count, char *out);

#endif
