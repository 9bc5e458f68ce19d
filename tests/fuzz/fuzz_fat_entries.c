/* Raw entries of folders, as FAT's and as exFAT's: what is found keeps what its header says. The first byte of an input says how
 * they are read; entries of 32 bytes follow.
 */
#include <stdlib.h>
#include <string.h>

#include "mgmt-server/scan/exfat_entries.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { WIDE = 1, WANTS_DELETED = 2 };

static void check(const struct fat_entry *e, bool wants_deleted)
{
	if (e->name_len > sizeof(e->name) || memchr(e->name, 0, e->name_len) ||
	    memchr(e->name, '/', e->name_len) || e->valid > e->size ||
	    (e->deleted && !wants_deleted))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	bool deleted = size && data[0] & WANTS_DELETED;
	struct fat_entries fat = { .wide = size && data[0] & WIDE, .wants_deleted = deleted };
	static struct exfat_entries exfat;
	struct fat_entry entry;
	uint64_t taken = 0, found = 0;

	exfat = (struct exfat_entries){ .wants_deleted = deleted };
	for (size_t at = 1; at + FAT_ENTRY_LEN <= size; at += FAT_ENTRY_LEN, taken++) {
		if (fat_entries_take(&fat, data + at, &entry))
			check(&entry, deleted);
		if (exfat_entries_take(&exfat, data + at, &entry)) {
			check(&entry, deleted);
			found++;
		}
	}
	exfat_entries_end(&exfat);
	if (exfat.damaged > taken || found > taken)
		abort();
	return 0;
}
