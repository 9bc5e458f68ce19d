/* volume_diff against a comparison byte by byte, on volumes made by volume_put. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "snapshot/volume_diff.h"
#include "tests/lib/memory_chunks.h"

enum { GRID = 4096, BLOCKS = 600, SIZE = GRID * BLOCKS + 100 };

static int read_bytes(void *ctx, uint8_t *buf, size_t len, uint64_t offset, struct err *err)
{
	(void)err;
	memcpy(buf, (uint8_t *)ctx + offset, len);
	return 0;
}

static struct volume put(struct memory_chunks *chunks, uint8_t *bytes, uint64_t size)
{
	const struct volume_input input = { .ctx = bytes, .size = size, .read = read_bytes };
	struct volume volume = { .name = "disk0", .grid = GRID };
	struct err err = { 0 };

	assert_int_equal(volume_put(&(struct volume_put){ .input = &input,
							  .sink = memory_chunks_sink(chunks),
							  .threads = 1 },
				    &volume, NULL, &err),
			 0);
	return volume;
}

static void check(struct memory_chunks *chunks, uint8_t *new_bytes, uint64_t new_size,
		  uint8_t *old_bytes, uint64_t old_size)
{
	struct chunk_source source = memory_chunks_source(chunks);
	struct volume new_volume = put(chunks, new_bytes, new_size),
		      old_volume = put(chunks, old_bytes, old_size);
	struct volume_diff diff = { 0 };
	struct err err = { 0 };

	assert_int_equal(volume_diff(&new_volume, &old_volume, source, source, &diff, &err), 0);
	for (uint64_t at = 0; at < new_size; at += GRID) {
		uint64_t len = new_size - at < GRID ? new_size - at : GRID;
		bool same = true;

		/* Beyond the old end there were zeros, as far as a scan is concerned. */
		for (uint64_t i = at; i < at + len; i++)
			same &= new_bytes[i] == (i < old_size ? old_bytes[i] : 0);
		assert_true(same || volume_diff_meets(diff.extents, diff.count, at, len));
	}
	for (size_t i = 0; i < diff.count; i++) {
		assert_true(diff.extents[i].length > 0);
		assert_true(diff.extents[i].offset + diff.extents[i].length <= new_size);
		assert_true(!i || diff.extents[i].offset >
					  diff.extents[i - 1].offset + diff.extents[i - 1].length);
	}
	volume_diff_deinit(&diff);
}

static void test_volume_diff_finds_all_changes(void **state)
{
	struct memory_chunks *chunks = memory_chunks_new();
	uint8_t *old = calloc(1, SIZE), *new = malloc(SIZE);

	(void)state;
	srandom(7);
	for (size_t i = 0; i < SIZE / 3; i++)
		old[i] = (uint8_t)random();
	for (int round = 0; round < 40; round++) {
		memcpy(new, old, SIZE);
		for (int i = 0; i < round; i++)
			new[(size_t)random() % SIZE] ^= (uint8_t)(1 + random() % 255);
		if (round % 5 == 4)
			memset(new + GRID * 3, 0, GRID * 290); /* a whole node becomes zeros */
		check(chunks, new, SIZE, old, SIZE);
		check(chunks, new, SIZE - GRID * (uint64_t)round, old, SIZE);
		check(chunks, new, SIZE, old, SIZE - GRID * (uint64_t)round);
	}
	free(old);
	free(new);
	memory_chunks_free(chunks);
}

static void test_volume_diff_same_is_empty(void **state)
{
	struct memory_chunks *chunks = memory_chunks_new();
	uint8_t *bytes = calloc(1, SIZE);
	struct chunk_source source = memory_chunks_source(chunks);
	struct volume_diff diff = { 0 };
	struct volume volume;
	struct err err = { 0 };

	(void)state;
	bytes[5 * GRID] = 1;
	volume = put(chunks, bytes, SIZE);
	assert_int_equal(volume_diff(&volume, &volume, source, source, &diff, &err), 0);
	assert_int_equal(diff.count, 0);
	assert_false(volume_diff_meets(diff.extents, diff.count, 0, SIZE));
	free(bytes);
	memory_chunks_free(chunks);
}

static void test_volume_diff_meets(void **state)
{
	static const struct volume_extent extents[] = { { 10, 10 }, { 30, 1 }, { 50, 50 } };
	static const struct {
		uint64_t offset, len;
		bool want;
	} cases[] = {
		{ 0, 10, false }, { 0, 11, true },   { 19, 1, true }, { 20, 10, false },
		{ 20, 11, true }, { 31, 19, false }, { 99, 1, true }, { 100, 5, false },
		{ 0, 200, true }, { 15, 0, false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		assert_int_equal(volume_diff_meets(extents, ARRAY_LEN(extents), cases[i].offset,
						   cases[i].len),
				 cases[i].want);
	assert_false(volume_diff_meets(NULL, 0, 0, 10));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_volume_diff_finds_all_changes),
		cmocka_unit_test(test_volume_diff_same_is_empty),
		cmocka_unit_test(test_volume_diff_meets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
