/* Which reparse points leave a file's contents where they are: everything that is not known does not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "common/base.h"
#include "common/le.h"
#include "mgmt-server/scan/ntfs_reparse.h"

enum {
	HERE = NTFS_REPARSE_HERE,
	COMPACT = NTFS_REPARSE_COMPACT,
	CLOUD = NTFS_REPARSE_CLOUD,
	ELSEWHERE = NTFS_REPARSE_ELSEWHERE
};

static const struct {
	const char *what;
	uint32_t words[6]; /* tag, length of the data, the data */
	size_t len;
	int where;
	uint32_t algorithm;
} cases[] = {
	{ "CompactOS: Xpress, 4 KiB", { 0x80000017, 16, 1, 2, 1, 0 }, 24, COMPACT, 0 },
	{ "CompactOS: LZX", { 0x80000017, 16, 1, 2, 1, 1 }, 24, COMPACT, 1 },
	{ "CompactOS: to come", { 0x80000017, 16, 1, 2, 1, 9 }, 24, COMPACT, 9 },
	{ "a file in a WIM image", { 0x80000017, 16, 1, 1, 1, 1 }, 24, ELSEWHERE, 0 },
	{ "another provider", { 0x80000017, 16, 1, 3, 1, 1 }, 24, ELSEWHERE, 0 },
	{ "another version", { 0x80000017, 16, 2, 2, 1, 1 }, 24, ELSEWHERE, 0 },
	{ "another version of the provider", { 0x80000017, 16, 1, 2, 2, 1 }, 24, ELSEWHERE, 0 },
	{ "cut short", { 0x80000017, 16, 1, 2, 1, 1 }, 23, ELSEWHERE, 0 },
	{ "a symbolic link", { 0xa000000c }, 20, HERE, 0 },
	{ "a mount point", { 0xa0000003 }, 20, HERE, 0 },
	{ "a symbolic link of Linux", { 0xa000001d }, 20, HERE, 0 },
	{ "a Unix socket", { 0x80000023 }, 8, HERE, 0 },
	{ "an alias of an app", { 0x8000001b }, 24, HERE, 0 },
	{ "deduplicated", { 0x80000013 }, 24, ELSEWHERE, 0 },
	{ "OneDrive", { 0x9000601a }, 24, CLOUD, 0 },
	{ "another cloud", { 0x9000f01a }, 24, CLOUD, 0 },
	{ "projected", { 0x9000001c }, 24, ELSEWHERE, 0 },
	{ "remote storage", { 0xc0000004 }, 24, ELSEWHERE, 0 },
	{ "somebody else's", { 0x00000042 }, 24, ELSEWHERE, 0 },
	{ "somebody else's link", { 0x20000042 }, 24, HERE, 0 },
	{ "Microsoft's next", { 0x800000ff }, 24, ELSEWHERE, 0 },
	{ "no tag", { 0 }, 24, ELSEWHERE, 0 },
	{ "too short for one", { 0xa000000c }, 7, ELSEWHERE, 0 },
	{ "nothing", { 0 }, 0, ELSEWHERE, 0 },
};

static void test_where(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		uint8_t value[24];
		struct ntfs_reparse r;

		for (size_t w = 0; w < ARRAY_LEN(cases[i].words); w++)
			le_put32(value + 4 * w, cases[i].words[w]);
		r = ntfs_reparse_parse(value, cases[i].len);
		if ((int)r.where != cases[i].where || r.algorithm != cases[i].algorithm || !r.what)
			fail_msg("%s: %d %u", cases[i].what, (int)r.where, r.algorithm);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_where) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
