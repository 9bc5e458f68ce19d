/* The raw entries of an exFAT folder: each rule is a row. What is found is written as NAME@CLUSTER+VALID/SIZE, then the
 * number of damaged entries. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "common/base.h"
#include "mgmt-server/scan/exfat_entries.h"

enum {
	ENTRIES_MAX = 64,
	DIR = 0x10,
	ALLOC = 1,
	CONTIGUOUS = 3,
	GONE = 1,   /* the set is deleted */
	WANTED = 2, /* deleted files are asked for */
	BAD_SUM = 4,
	CUT = 8,    /* the last entry of the set is missing */
	TWICE = 16, /* the whole again */
};

static const struct {
	const char *what;
	const char *name;
	unsigned how, attributes, flags, name_len;
	uint32_t cluster;
	uint64_t valid, size;
	uint8_t before, behind; /* types of single entries before and behind the set */
	uint8_t stream;         /* the stream's type, if it is another */
	const char *found;
} cases[] = {
	{ "a file", "One.txt", 0, 0x20, ALLOC, 7, 9, 5, 5, 0, 0, 0, "One.txt@9+5/5 0" },
	{ "two", "One.txt", TWICE, 0x20, ALLOC, 7, 9, 5, 5, 0, 0, 0,
	  "One.txt@9+5/5 One.txt@9+5/5 0" },
	{ "a folder", "Sub", 0, DIR, ALLOC, 3, 9, 512, 512, 0, 0, 0, "folder:Sub@9+512/512 0" },
	{ "contiguous", "One", 0, 0x20, CONTIGUOUS, 3, 9, 5, 5, 0, 0, 0, "contiguous:One@9+5/5 0" },
	{ "flags that nobody knows", "One", 0, 0x20, CONTIGUOUS | 4, 3, 9, 5, 5, 0, 0, 0,
	  "contiguous:One@9+5/5 1" },
	{ "not written to its end", "One", 0, 0x20, ALLOC, 3, 9, 5, 50, 0, 0, 0, "One@9+5/50 0" },
	{ "written beyond its end", "One", 0, 0x20, ALLOC, 3, 9, 50, 5, 0, 0, 0, "One@9+5/5 1" },
	{ "without clusters", "One", 0, 0x20, 0, 3, 9, 0, 0, 0, 0, 0, "One@0+0/0 0" },
	{ "a name of two pieces", "Sixteen letters.", 0, 0x20, ALLOC, 16, 9, 5, 5, 0, 0, 0,
	  "Sixteen letters.@9+5/5 0" },
	{ "shorter than its pieces", "Sixteen letters.", 0, 0x20, ALLOC, 7, 9, 5, 5, 0, 0, 0,
	  "Sixteen@9+5/5 0" },
	{ "longer than its pieces", "One", 0, 0x20, ALLOC, 16, 9, 5, 5, 0, 0, 0, "One@9+5/5 1" },
	{ "without a name", "One", 0, 0x20, ALLOC, 0, 9, 5, 5, 0, 0, 0, "@9+5/5 1" },
	{ "a slash in it", "a/b", 0, 0x20, ALLOC, 3, 9, 5, 5, 0, 0, 0,
	  "a\xc0\xaf"
	  "b@9+5/5 0" },
	{ "a wrong checksum", "One", BAD_SUM, 0x20, ALLOC, 3, 9, 5, 5, 0, 0, 0, "One@9+5/5 1" },
	{ "an entry is missing, and then no more", "One", CUT, 0x20, ALLOC, 3, 9, 5, 5, 0, 0, 0,
	  "1" },
	{ "an entry is missing before a free one", "One", CUT, 0x20, ALLOC, 3, 9, 5, 5, 0, 0x41, 0,
	  "1" },
	{ "an entry is missing before another file", "One", CUT | TWICE, 0x20, ALLOC, 3, 9, 5, 5, 0,
	  0, 0, "2" },
	{ "no stream", "One", 0, 0x20, ALLOC, 3, 9, 5, 5, 0, 0, 0xc2, "1" },
	{ "what the root has", "One", 0, 0x20, ALLOC, 3, 9, 5, 5, 0x81, 0x82, 0, "One@9+5/5 0" },
	{ "a label, and something benign", "One", 0, 0x20, ALLOC, 3, 9, 5, 5, 0x83, 0xa0, 0,
	  "One@9+5/5 0" },
	{ "something critical that is not known", "One", 0, 0x20, ALLOC, 3, 9, 5, 5, 0x84, 0x8f, 0,
	  "One@9+5/5 2" },
	{ "stray pieces in use", "One", 0, 0x20, ALLOC, 3, 9, 5, 5, 0xc1, 0xc0, 0, "One@9+5/5 2" },
	{ "stray pieces that are free", "One", 0, 0x20, ALLOC, 3, 9, 5, 5, 0x41, 0x40, 0,
	  "One@9+5/5 0" },
	{ "behind the end marker", "One", 0, 0x20, ALLOC, 3, 9, 5, 5, 0x01, 0, 0, "One@9+5/5 0" },
	{ "deleted, not asked for", "One", GONE, 0x20, ALLOC, 3, 9, 5, 5, 0, 0, 0, "0" },
	{ "deleted", "One", GONE | WANTED, 0x20, CONTIGUOUS, 3, 9, 5, 5, 0, 0, 0,
	  "gone:contiguous:One@9+5/5 0" },
	{ "deleted, with a wrong checksum", "One", GONE | WANTED | BAD_SUM, 0x20, ALLOC, 3, 9, 5, 5,
	  0, 0, 0, "0" },
	{ "deleted, an entry is missing", "One", GONE | WANTED | CUT, 0x20, ALLOC, 3, 9, 5, 5, 0, 0,
	  0, "0" },
};

static void put(uint8_t *to, uint64_t number, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		to[i] = (uint8_t)(number >> 8 * i);
}

/* The set's sum, as the specification writes it down, over entries in use. */
static uint16_t sum_of(const uint8_t *set, size_t len)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < len; i++) {
		if (i != 2 && i != 3)
			sum = ((sum & 1 ? 0x8000 : 0) + (sum >> 1) + set[i]) & 0xffff;
	}
	return (uint16_t)sum;
}

static size_t put_set(uint8_t (*to)[FAT_ENTRY_LEN], size_t number)
{
	size_t letters = strlen(cases[number].name), pieces = (letters + 14) / 15;
	unsigned how = cases[number].how;

	to[0][0] = 0x85;
	to[0][1] = (uint8_t)(1 + pieces);
	put(to[0] + 4, cases[number].attributes, 2);
	to[1][0] = cases[number].stream ? cases[number].stream : 0xc0;
	to[1][1] = (uint8_t)cases[number].flags;
	to[1][3] = (uint8_t)cases[number].name_len;
	put(to[1] + 8, cases[number].valid, 8);
	put(to[1] + 20, cases[number].cluster, 4);
	put(to[1] + 24, cases[number].size, 8);
	for (size_t i = 0; i < letters; i++) {
		to[2 + i / 15][0] = 0xc1;
		to[2 + i / 15][2 + 2 * (i % 15)] = (uint8_t)cases[number].name[i];
	}
	put(to[0] + 2, sum_of(to[0], (2 + pieces) * FAT_ENTRY_LEN) + (how & BAD_SUM ? 1U : 0), 2);
	for (size_t i = 0; how & GONE && i < 2 + pieces; i++)
		to[i][0] &= 0x7f;
	return 2 + pieces - (how & CUT ? 1 : 0);
}

static void add_found(char *all, size_t cap, const struct fat_entry *e)
{
	size_t len = strlen(all);

	snprintf(all + len, cap - len, "%s%s%s%.*s@%u+%llu/%llu ", e->deleted ? "gone:" : "",
		 e->folder ? "folder:" : "", e->contiguous ? "contiguous:" : "", (int)e->name_len,
		 e->name, e->cluster, (unsigned long long)e->valid, (unsigned long long)e->size);
}

static void test_exfat_entries_rules(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		uint8_t raw[ENTRIES_MAX][FAT_ENTRY_LEN] = { 0 };
		struct exfat_entries e = { .wants_deleted = cases[i].how & WANTED };
		struct fat_entry entry;
		char all[512] = "";
		size_t n = 0, len;

		raw[n++][0] = cases[i].before;
		n += put_set(raw + n, i);
		if (cases[i].how & TWICE)
			n += put_set(raw + n, i);
		if (cases[i].behind)
			raw[n++][0] = cases[i].behind;
		for (size_t k = 0; k < n; k++) {
			if (exfat_entries_take(&e, raw[k], &entry) == FAT_ENTRIES_FOUND)
				add_found(all, sizeof(all), &entry);
		}
		exfat_entries_end(&e);
		len = strlen(all);
		snprintf(all + len, sizeof(all) - len, "%llu", (unsigned long long)e.damaged);
		if (strcmp(all, cases[i].found) != 0)
			fail_msg("%s: found %s", cases[i].what, all);
	}
}

/* 255 letters lie in seventeen pieces; entries of somebody else may follow them, up to 255 in the set. */
static void test_exfat_entries_longest(void **state)
{
	static uint8_t raw[EXFAT_SET_MAX][FAT_ENTRY_LEN];
	struct exfat_entries e = { 0 };
	struct fat_entry entry;
	int found = 0;

	(void)state;
	raw[0][0] = 0x85;
	raw[0][1] = EXFAT_SET_MAX - 1;
	raw[1][0] = 0xc0;
	raw[1][3] = 255;
	for (size_t i = 2; i < EXFAT_SET_MAX; i++) {
		raw[i][0] = i < 2 + 17 ? 0xc1 : 0xe0;
		memset(raw[i] + 2, 'a', 30);
	}
	put(raw[0] + 2, sum_of(raw[0], sizeof(raw)), 2);
	for (size_t i = 0; i < EXFAT_SET_MAX; i++) {
		assert_int_equal(found, 0);
		found = exfat_entries_take(&e, raw[i], &entry);
	}
	assert_int_equal(found, FAT_ENTRIES_FOUND);
	assert_int_equal(entry.name_len, 3 * 255);
	assert_int_equal(e.damaged, 0);
}

static const struct {
	uint8_t zone;
	int64_t seconds;
} zones[] = {
	{ 0, 315532800 },    /* unknown: taken as it is */
	{ 0x04, 315532800 }, /* not valid */
	{ 0x80, 315532800 },
	{ 0x84, 315532800 - 3600 },    /* an hour east */
	{ 0xff, 315532800 + 15 * 60 }, /* a quarter of an hour west */
	{ 0xc0, 315532800 + 16 * 3600 },
};

static void test_exfat_entries_zones(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(zones); i++) {
		uint8_t raw[3][FAT_ENTRY_LEN] = { { 0x85, 2 },
						  { 0xc0, 0, 0, 1 },
						  { 0xc1, 0, 'a' } };
		struct exfat_entries e = { 0 };
		struct fat_entry entry;

		put(raw[0] + 12, (1U << 5 | 1) << 16, 4);
		raw[0][23] = zones[i].zone;
		for (size_t k = 0; k < 3; k++)
			exfat_entries_take(&e, raw[k], &entry);
		assert_int_equal(entry.mtime, zones[i].seconds);
		assert_int_equal(entry.ctime, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_exfat_entries_rules),
					    cmocka_unit_test(test_exfat_entries_longest),
					    cmocka_unit_test(test_exfat_entries_zones) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
