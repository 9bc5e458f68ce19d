/* Boot sectors, update sequences and runs of NTFS: what is sound is read, everything else refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "common/base.h"
#include "common/le.h"
#include "mgmt-server/scan/ntfs_record.h"

static void put16(uint8_t *to, unsigned v)
{
	to[0] = (uint8_t)v;
	to[1] = (uint8_t)(v >> 8);
}

/* ---- geometry ---- */

static const struct {
	const char *what;
	unsigned sector;
	int per_cluster, per_record; /* as bytes; negative: a power of two */
	uint64_t table;              /* cluster */
	uint64_t cluster, record;    /* 0: refused */
} geometries[] = {
	{ "usual", 512, 8, -10, 4, 4096, 1024 },
	{ "sectors of 4 KiB", 4096, 1, 1, 4, 4096, 4096 },
	{ "records of two clusters", 512, 1, 2, 4, 512, 1024 },
	{ "clusters of 64 KiB", 512, -128, -10, 4, 65536, 1024 },
	{ "clusters of 128 KiB", 512, -8, -10, 4, 131072, 1024 },
	{ "clusters of 2 MiB", 512, -12, -10, 4, 2 << 20, 1024 },
	{ "clusters of 4 MiB", 512, -13, -10, 4, 0, 0 },
	{ "no cluster", 512, 0, -10, 4, 0, 0 },
	{ "three sectors a cluster", 512, 3, -10, 4, 0, 0 },
	{ "sectors of 128 bytes", 128, 8, -10, 4, 0, 0 },
	{ "sectors of 8 KiB", 8192, 1, -10, 4, 0, 0 },
	{ "records of 512 bytes", 512, 8, -9, 4, 0, 0 },
	{ "records of 8 KiB", 512, 8, 2, 4, 0, 0 },
	{ "records of no size", 512, 8, -64, 4, 0, 0 },
	{ "a table behind all addresses", 512, 8, -10, UINT64_MAX, 0, 0 },
};

static void test_geometry(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(geometries); i++) {
		uint8_t boot[NTFS_RECORD_BOOT_LEN] = { 0 };
		struct ntfs_geometry g;
		bool sound;

		memcpy(boot + 3, "NTFS    ", 8);
		put16(boot + 11, geometries[i].sector);
		boot[13] = (uint8_t)geometries[i].per_cluster;
		boot[64] = (uint8_t)geometries[i].per_record;
		le_put64(boot + 48, geometries[i].table);
		sound = ntfs_record_geometry(&g, boot, 1 << 20);
		if (sound != (geometries[i].cluster != 0))
			fail_msg("%s: %d", geometries[i].what, sound);
		if (!sound)
			continue;
		assert_int_equal(g.cluster, geometries[i].cluster);
		assert_int_equal(g.record_size, geometries[i].record);
		assert_int_equal(g.table_offset, geometries[i].table * g.cluster);
		boot[3] = 'X';
		assert_false(ntfs_record_geometry(&g, boot, 1 << 20));
	}
}

/* ---- the update sequence ---- */

static const struct {
	const char *what;
	unsigned at, count; /* of the update sequence */
	unsigned second;    /* what stands at the end of the second sector; 7 is right */
	bool want;
} sequences[] = {
	{ "sound", 48, 3, 7, true },
	{ "written by halves", 48, 3, 6, false },
	{ "of a longer record", 48, 4, 7, false },
	{ "of a shorter record", 48, 2, 7, false },
	{ "within the header", 40, 3, 7, false },
	{ "over the end of a sector", 506, 3, 7, false },
	{ "beyond the record", 65535, 3, 7, false },
};

static void test_fix_up(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(sequences); i++) {
		uint8_t record[1024] = "FILE";

		put16(record + 4, sequences[i].at);
		put16(record + 6, sequences[i].count);
		put16(record + 510, 7);
		put16(record + 1022, sequences[i].second);
		if (sequences[i].at < 500) {
			put16(record + sequences[i].at, 7);
			put16(record + sequences[i].at + 2, 0x1111);
			put16(record + sequences[i].at + 4, 0x2222);
		}
		if (ntfs_record_fix_up(record, sizeof(record)) != sequences[i].want)
			fail_msg("%s", sequences[i].what);
		if (sequences[i].want) {
			assert_int_equal(le_get16(record + 510), 0x1111);
			assert_int_equal(le_get16(record + 1022), 0x2222);
			memcpy(record, "BAAD", 4);
			assert_false(ntfs_record_fix_up(record, sizeof(record)));
		}
	}
}

/* ---- runs ---- */

enum { CLUSTER = 512, CLUSTERS = 1000, ATTRIBUTE_LEN = 96, PAIRS_AT = 64 };

static const struct {
	const char *what;
	const char *pairs;
	size_t len;
	const char *want; /* "cluster+count " of each run, "-+count " of a hole; NULL: refused */
} runs[] = {
	{ "none", "\x00", 1, "" },
	{ "one", "\x11\x05\x64\x00", 4, "100+5 " },
	{ "a hole between, and back", "\x11\x05\x64\x01\x07\x11\x02\xf6\x00", 9,
	  "100+5 -+7 90+2 " },
	{ "of three and two bytes", "\x23\x05\x00\x00\x2c\x01\x00", 7, "300+5 " },
	{ "up to the last cluster", "\x21\x01\xe7\x03\x00", 5, "999+1 " },
	{ "one cluster too far", "\x21\x02\xe7\x03\x00", 5, NULL },
	{ "before the volume", "\x11\x01\xff\x00", 4, NULL },
	{ "of no length", "\x11\x00\x64\x00", 4, NULL },
	{ "without a length", "\x10\x64\x00", 3, NULL },
	{ "a length of nine bytes", "\x19\x01\x00\x00\x00\x00\x00\x00\x00\x00\x64\x00", 12, NULL },
	{ "an address of nine bytes", "\x91\x01\x64\x00\x00\x00\x00\x00\x00\x00\x00\x00", 12,
	  NULL },
	{ "a hole longer than 64 bits count", "\x08\xff\xff\xff\xff\xff\xff\xff\xff\x00", 10,
	  NULL },
	{ "without an end",
	  "\x11\x01\x01\x11\x01\x01\x11\x01\x01\x11\x01\x01\x11\x01\x01\x11\x01\x01\x11\x01\x01"
	  "\x11\x01\x01\x11\x01\x01\x11\x01\x01\x11\x01",
	  32, NULL },
};

static bool write_down(void *ctx, const struct ntfs_run *run)
{
	char *text = ctx;
	size_t len = strlen(text);

	if (run->hole)
		snprintf(text + len, 200 - len, "-+%u ", (unsigned)(run->length / CLUSTER));
	else
		snprintf(text + len, 200 - len, "%u+%u ", (unsigned)(run->offset / CLUSTER),
			 (unsigned)(run->length / CLUSTER));
	return true;
}

static void test_runs(void **state)
{
	const struct ntfs_geometry g = { .cluster = CLUSTER, .volume_size = CLUSTERS * CLUSTER };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(runs); i++) {
		uint8_t bytes[ATTRIBUTE_LEN] = { 0 };
		struct ntfs_attribute a = { .bytes = bytes, .len = sizeof(bytes) };
		char text[200] = "";
		bool sound;

		put16(bytes + 32, PAIRS_AT);
		assert_true(runs[i].len <= sizeof(bytes) - PAIRS_AT);
		memcpy(bytes + PAIRS_AT, runs[i].pairs, runs[i].len);
		sound = ntfs_record_runs(&g, &a, write_down, text);
		if (sound != (runs[i].want != NULL) || (sound && strcmp(text, runs[i].want) != 0))
			fail_msg("%s: %d %s", runs[i].what, sound, text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_geometry),
					    cmocka_unit_test(test_fix_up),
					    cmocka_unit_test(test_runs) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
