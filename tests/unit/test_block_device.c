/* A volume served with an overlay against a plain buffer, through random reads and writes and reopenings. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "snapshot/block_device.h"
#include "tests/lib/memory_chunks.h"

enum { SIZE = (4 << 20) + 777 };

static uint8_t *disk;
static struct memory_chunks *chunks;
static struct volume volume = { .name = "disk0", .grid = CHUNK_GRID_DISK };
static char overlay[] = "/tmp/godwit-test-overlay.XXXXXX";
static char map[64];

static int read_disk(void *ctx, uint8_t *buf, size_t len, uint64_t offset, struct err *err)
{
	(void)ctx, (void)err;
	memcpy(buf, disk + offset, len);
	return 0;
}

static int setup(void **state)
{
	const struct volume_input input = { NULL, SIZE, read_disk, NULL };
	struct volume_put order = { .input = &input, .codec = CHUNK_CODEC_ZSTD };
	struct err err = { 0 };
	int fd = mkstemp(overlay);

	(void)state;
	close(fd);
	unlink(overlay);
	snprintf(map, sizeof(map), "%s.map", overlay);
	disk = calloc(1, SIZE);
	srand(1);
	for (int i = 1 << 20; i < 3 << 20; i++)
		disk[i] = (uint8_t)rand();
	chunks = memory_chunks_new();
	order.sink = memory_chunks_sink(chunks);
	return volume_put(&order, &volume, NULL, &err);
}

static int teardown(void **state)
{
	(void)state;
	unlink(overlay);
	unlink(map);
	memory_chunks_free(chunks);
	free(disk);
	return 0;
}

static struct block_device *open_device(bool writable)
{
	const struct block_device_options options = { .volume = &volume,
						      .source = memory_chunks_source(chunks),
						      .overlay = writable ? overlay : NULL,
						      .cache_bytes = 1 << 20 };
	struct block_device *device;
	struct err err = { 0 };

	if (block_device_new(&device, &options, &err) < 0)
		fail_msg("%s", err_text(&err));
	return device;
}

static void compare(struct block_device *device, const uint8_t *want)
{
	uint8_t *got = malloc(SIZE);
	struct err err = { 0 };

	for (int i = 0; i < 60; i++) {
		uint64_t offset = (uint64_t)(rand() % SIZE);
		size_t len = (size_t)rand() % (i % 3 ? 9000 : 900000);

		if (len > SIZE - offset)
			len = SIZE - offset;
		assert_int_equal(block_device_read(device, got, len, offset, &err), 0);
		assert_memory_equal(got, want + offset, len);
	}
	for (uint64_t at = 0, n; at < SIZE; at += n) {
		bool zero;

		assert_int_equal(block_device_extent(device, at, SIZE - at, &n, &zero, &err), 0);
		assert_true(n >= 1 && n <= SIZE - at);
		for (uint64_t k = 0; zero && k < n; k++)
			assert_int_equal(want[at + k], 0);
	}
	free(got);
}

static void test_block_device_reads_the_volume(void **state)
{
	struct block_device *device = open_device(false);
	struct err err = { 0 };
	uint8_t byte = 0;

	(void)state;
	assert_int_equal(block_device_size(device), SIZE);
	assert_false(block_device_writable(device));
	compare(device, disk);
	assert_int_equal(block_device_write(device, &byte, 1, 0, &err), -EROFS);
	assert_int_equal(block_device_read(device, &byte, 1, SIZE, &err), -EINVAL);
	block_device_free(device);
}

static void test_block_device_overlay_keeps_writes(void **state)
{
	uint8_t *want = malloc(SIZE), *buf = malloc(200000);
	struct err err = { 0 };

	(void)state;
	memcpy(want, disk, SIZE);
	for (int round = 0; round < 5; round++) {
		struct block_device *device = open_device(true);

		compare(device, want);
		for (int i = 0; i < 8; i++) {
			uint64_t offset = (uint64_t)(rand() % SIZE);
			size_t len = (size_t)rand() % 200000;

			if (len > SIZE - offset)
				len = SIZE - offset;
			memset(buf, rand(), len);
			assert_int_equal(block_device_write(device, buf, len, offset, &err), 0);
			memcpy(want + offset, buf, len);
		}
		assert_int_equal(block_device_flush(device, &err), 0);
		compare(device, want);
		block_device_free(device);
	}
	free(want);
	free(buf);
}

static void test_block_device_refuses_a_foreign_overlay(void **state)
{
	struct volume other = volume;
	struct block_device_options options = { .volume = &other,
						.source = memory_chunks_source(chunks),
						.overlay = overlay };
	struct block_device *device, *first;
	struct err err = { 0 };

	(void)state;
	first = open_device(true);
	assert_int_equal(block_device_new(&device, &options, &err), -EBUSY);
	block_device_free(first);
	other.root.bytes[0] ^= 1;
	assert_int_equal(block_device_new(&device, &options, &err), -EINVAL);
	assert_non_null(strstr(err_text(&err), "another volume"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_block_device_reads_the_volume),
		cmocka_unit_test(test_block_device_overlay_keeps_writes),
		cmocka_unit_test(test_block_device_refuses_a_foreign_overlay),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
