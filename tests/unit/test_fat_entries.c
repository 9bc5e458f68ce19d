/* Entries of a FAT or exFAT folder that name a file or a folder are counted, however odd their names are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "common/base.h"
#include "mgmt-server/scan/fat_entries.h"

struct entry {
	const char *name; /* 11 characters; of exFAT the first byte is the type */
	uint8_t attributes;
};

static const struct {
	const char *what;
	bool exfat;
	struct entry entries[5];
	size_t files;
} cases[] = {
	{ "the dots that begin a folder",
	  false,
	  { { ".          ", 0x10 }, { "..         ", 0x10 }, { "FILE    TXT", 0x20 } },
	  1 },
	{ "dots elsewhere are files, and so are dots that are no folders",
	  false,
	  { { ".          ", 0x20 }, { "A          ", 0x10 }, { "..         ", 0x10 } },
	  3 },
	{ "labels, long names and deleted files",
	  false,
	  { { "LABEL      ", 0x08 }, { "\x41L.o.n.g...", 0x0f }, { "\xe5ONE       ", 0x20 } },
	  0 },
	{ "behind the end marker: Linux shows them",
	  false,
	  { { "\0          ", 0 }, { "FILE    TXT", 0x20 } },
	  1 },
	{ "names that FAT forbids",
	  false,
	  { { "A.B        ", 0x20 }, { "\x01         ", 0x20 }, { " LANK      ", 0x20 } },
	  3 },
	{ "exFAT: a file's set, one that is not in use, the end",
	  true,
	  { { "\x85          ", 0 },
	    { "\xc0          ", 0 },
	    { "\x05          ", 0 },
	    { "\0          ", 0 },
	    { "\x85          ", 0 } },
	  1 },
};

static void test_counts(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		uint8_t raw[ARRAY_LEN(cases[0].entries)][FAT_ENTRY_LEN] = { 0 };
		struct fat_entries whole = { .exfat = cases[i].exfat }, pieces = whole;

		for (size_t k = 0; k < ARRAY_LEN(raw) && cases[i].entries[k].name; k++) {
			memcpy(raw[k], cases[i].entries[k].name, 11);
			raw[k][11] = cases[i].entries[k].attributes;
		}
		fat_entries_take(&whole, raw[0], sizeof(raw));
		for (size_t k = 0; k < ARRAY_LEN(raw); k++)
			fat_entries_take(&pieces, raw[k], FAT_ENTRY_LEN);
		fat_entries_take(&pieces, (const uint8_t *)"FILE", 4);
		if (whole.files != cases[i].files || pieces.files != cases[i].files)
			fail_msg("%s: %zu files, in pieces %zu", cases[i].what, whole.files,
				 pieces.files);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_counts) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
