/* The raw entries of a FAT folder: each rule is a row. What is found is written as NAME@CLUSTER+SIZE, with a slash for a
 * folder, "gone:" for a deleted file, "dots:" for the two that begin a folder. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "common/base.h"
#include "mgmt-server/scan/fat_entries.h"

enum {
	RAW_MAX = 8,
	SUM = 0xf4,   /* of LONGNA~1TXT */
	FIRST = 0x40, /* the piece that comes first, and has the end of the name */
	DIR = 0x10,
	VOL = 0x08,
	WIDE = 1,
	GONE = 2, /* deleted files are wanted */
};

/* A short name of eleven bytes with its attributes, or, with `piece`, up to thirteen letters of a long name. */
struct raw {
	const char *name;
	uint8_t attributes, case_bits;
	uint32_t cluster, size;
	const char *piece;
	uint8_t number, sum;
};

#define LONG(n, text)                                                                              \
	{                                                                                          \
		.piece = (text), .number = (n), .sum = SUM                                         \
	}
#define OTHER_SUM(n, text)                                                                         \
	{                                                                                          \
		.piece = (text), .number = (n), .sum = SUM + 1                                     \
	}
#define SHORT                                                                                      \
	{                                                                                          \
		"LONGNA~1TXT", 0x20, 0, 5, 9, NULL, 0, 0                                           \
	}

static const struct {
	const char *what;
	unsigned how;
	struct raw raw[RAW_MAX];
	const char *found;
} cases[] = {
	/* short names */
	{ "a file and a folder",
	  0,
	  { { "FILE    TXT", 0x20, 0, 7, 100, 0, 0, 0 },
	    { "SUB        ", DIR, 0, 8, 77, 0, 0, 0 } },
	  "FILE.TXT@7+100 SUB@8+0/" },
	{ "lower case", 0, { { "FILE    TXT", 0x20, 0x18, 7, 1, 0, 0, 0 } }, "file.txt@7+1" },
	{ "what FAT forbids",
	  0,
	  { { "A.B        ", 0x20, 0, 3, 1, 0, 0, 0 },
	    { "\x01         ", 0x20, 0, 4, 1, 0, 0, 0 },
	    { " LANK      ", 0x20, 0, 5, 1, 0, 0, 0 } },
	  "A.B@3+1 \x01@4+1  LANK@5+1" },
	{ "blanks only: no name", 0, { { "           ", 0x20, 0, 3, 1, 0, 0, 0 } }, "@3+1" },
	{ "e5 as 05", 0, { { "\x05          ", 0x20, 0, 3, 1, 0, 0, 0 } }, "\xcf\x83@3+1" },
	{ "clusters of 16 bits",
	  0,
	  { { "FILE       ", 0x20, 0, 0x20007, 1, 0, 0, 0 } },
	  "FILE@7+1" },
	{ "clusters of 28 bits",
	  WIDE,
	  { { "FILE       ", 0x20, 0, 0xf0020007, 1, 0, 0, 0 } },
	  "FILE@131079+1" },
	{ "reserved attributes", 0, { { "FILE       ", 0xc0, 0, 7, 1, 0, 0, 0 } }, "FILE@7+1" },
	/* dots */
	{ "the dots that begin a folder",
	  0,
	  { { ".          ", DIR, 0, 9, 0, 0, 0, 0 },
	    { "..         ", DIR, 0, 0, 0, 0, 0, 0 },
	    { "FILE       ", 0x20, 0, 7, 1, 0, 0, 0 } },
	  "dots:.@9+0/ dots:..@0+0/ FILE@7+1" },
	{ "dots that are no folders, or elsewhere",
	  0,
	  { { ".          ", 0x20, 0, 9, 1, 0, 0, 0 },
	    { "A          ", DIR, 0, 8, 0, 0, 0, 0 },
	    { "..         ", DIR, 0, 4, 0, 0, 0, 0 } },
	  ".@9+1 A@8+0/ ..@4+0/" },
	/* labels, ends */
	{ "labels",
	  WIDE,
	  { { "LABEL      ", VOL, 0, 0, 0, 0, 0, 0 }, { "LABEL      ", 0x28, 0, 0, 0, 0, 0, 0 } },
	  "" },
	{ "labels with content",
	  WIDE,
	  { { "A          ", VOL, 0, 0x10000, 0, 0, 0, 0 },
	    { "B          ", VOL, 0, 0, 1, 0, 0, 0 },
	    { "C          ", VOL | DIR, 0, 6, 0, 0, 0, 0 } },
	  "A@65536+0 B@0+1 C@6+0/" },
	{ "behind the end marker",
	  0,
	  { { "\0          ", 0, 0, 0, 0, 0, 0, 0 }, { "FILE       ", 0x20, 0, 7, 1, 0, 0, 0 } },
	  "FILE@7+1" },
	/* long names */
	{ "one piece", 0, { LONG(FIRST | 1, "Long name.txt"), SHORT }, "Long name.txt@5+9" },
	{ "two pieces",
	  0,
	  { LONG(FIRST | 2, "end"), LONG(1, "thirteen char"), SHORT },
	  "thirteen charend@5+9" },
	{ "of a folder",
	  0,
	  { LONG(FIRST | 1, "Folder"), { "LONGNA~1TXT", DIR, 0, 5, 0, 0, 0, 0 } },
	  "Folder@5+0/" },
	{ "only for the next file",
	  0,
	  { LONG(FIRST | 1, "Long"), SHORT, { "FILE       ", 0x20, 0, 7, 1, 0, 0, 0 } },
	  "Long@5+9 FILE@7+1" },
	{ "with a wrong sum", 0, { OTHER_SUM(FIRST | 1, "Long"), SHORT }, "LONGNA~1.TXT@5+9" },
	{ "sums that differ",
	  0,
	  { OTHER_SUM(FIRST | 2, "end"), LONG(1, "thirteen char"), SHORT },
	  "LONGNA~1.TXT@5+9" },
	{ "a piece is missing",
	  0,
	  { LONG(FIRST | 3, "end"), LONG(1, "thirteen char"), SHORT },
	  "LONGNA~1.TXT@5+9" },
	{ "the last piece is missing", 0, { LONG(FIRST | 2, "end"), SHORT }, "LONGNA~1.TXT@5+9" },
	{ "the first piece is missing", 0, { LONG(1, "Long"), SHORT }, "LONGNA~1.TXT@5+9" },
	{ "a new one begins",
	  0,
	  { LONG(FIRST | 3, "lost"), LONG(FIRST | 1, "Long"), SHORT },
	  "Long@5+9" },
	{ "one too many",
	  0,
	  { LONG(FIRST | 1, "Long"), LONG(1, "more"), SHORT },
	  "LONGNA~1.TXT@5+9" },
	{ "a free entry between",
	  0,
	  { LONG(FIRST | 1, "Long"), { "\0          ", 0, 0, 0, 0, 0, 0, 0 }, SHORT },
	  "LONGNA~1.TXT@5+9" },
	{ "a label between",
	  0,
	  { LONG(FIRST | 1, "Long"), { "LABEL      ", VOL, 0, 0, 0, 0, 0, 0 }, SHORT },
	  "LONGNA~1.TXT@5+9" },
	{ "a deleted file between",
	  0,
	  { LONG(FIRST | 1, "Long"), { "\xe5          ", 0x20, 0, 3, 1, 0, 0, 0 }, SHORT },
	  "LONGNA~1.TXT@5+9" },
	{ "piece 0", 0, { LONG(FIRST, "Long"), SHORT }, "LONGNA~1.TXT@5+9" },
	{ "piece 21", 0, { LONG(FIRST | 21, "Long"), SHORT }, "LONGNA~1.TXT@5+9" },
	{ "an empty one", 0, { LONG(FIRST | 1, ""), SHORT }, "LONGNA~1.TXT@5+9" },
	{ "a slash in it",
	  0,
	  { LONG(FIRST | 1, "a/b"), SHORT },
	  "a\xc0\xaf"
	  "b@5+9" },
	/* deleted */
	{ "deleted files are not asked for",
	  0,
	  { LONG(0xe5, "Long"), { "\xe5ONGNA~1TXT", 0x20, 0, 5, 9, 0, 0, 0 } },
	  "" },
	{ "deleted, by its short name",
	  GONE,
	  { { "\xe5ONGNA~1TXT", 0x20, 0, 5, 9, 0, 0, 0 } },
	  "gone:_ONGNA~1.TXT@5+9" },
	{ "deleted, by its long name",
	  GONE,
	  { LONG(0xe5, "end"),
	    LONG(0xe5, "thirteen char"),
	    { "\xe5ONGNA~1TXT", 0x20, 0, 5, 9, 0, 0, 0 } },
	  "gone:thirteen charend@5+9" },
	{ "two deleted ones",
	  GONE,
	  { OTHER_SUM(0xe5, "other"),
	    LONG(0xe5, "Long"),
	    { "\xe5ONGNA~1TXT", 0x20, 0, 5, 9, 0, 0, 0 } },
	  "gone:Long@5+9" },
	{ "deleted pieces before a file", GONE, { LONG(0xe5, "Long"), SHORT }, "LONGNA~1.TXT@5+9" },
	{ "pieces before a deleted file",
	  GONE,
	  { LONG(FIRST | 1, "Long"), { "\xe5ONGNA~1TXT", 0x20, 0, 5, 9, 0, 0, 0 } },
	  "gone:_ONGNA~1.TXT@5+9" },
};

static void put(uint8_t *to, uint64_t number, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		to[i] = (uint8_t)(number >> 8 * i);
}

static void put_piece(uint8_t *to, const struct raw *raw)
{
	static const uint8_t places[] = { 1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30 };
	size_t len = strlen(raw->piece);

	to[0] = raw->number;
	to[11] = 0x0f;
	to[13] = raw->sum;
	for (size_t i = 0; i < ARRAY_LEN(places); i++)
		put(to + places[i], i < len ? (uint8_t)raw->piece[i] : i == len ? 0 : 0xffff, 2);
}

static void put_raw(uint8_t *to, const struct raw *raw)
{
	memset(to, 0, FAT_ENTRY_LEN);
	if (raw->piece) {
		put_piece(to, raw);
		return;
	}
	memcpy(to, raw->name, 11);
	to[11] = raw->attributes;
	to[12] = raw->case_bits;
	put(to + 20, raw->cluster >> 16, 2);
	put(to + 26, raw->cluster, 2);
	put(to + 28, raw->size, 4);
}

static void add_found(char *all, size_t cap, int found, const struct fat_entry *e)
{
	size_t len = strlen(all);

	if (found)
		snprintf(all + len, cap - len, "%s%s%s%.*s@%u+%llu%s", len ? " " : "",
			 found == FAT_ENTRIES_DOTS ? "dots:" : "", e->deleted ? "gone:" : "",
			 (int)e->name_len, e->name, e->cluster, (unsigned long long)e->size,
			 e->folder ? "/" : "");
}

static void test_fat_entries_rules(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct fat_entries e = { .wide = cases[i].how & WIDE,
					 .wants_deleted = cases[i].how & GONE };
		struct fat_entry entry;
		char all[512] = "";

		for (size_t k = 0; k < RAW_MAX && (cases[i].raw[k].name || cases[i].raw[k].piece);
		     k++) {
			uint8_t raw[FAT_ENTRY_LEN];

			put_raw(raw, &cases[i].raw[k]);
			add_found(all, sizeof(all), fat_entries_take(&e, raw, &entry), &entry);
		}
		if (strcmp(all, cases[i].found) != 0)
			fail_msg("%s: found %s", cases[i].what, all);
	}
}

/* Twenty pieces are the most, of deleted files, too: with one more a new name begins. */
static void test_fat_entries_longest_name(void **state)
{
	(void)state;
	for (unsigned gone = 0; gone < 2; gone++) {
		struct fat_entries e = { .wants_deleted = gone };
		struct fat_entry entry;
		uint8_t raw[FAT_ENTRY_LEN];
		unsigned first = gone ? 25 : 20;

		for (unsigned n = first; n > 0; n--) {
			struct raw piece = LONG((uint8_t)n, "abcdefghijklm");

			piece.number = (uint8_t)(gone ? 0xe5 : n == first ? n | FIRST : n);
			put_raw(raw, &piece);
			assert_int_equal(fat_entries_take(&e, raw, &entry), 0);
		}
		put_raw(raw, &(struct raw)SHORT);
		raw[0] = gone ? 0xe5 : raw[0];
		assert_int_equal(fat_entries_take(&e, raw, &entry), FAT_ENTRIES_FOUND);
		assert_int_equal(entry.name_len, gone ? 5 * 13 : 20 * 13);
	}
}

static const struct {
	uint16_t date, time;
	int64_t seconds;
} times[] = {
	{ 0, 0x1234, 0 },
	{ 1 << 5 | 1, 0, 315532800 },                                   /* 1980-01-01 */
	{ 44 << 9 | 2 << 5 | 29, 23 << 11 | 59 << 5 | 29, 1709251198 }, /* 2024-02-29 23:59:58 */
	{ 127 << 9 | 12 << 5 | 31, 0, 4354732800 },                     /* 2107-12-31 */
};

static void test_fat_entries_time(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(times); i++)
		assert_int_equal(fat_entries_time(times[i].date, times[i].time), times[i].seconds);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_fat_entries_rules),
					    cmocka_unit_test(test_fat_entries_longest_name),
					    cmocka_unit_test(test_fat_entries_time) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
