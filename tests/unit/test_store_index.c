/* The index against a plain array: table, runs, merges, equal tags; and every page of a run damaged once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "snapshot/siphash.h"
#include "snapshot/store_index.h"
#include "snapshot/store_run.h"

static char folder[64];

static int setup(void **state)
{
	(void)state;
	strcpy(folder, "/tmp/godwit-test-index.XXXXXX");
	return mkdtemp(folder) ? 0 : -1;
}

static int teardown(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", folder);
	return system(command);
}

/* Entry @i; each tenth has the tag of its predecessor. */
static struct store_index_entry entry(uint32_t i)
{
	static const uint8_t key[SIPHASH_KEY_LEN] = "a key for tests";
	struct store_index_entry e = { .pack = i / 100, .record = i };
	uint32_t name = i % 10 == 9 ? i - 1 : i;

	siphash(key, &name, sizeof(name), e.tag);
	return e;
}

static bool has(struct store_index *index, uint32_t i)
{
	struct store_index_entry want = entry(i), found[STORE_INDEX_CANDIDATES];
	struct err err = { 0 };
	size_t n;

	assert_int_equal(store_index_find(index, want.tag, found, STORE_INDEX_CANDIDATES, &n, &err),
			 0);
	for (size_t k = 0; k < n; k++) {
		assert_memory_equal(found[k].tag, want.tag, STORE_INDEX_TAG_LEN);
		if (found[k].record == want.record && found[k].pack == want.pack)
			return true;
	}
	return false;
}

static bool keep_even(void *arg, uint32_t pack)
{
	(void)arg;
	return pack % 2 == 0;
}

static void test_store_index_finds_everything_everywhere(void **state)
{
	enum { STEP = 3000, STEPS = 23 };
	struct store_index *index, *again;
	uint64_t numbers[STORE_INDEX_RUNS_MAX];
	struct err err = { 0 };
	size_t runs;

	(void)state;
	assert_int_equal(store_index_new(&index, folder, &err), 0);
	for (uint32_t step = 0; step < STEPS; step++) {
		for (uint32_t i = step * STEP; i < (step + 1) * STEP; i++) {
			struct store_index_entry e = entry(i);

			assert_int_equal(store_index_add(index, &e, 1, &err), 0);
		}
		if (step % 2 == 0) {
			assert_int_equal(store_index_flush(index, &err), 0);
			assert_int_equal(store_index_merge(index, NULL, NULL, &err), 0);
		}
		for (uint32_t i = 0; i < (step + 1) * STEP; i += 7)
			assert_true(has(index, i));
		for (uint32_t i = (step + 1) * STEP; i < (step + 2) * STEP; i += 7)
			assert_false(has(index, i));
	}
	runs = store_index_runs(index, numbers);
	assert_true(runs < 8); /* of 12 that were made */

	/* What another process would open. */
	assert_int_equal(store_index_new(&again, folder, &err), 0);
	for (size_t i = 0; i < runs; i++)
		assert_int_equal(store_index_add_run(again, numbers[i], &err), 0);
	for (uint32_t i = 0; i < STEPS * STEP; i += 11)
		assert_true(has(again, i));
	store_index_free(again);

	store_index_tidy(index);
	for (uint32_t i = 0; i < STEPS * STEP; i += 11)
		assert_true(has(index, i));
	store_index_clear(index);
	assert_false(has(index, 0));
	store_index_free(index);
}

static void test_store_index_merge_drops_what_is_gone(void **state)
{
	struct store_index *index;
	struct err err = { 0 };

	(void)state;
	assert_int_equal(store_index_new(&index, folder, &err), 0);
	for (uint32_t i = 0; i < 4000; i++) {
		struct store_index_entry e = entry(i);

		assert_int_equal(store_index_add(index, &e, 1, &err), 0);
		if (i % 1000 == 999)
			assert_int_equal(store_index_flush(index, &err), 0);
	}
	assert_int_equal(store_index_merge(index, keep_even, NULL, &err), 0);
	for (uint32_t i = 0; i < 4000; i++)
		assert_true(has(index, i) == (i / 100 % 2 == 0));
	store_index_free(index);
}

/* Any flipped byte is noticed when the run is opened, or by a lookup that meets it; never is an answer wrong. */
static void test_store_run_notices_damage(void **state)
{
	uint64_t numbers[STORE_INDEX_RUNS_MAX];
	struct store_index *index;
	struct err err = { 0 };
	char path[128];
	off_t size;
	int fd;

	(void)state;
	assert_int_equal(store_index_new(&index, folder, &err), 0);
	for (uint32_t i = 0; i < 2000; i++) {
		struct store_index_entry e = entry(i);

		assert_int_equal(store_index_add(index, &e, 1, &err), 0);
	}
	assert_int_equal(store_index_flush(index, &err), 0);
	assert_int_equal(store_index_runs(index, numbers), 1);
	store_index_free(index);

	snprintf(path, sizeof(path), "%s/run-%016llx", folder, (unsigned long long)numbers[0]);
	fd = open(path, O_RDWR);
	size = lseek(fd, 0, SEEK_END);
	for (off_t at = 0; at < size; at += 97) {
		bool noticed = false;
		uint8_t byte;

		assert_int_equal(pread(fd, &byte, 1, at), 1);
		byte ^= 8;
		assert_int_equal(pwrite(fd, &byte, 1, at), 1);
		assert_int_equal(store_index_new(&index, folder, &err), 0);
		if (store_index_add_run(index, numbers[0], &err) == -EBADMSG)
			noticed = true;
		for (uint32_t i = 0; !noticed && i < 2000; i++) {
			struct store_index_entry want = entry(i), found[STORE_INDEX_CANDIDATES];
			size_t n;
			int r = store_index_find(index, want.tag, found, STORE_INDEX_CANDIDATES, &n,
						 &err);

			if (r == -EBADMSG)
				noticed = true;
			else
				assert_true(r == 0 && n >= 1);
		}
		if (!noticed && at < size - 64)
			fail_msg("byte %ld was not noticed", (long)at);
		store_index_free(index);
		byte ^= 8;
		assert_int_equal(pwrite(fd, &byte, 1, at), 1);
	}
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_store_index_finds_everything_everywhere, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_store_index_merge_drops_what_is_gone, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_store_run_notices_damage, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
