/* Runs as they come from a reader: what a list takes, what cannot be one, and what the parent reads for them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/base.h"
#include "mgmt-server/scan/content_runs.h"
#include "mgmt-server/scan/content_source.h"

static const struct {
	const char *name;
	struct content_run run;
	int want;
} decode_cases[] = {
	{ "a byte", { 0, 0, 1 }, 0 },
	{ "of no length", { 5, 5, 0 }, -EBADMSG },
	{ "up to the last byte of the file", { UINT64_MAX - 7, 0, 7 }, 0 },
	{ "beyond it", { UINT64_MAX - 7, 0, 8 }, -EBADMSG },
	{ "up to the last byte of the partition", { 0, UINT64_MAX - 7, 7 }, 0 },
	{ "beyond that", { 0, UINT64_MAX - 7, 8 }, -EBADMSG },
	{ "everything", { UINT64_MAX, UINT64_MAX, UINT64_MAX }, -EBADMSG },
};

static void test_content_runs_decode(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(decode_cases); i++) {
		uint8_t wire[CONTENT_RUN_LEN];
		struct content_run out;
		int r;

		content_run_encode(&decode_cases[i].run, wire);
		r = content_run_decode(&out, wire);
		if (decode_cases[i].want == 0 && r == 0)
			assert_memory_equal(&out, &decode_cases[i].run, sizeof(out));
		if (r != decode_cases[i].want)
			fail_msg("%s: got %d, want %d", decode_cases[i].name, r,
				 decode_cases[i].want);
	}
}

static void test_content_runs_ascend_and_are_bounded(void **state)
{
	struct content_runs runs = { 0 };
	struct content_run run = { .length = 10 };

	(void)state;
	assert_int_equal(content_runs_end(&runs), 0);
	for (uint64_t i = 0; i < CONTENT_RUNS_MAX; i++) {
		run.offset = 20 * i;
		assert_int_equal(content_runs_add(&runs, &run), 0);
		assert_int_equal(content_runs_end(&runs), run.offset + 10);
		run.offset += 9; /* overlaps by a byte */
		assert_int_equal(content_runs_add(&runs, &run), CONTENT_RUNS_AGAIN);
	}
	run.offset += 1;
	assert_int_equal(content_runs_add(&runs, &run), CONTENT_RUNS_AGAIN);
	content_runs_clear(&runs);
	assert_int_equal(content_runs_add(&runs, &run), 0);
	content_runs_deinit(&runs);
}

/* ---- content_source ---- */

enum { VOLUME = 3 << 20, START = 70000, LENGTH = 2900992 };

struct fake {
	uint8_t *bytes;
	uint64_t read;
	int fails; /* -errno */
};

static int fake_read(void *ctx, uint8_t *buf, size_t len, uint64_t offset, struct err *err)
{
	struct fake *fake = ctx;

	if (fake->fails)
		return err_say(err, -fake->fails, "a damaged chunk");
	assert_true(offset <= VOLUME && len <= VOLUME - offset);
	memcpy(buf, fake->bytes + offset, len);
	fake->read += len;
	return 0;
}

static const struct {
	uint64_t at, len;
} reads[] = { { 0, 1 },
	      { 1, 65535 },
	      { 65536 - START % 65536, 65536 },
	      { 100, 2000000 },
	      { LENGTH - 1, 1 },
	      { LENGTH - 70000, 70000 },
	      { 0, LENGTH },
	      { 3 * 65536 - 1000, 2000 } };

static void test_content_source_reads_what_lies_there(void **state)
{
	CLEANUP_FREE uint8_t *bytes = malloc(VOLUME);
	struct fake fake = { .bytes = bytes };
	const struct volume_input input = { .ctx = &fake, .size = VOLUME, .read = fake_read };
	struct content_source *source;
	struct err err = { 0 };

	(void)state;
	assert_non_null(bytes);
	for (size_t i = 0; i < VOLUME; i++)
		bytes[i] = (uint8_t)(i * 2654435761u >> 21);
	assert_int_equal(content_source_open(&source, &input, START, LENGTH, &err), 0);
	for (size_t i = 0; i < ARRAY_LEN(reads); i++) {
		for (uint64_t done = 0; done < reads[i].len;) {
			const uint8_t *piece;
			ssize_t n = content_source_read(source, reads[i].at + done,
							reads[i].len - done, &piece, &err);

			assert_in_range(n, 1, CONTENT_SOURCE_PIECE);
			assert_true((uint64_t)n <= reads[i].len - done);
			assert_memory_equal(piece, bytes + START + reads[i].at + done, (size_t)n);
			done += (uint64_t)n;
		}
	}
	content_source_close(source);
}

/* Small files lie side by side: their chunks are fetched once. */
static void test_content_source_fetches_a_block_once(void **state)
{
	CLEANUP_FREE uint8_t *bytes = calloc(1, VOLUME);
	struct fake fake = { .bytes = bytes };
	const struct volume_input input = { .ctx = &fake, .size = VOLUME, .read = fake_read };
	struct content_source *source;
	const uint8_t *piece;
	struct err err = { 0 };

	(void)state;
	assert_non_null(bytes);
	assert_int_equal(content_source_open(&source, &input, 0, VOLUME, &err), 0);
	for (uint64_t at = 0; at < 1 << 20; at += 4096)
		assert_int_equal(content_source_read(source, at, 100, &piece, &err), 100);
	assert_int_equal(fake.read, 1 << 20);
	fake.fails = -EBADMSG;
	assert_int_equal(content_source_read(source, 2 << 20, 100, &piece, &err), -EBADMSG);
	fake.fails = 0;
	assert_int_equal(content_source_read(source, 2 << 20, 100, &piece, &err), 100);
	content_source_close(source);
}

static const struct {
	const char *name;
	struct content_run runs[3];
	int want; /* of the last one that has a length; those before it are taken */
} take_cases[] = {
	{ "all of it", { { 0, 0, LENGTH } }, 0 },
	{ "its end", { { 0, LENGTH - 1, 1 } }, 0 },
	{ "beyond its end", { { 0, LENGTH - 1, 2 } }, -EBADMSG },
	{ "far beyond", { { 0, UINT64_MAX - 1, 1 } }, -EBADMSG },
	{ "too long", { { 0, 1, UINT64_MAX - 1 } }, -EBADMSG },
	{ "twice the same half, and then some",
	  { { 0, 0, LENGTH / 2 }, { 0, 0, LENGTH / 2 - 512 }, { 0, 0, 1024 } },
	  -EBADMSG },
	{ "a second time", { { 0, 0, LENGTH / 2 }, { 0, 0, LENGTH / 2 - 512 } }, 0 },
};

static void test_content_source_takes_no_more_than_there_is(void **state)
{
	struct fake fake = { 0 };
	const struct volume_input input = { .ctx = &fake, .size = VOLUME, .read = fake_read };
	struct content_source *source;
	struct err err = { 0 };
	int r = 0;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(take_cases); i++) {
		assert_int_equal(content_source_open(&source, &input, START, LENGTH, &err), 0);
		for (size_t k = 0; k < 3 && take_cases[i].runs[k].length; k++) {
			assert_int_equal(r, 0);
			r = content_source_take(source, &take_cases[i].runs[k], &err);
		}
		if (r != take_cases[i].want)
			fail_msg("%s: got %d", take_cases[i].name, r);
		r = 0;
		content_source_close(source);
	}
	/* Single bytes count as sectors: what they make us fetch is bounded, too. */
	assert_int_equal(content_source_open(&source, &input, START, LENGTH, &err), 0);
	for (uint64_t k = 0; k < LENGTH / 512; k++)
		assert_int_equal(
			content_source_take(source, &(struct content_run){ k, 7, 1 }, &err), 0);
	assert_int_equal(content_source_take(source, &(struct content_run){ 0, 7, 1 }, &err),
			 -EBADMSG);
	content_source_close(source);
}

/* A partition table may lie about where its partitions end. */
static void test_content_source_knows_where_the_volume_ends(void **state)
{
	static const uint64_t starts[] = { VOLUME - 4096, VOLUME, VOLUME + 1, UINT64_MAX - 100 };
	struct fake fake = { 0 };
	const struct volume_input input = { .ctx = &fake, .size = VOLUME, .read = fake_read };
	const uint8_t *piece;
	struct err err = { 0 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(starts); i++) {
		struct content_source *source;

		assert_int_equal(content_source_open(&source, &input, starts[i], UINT64_MAX, &err),
				 0);
		assert_int_equal(content_source_read(source, 4000, 1000, &piece, &err), -EIO);
		assert_int_equal(content_source_read(source, UINT64_MAX - 5, 5, &piece, &err),
				 -EIO);
		content_source_close(source);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_content_runs_decode),
		cmocka_unit_test(test_content_runs_ascend_and_are_bounded),
		cmocka_unit_test(test_content_source_reads_what_lies_there),
		cmocka_unit_test(test_content_source_fetches_a_block_once),
		cmocka_unit_test(test_content_source_takes_no_more_than_there_is),
		cmocka_unit_test(test_content_source_knows_where_the_volume_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
