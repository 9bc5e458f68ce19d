/* Boot sectors, and chains of clusters with everything that can be wrong with them, on volumes made here in memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/base.h"
#include "mgmt-server/scan/fat_volume.h"
#include "tests/lib/reader_sink.h"

static void put(uint8_t *to, uint64_t number, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		to[i] = (uint8_t)(number >> 8 * i);
}

/* ---- boot sectors ---- */

/* A FAT16 volume of 10,000 clusters of 1 KiB: two tables of 40 sectors behind one, a root folder of 32 sectors. */
static void make_fat16(uint8_t *s)
{
	memset(s, 0, FAT_BOOT_LEN);
	put(s + 11, 512, 2);
	s[13] = 2;
	put(s + 14, 1, 2);
	s[16] = 2;
	put(s + 17, 512, 2);
	put(s + 19, 1 + 80 + 32 + 20000, 2);
	s[21] = 0xf8;
	put(s + 22, 40, 2);
}

/* An exFAT volume of 100 clusters of 512 bytes: a table of two sectors at 24, clusters from 26 on. */
static void make_exfat(uint8_t *s)
{
	memset(s, 0, FAT_BOOT_LEN);
	memcpy(s + 3, "EXFAT   ", 8);
	put(s + 72, 126, 8);
	put(s + 80, 24, 4);
	put(s + 84, 2, 4);
	put(s + 88, 26, 4);
	put(s + 92, 100, 4);
	put(s + 96, 5, 4);
	s[108] = 9;
	s[110] = 1;
}

static const struct {
	const char *what;
	void (*make)(uint8_t *);
	struct {
		unsigned at, bytes;
		uint64_t number;
	} set[4];
	const char *want; /* the reason, or "TYPE CLUSTERS heap OFFSET" */
} boots[] = {
	{ "FAT16", make_fat16, { { 0 } }, "16 10000 heap 57856" },
	{ "with 32 bits for its size",
	  make_fat16,
	  { { 19, 2, 0 }, { 32, 4, 20113 } },
	  "16 10000 heap 57856" },
	{ "4085 clusters are FAT16", make_fat16, { { 19, 2, 113 + 8170 } }, "16 4085 heap 57856" },
	{ "4084 clusters are FAT12", make_fat16, { { 19, 2, 113 + 8169 } }, "12 4084 heap 57856" },
	{ "no more clusters than its table has",
	  make_fat16,
	  { { 22, 2, 30 }, { 19, 2, 20093 } },
	  "16 7678 heap 47616" },
	{ "no clusters", make_fat16, { { 19, 2, 114 } }, "12 0 heap 57856" },
	{ "smaller than its tables", make_fat16, { { 19, 2, 112 } }, "tables do not fit" },
	{ "no tables", make_fat16, { { 16, 1, 0 } }, "no file allocation table" },
	{ "empty tables", make_fat16, { { 22, 2, 0 } }, "tables do not fit" },
	{ "no reserved sectors", make_fat16, { { 14, 2, 0 } }, "no reserved sectors" },
	{ "a sector of 513", make_fat16, { { 11, 2, 513 } }, "sector size" },
	{ "a sector of 256", make_fat16, { { 11, 2, 256 } }, "sector size" },
	{ "a sector of 8192", make_fat16, { { 11, 2, 8192 } }, "sector size" },
	{ "a cluster of nothing", make_fat16, { { 13, 1, 0 } }, "cluster size" },
	{ "a cluster of three", make_fat16, { { 13, 1, 3 } }, "cluster size" },
	{ "an odd root folder", make_fat16, { { 17, 2, 511 } }, "root folder" },
	{ "a media byte", make_fat16, { { 21, 1, 0xf1 } }, "media" },
	{ "too many clusters for FAT16",
	  make_fat16,
	  { { 19, 2, 0 }, { 32, 4, 140000 }, { 22, 2, 300 } },
	  "too many clusters" },
	{ "FAT32",
	  make_fat16,
	  { { 22, 2, 0 }, { 36, 4, 80 }, { 17, 2, 0 }, { 44, 4, 2 } },
	  "32 9976 heap 82432" },
	{ "FAT32 with its second table",
	  make_fat16,
	  { { 22, 2, 0 }, { 36, 4, 80 }, { 17, 2, 0 }, { 40, 2, 0x81 } },
	  "32 9976 heap 82432 table 1" },
	{ "FAT32 with a third of two",
	  make_fat16,
	  { { 22, 2, 0 }, { 36, 4, 80 }, { 17, 2, 0 }, { 40, 2, 0x82 } },
	  "tables do not fit" },
	{ "zeros", make_fat16, { { 0, 2, 0 }, { 11, 8, 0 } }, "sector size" },
	{ "exFAT", make_exfat, { { 0 } }, "ex 100 heap 13312" },
	{ "exFAT with its second table",
	  make_exfat,
	  { { 110, 1, 2 }, { 106, 1, 1 }, { 84, 4, 1 } },
	  "ex 100 heap 13312 table 1" },
	{ "exFAT with more clusters than fit",
	  make_exfat,
	  { { 92, 4, 101 } },
	  "too many clusters" },
	{ "exFAT with the most clusters",
	  make_exfat,
	  { { 92, 4, 0xffffffff }, { 72, 8, 1ULL << 40 } },
	  "too many clusters" },
	{ "exFAT with a short table",
	  make_exfat,
	  { { 84, 4, 1 }, { 92, 4, 127 }, { 72, 8, 200 } },
	  "table is too short" },
	{ "exFAT without a table", make_exfat, { { 84, 4, 0 } }, "tables do not fit" },
	{ "exFAT with three tables", make_exfat, { { 110, 1, 3 } }, "tables do not fit" },
	{ "exFAT with tables over its clusters",
	  make_exfat,
	  { { 84, 4, 3 } },
	  "tables do not fit" },
	{ "exFAT with absurd tables", make_exfat, { { 80, 8, UINT64_MAX } }, "tables do not fit" },
	{ "exFAT with a sector of 256", make_exfat, { { 108, 1, 8 } }, "sector size" },
	{ "exFAT with a sector of 8192", make_exfat, { { 108, 1, 13 } }, "sector size" },
	{ "exFAT with clusters of 64 MiB", make_exfat, { { 109, 1, 17 } }, "cluster size" },
	{ "exFAT of 2^64 sectors", make_exfat, { { 72, 8, UINT64_MAX } }, "its size" },
};

static void test_fat_boot_parse(void **state)
{
	static const char *const names[] = { "12", "16", "32", "ex" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(boots); i++) {
		uint8_t sector[FAT_BOOT_LEN];
		struct fat_boot b;
		struct err err = { 0 };
		char got[128];
		int r;

		boots[i].make(sector);
		for (size_t k = 0; k < ARRAY_LEN(boots[i].set) && boots[i].set[k].bytes; k++)
			put(sector + boots[i].set[k].at, boots[i].set[k].number,
			    boots[i].set[k].bytes);
		r = fat_boot_parse(&b, sector, &err);
		if (r == 0)
			snprintf(got, sizeof(got), "%s %u heap %llu%s", names[b.type],
				 b.cluster_count, (unsigned long long)b.heap_offset,
				 b.fat_active ? " table 1" : "");
		if (r == 0 ? strcmp(got, boots[i].want) != 0 : !strstr(err.text, boots[i].want))
			fail_msg("%s: %s", boots[i].what, r ? err.text : got);
	}
}

/* ---- chains ---- */

enum { TABLE_AT = 512, CLUSTERS = 20, VOLUME = 1 << 16 };

static const struct {
	const char *what;
	uint32_t links
		[CLUSTERS]; /* of clusters 2, 3, 4 …; E, B: an end, a bad one, in each type's own number */
	uint32_t first;
	uint64_t len; /* in sectors, which clusters are; 0 is none, TO_END the chain's own */
	enum fat_chain_way way;
	const char *runs; /* FIRST CLUSTER+SECTORS, then the problem */
} chains[] = {
#define E      0xffffffffU
#define B      0xfffffff7U
#define TO_END UINT64_MAX
	{ "nothing", { 0 }, 0, 0, FAT_CHAIN_LINKED, "" },
	{ "one", { E }, 2, 1, FAT_CHAIN_LINKED, "2+1" },
	{ "one stretch", { 3, 4, E }, 2, 3, FAT_CHAIN_LINKED, "2+3" },
	{ "pieces", { 3, 6, 0, 0, 7, E }, 2, 4, FAT_CHAIN_LINKED, "2+2 6+2" },
	{ "backwards", { E, 2, 3 }, 4, 3, FAT_CHAIN_LINKED, "4+1 3+1 2+1" },
	{ "longer than the file", { 3, 4, E }, 2, 2, FAT_CHAIN_LINKED, "2+2" },
	{ "what follows a file's end does not matter", { 3, 1 }, 2, 2, FAT_CHAIN_LINKED, "2+2" },
	{ "to its end", { 3, 4, E }, 2, TO_END, FAT_CHAIN_LINKED, "2+3" },
	{ "ends too early", { 3, E }, 2, 3, FAT_CHAIN_LINKED, "2+2 ends too early" },
	{ "leads to a free one", { 3, 0 }, 2, 3, FAT_CHAIN_LINKED, "2+2 is free" },
	{ "... a folder's, too", { 3, 0 }, 2, TO_END, FAT_CHAIN_LINKED, "2+2 is free" },
	{ "leads to a bad one", { 3, B }, 2, 3, FAT_CHAIN_LINKED, "2+2 is bad" },
	{ "leads to the reserved entries",
	  { 3, 1 },
	  2,
	  3,
	  FAT_CHAIN_LINKED,
	  "2+2 out of the volume" },
	{ "leads out of the volume", { 3, 22 }, 2, 3, FAT_CHAIN_LINKED, "2+2 out of the volume" },
	{ "the last cluster", { 21, [19] = E }, 2, 2, FAT_CHAIN_LINKED, "2+1 21+1" },
	{ "begins before the volume", { E }, 1, 1, FAT_CHAIN_LINKED, "first cluster" },
	{ "begins behind the volume", { E }, 22, 1, FAT_CHAIN_LINKED, "first cluster" },
	{ "begins nowhere", { E }, 0, 1, FAT_CHAIN_LINKED, "first cluster" },
	{ "leads to itself", { 2 }, 2, 9, FAT_CHAIN_LINKED, "2+1 circle" },
	{ "to its begin", { 3, 4, 2 }, 2, TO_END, FAT_CHAIN_LINKED, "2+3 circle" },
	{ "to its middle", { 3, 4, 3 }, 2, TO_END, FAT_CHAIN_LINKED, "2+3 3+1 circle" },
	{ "contiguous", { 0 }, 2, 5, FAT_CHAIN_CONTIGUOUS, "2+5" },
	{ "contiguous to the last one", { 0 }, 20, 2, FAT_CHAIN_CONTIGUOUS, "20+2" },
	{ "contiguous, out of the volume",
	  { 0 },
	  20,
	  3,
	  FAT_CHAIN_CONTIGUOUS,
	  "20+2 out of the volume" },
	{ "freed", { E, 0, 0, 0, 7 }, 3, 3, FAT_CHAIN_FREED, "3+3" },
	{ "freed, and partly in use again",
	  { E, 0, 0, 0, 7 },
	  3,
	  4,
	  FAT_CHAIN_FREED,
	  "3+3 in use again" },
	{ "freed, and in use again", { E, 0, 0 }, 2, 2, FAT_CHAIN_FREED, "in use again" },
	{ "freed, out of the volume", { 0 }, 21, 2, FAT_CHAIN_FREED, "21+1 out of the volume" },
};

/* Clusters of one sector, as many as CLUSTERS. */
static void make_volume(uint8_t *v, enum fat_boot_type type, const uint32_t *links)
{
	static const unsigned bits[] = { 12, 16, 32, 32 };
	static const uint32_t masks[] = { 0xfff, 0xffff, 0xfffffff, 0xffffffff };

	memset(v, 0, VOLUME);
	for (unsigned i = 0; i < CLUSTERS + 2; i++) {
		uint32_t link = i < 2 ? E : links[i - 2];
		uint8_t *at = v + TABLE_AT + i * bits[type] / 8;

		link &= link >= B ? masks[type] : UINT32_MAX;
		if (type == FAT_BOOT_12)
			put(at, i & 1 ? link << 4 | (at[0] & 0xf) : link, 2);
		else
			put(at, link, bits[type] / 8);
	}
}

static void walk(const struct fat_volume *v, size_t number, char *text, size_t cap)
{
	uint64_t len = chains[number].len == TO_END ? TO_END : chains[number].len * 512;
	struct fat_chain c;
	struct fat_run run;
	size_t n = 0;

	text[0] = 0;
	fat_chain_begin(&c, v, chains[number].first, len, chains[number].way);
	while (fat_chain_next(&c, &run) == 0)
		n += (size_t)snprintf(text + n, cap - n, "%s%llu+%llu", n ? " " : "",
				      (unsigned long long)(run.offset - v->boot.heap_offset) / 512 +
					      2,
				      (unsigned long long)run.length / 512);
	assert_int_equal(fat_chain_next(&c, &run), FAT_CHAIN_ENDED);
	if (c.problem[0])
		snprintf(text + n, cap - n, "%s%s", n ? " " : "", c.problem);
}

/* The runs are the same, and the problem has the words. */
static bool is_as(const char *got, const char *want)
{
	size_t runs = strspn(want, "0123456789+ ");

	return !strncmp(got, want, runs) &&
	       (want[runs] ? strstr(got, want + runs) != NULL : !got[runs]);
}

static void test_fat_chain(void **state)
{
	static uint8_t bytes[VOLUME];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(chains); i++) {
		for (unsigned type = FAT_BOOT_12; type <= FAT_BOOT_EX; type++) {
			struct fat_volume v = {
				.boot = { .type = type,
					  .sector_size = 512,
					  .cluster_size = 512,
					  .fat_offset = TABLE_AT,
					  .fat_length = 512,
					  .fat_count = 1,
					  .heap_offset = 2048,
					  .cluster_count = CLUSTERS },
				.channel = reader_volume(reader_sink_new(bytes, VOLUME, 0)),
			};
			char text[256];

			make_volume(bytes, type, chains[i].links);
			walk(&v, i, text, sizeof(text));
			if (!is_as(text, chains[i].runs))
				fail_msg("%s (type %u): %s", chains[i].what, type, text);
		}
	}
}

/* A piece of a cluster at a file's end, and a table that cannot be read. */
static void test_fat_chain_bytes(void **state)
{
	static uint8_t bytes[VOLUME];
	static const uint32_t links[CLUSTERS] = { 3, E };
	struct fat_volume v = { .boot = { .type = FAT_BOOT_16,
					  .cluster_size = 512,
					  .fat_offset = TABLE_AT,
					  .heap_offset = 2048,
					  .cluster_count = CLUSTERS },
				.channel = reader_volume(reader_sink_new(bytes, VOLUME, 0)) };
	struct fat_chain c;
	struct fat_run run;

	(void)state;
	make_volume(bytes, FAT_BOOT_16, links);
	fat_chain_begin(&c, &v, 2, 513, FAT_CHAIN_LINKED);
	assert_int_equal(fat_chain_next(&c, &run), 0);
	assert_int_equal(run.length, 513);
	v.channel = reader_volume(reader_sink_new(bytes, TABLE_AT, 0));
	fat_chain_begin(&c, &v, 2, 513, FAT_CHAIN_LINKED);
	assert_int_equal(fat_chain_next(&c, &run), 0);
	assert_int_equal(run.length, 512);
	assert_int_equal(fat_chain_next(&c, &run), FAT_CHAIN_ENDED);
	assert_non_null(strstr(c.problem, "cannot be read"));
}

/* ---- opening ---- */

enum { SIZE = 20113 * 512 };

static const struct {
	const char *what;
	size_t offset, size; /* of the made volume, what there is */
	bool broken_table;
	int r;
	const char *doubt;
} openings[] = {
	{ "whole", 0, SIZE, false, 0, "" },
	{ "cut off", 0, 1 << 20, false, 0, "truncated" },
	{ "a wrong second table", 0, SIZE, true, 0, "does not begin" },
	{ "half a boot sector", 0, 511, false, -EIO, "" },
	{ "no boot sector", 512, 4096, false, -EINVAL, "" },
};

static void test_fat_volume_open(void **state)
{
	static uint8_t bytes[SIZE];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(openings); i++) {
		struct reader *reader =
			reader_sink_new(bytes + openings[i].offset, openings[i].size, 0);
		struct fat_volume v;
		struct err err = { 0 };

		make_fat16(bytes);
		put(bytes + 512, 0xfffffff8, 4);
		put(bytes + 41 * 512, openings[i].broken_table ? 0xfffff0f8 : 0xfffffff8, 4);
		assert_int_equal(fat_volume_open(&v, reader_volume(reader), &err), openings[i].r);
		if (openings[i].doubt[0] ? !strstr(v.doubt, openings[i].doubt) : v.doubt[0])
			fail_msg("%s: %s", openings[i].what, v.doubt);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_fat_boot_parse),
					    cmocka_unit_test(test_fat_chain),
					    cmocka_unit_test(test_fat_chain_bytes),
					    cmocka_unit_test(test_fat_volume_open) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
