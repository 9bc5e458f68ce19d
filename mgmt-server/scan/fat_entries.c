#include "mgmt-server/scan/fat_entries.h"

#include <string.h>

enum {
	NAME_LEN = 11,
	ATTRIBUTES_AT = 11,
	ATTRIBUTE_VOLUME =
		0x08, /* a label, or together with the three below it a piece of a long name */
	ATTRIBUTE_DIRECTORY = 0x10,
	DELETED = 0xe5,
	UNUSED = 0,
	EXFAT_FILE = 0x85, /* in use; the entries of its set follow */
};

/* The first two entries of every folder but the root. */
static bool is_dots(const uint8_t *entry, uint64_t at)
{
	static const char *const names[] = { ".          ", "..         " };

	return at < 2 && entry[ATTRIBUTES_AT] & ATTRIBUTE_DIRECTORY &&
	       !memcmp(entry, names[at], NAME_LEN);
}

static bool names_file(const uint8_t *entry, uint64_t at)
{
	return entry[0] != UNUSED && entry[0] != DELETED &&
	       !(entry[ATTRIBUTES_AT] & ATTRIBUTE_VOLUME) && !is_dots(entry, at);
}

void fat_entries_take(struct fat_entries *e, const uint8_t *raw, size_t len)
{
	for (size_t i = 0; i + FAT_ENTRY_LEN <= len && !e->ended; i += FAT_ENTRY_LEN, e->at++) {
		if (e->exfat && raw[i] == UNUSED)
			e->ended = true;
		else if (e->exfat ? raw[i] == EXFAT_FILE : names_file(raw + i, e->at))
			e->files++;
	}
}
