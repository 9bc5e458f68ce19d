/* Two contents have the same identity only if they have the same bytes; and what it says in a state, and for how long. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "mgmt-server/scan/content_identity.h"
#include "mgmt-server/scan/identity_memo.h"
#include "tests/lib/memory_chunks.h"

enum { GRID = 4096, BLOCKS = 300, SIZE = GRID * BLOCKS + 100 };

static int read_bytes(void *ctx, uint8_t *buf, size_t len, uint64_t offset, struct err *err)
{
	(void)err;
	memcpy(buf, (uint8_t *)ctx + offset, len);
	return 0;
}

static int ids_of(void *ctx, uint64_t first, size_t n, struct chunk_id *ids, struct err *err)
{
	return volume_reader_ids(ctx, first, n, ids, err);
}

struct disk {
	struct memory_chunks *chunks;
	struct volume_reader *reader;
	struct content_chunks of;
};

static void open_disk(struct disk *d, uint8_t *bytes, uint64_t size, uint32_t grid)
{
	const struct volume_input input = { .ctx = bytes, .size = size, .read = read_bytes };
	struct volume volume = { .name = "disk0", .grid = grid };
	struct err err = { 0 };

	d->chunks = memory_chunks_new();
	assert_int_equal(volume_put(&(struct volume_put){ .input = &input,
							  .sink = memory_chunks_sink(d->chunks),
							  .threads = 1 },
				    &volume, NULL, &err),
			 0);
	assert_int_equal(
		volume_reader_open(&d->reader, &volume, memory_chunks_source(d->chunks), &err), 0);
	d->of = (struct content_chunks){ .ctx = d->reader, .grid = grid, .ids = ids_of };
}

static void close_disk(struct disk *d)
{
	volume_reader_close(d->reader);
	memory_chunks_free(d->chunks);
}

static void fill(uint8_t *bytes)
{
	for (size_t i = 0; i < SIZE; i++)
		bytes[i] = (uint8_t)(i * 2654435761u >> 20);
	memset(bytes + 40 * GRID, 0, 3 * GRID);
}

static struct content_runs list(struct content_run *runs, size_t count)
{
	return (struct content_runs){ .items = runs, .count = count };
}

struct asked {
	uint64_t offset, size; /* of the partition, of the content */
	struct content_run runs[2];
};

static int identity(const struct disk *d, const struct asked *a, uint8_t *out)
{
	struct content_run runs[2] = { a->runs[0], a->runs[1] };
	const struct content_runs l = list(runs, a->runs[1].length ? 2 : 1);
	struct err err = { 0 };

	return content_identity(&d->of, a->offset, &l, a->size, out, &err);
}

/* All of different contents, or of the same in another form; none may be like another. */
static const struct asked different[] = {
	{ 0, 5000, { { 0, 0, 5000 } } },
	{ 0, 5001, { { 0, 0, 5000 } } },    /* a zero more */
	{ 0, 5000, { { 0, 0, 4999 } } },    /* a zero at its end */
	{ 0, 5001, { { 1, 0, 5000 } } },    /* a zero in front */
	{ 0, 5000, { { 0, 1, 5000 } } },    /* a byte further */
	{ 1, 5000, { { 0, 1, 5000 } } },    /* … and another */
	{ 0, 5000, { { 0, GRID, 5000 } } }, /* other chunks */
	{ 0, 9000, { { 0, 0, 5000 }, { 5000, 5000, 4000 } } },
	{ 0, 9000, { { 0, 0, 5000 }, { 5000, 5001, 4000 } } },
	{ 0, 9000, { { 0, 0, 9000 } } },
	{ 0, 100, { { 0, 40 * GRID, 100 } } },               /* zeros */
	{ 0, 100, { { 0, BLOCKS *GRID, 100 } } },            /* the last, short chunk */
	{ 0, 280 * GRID, { { 0, 10 * GRID, 280 * GRID } } }, /* two leaf nodes */
};

static void test_content_identity_differs_where_contents_do(void **state)
{
	CLEANUP_FREE uint8_t *bytes = malloc(SIZE);
	uint8_t ids[ARRAY_LEN(different)][CONTENT_IDENTITY_LEN];
	struct disk d;

	(void)state;
	assert_non_null(bytes);
	fill(bytes);
	open_disk(&d, bytes, SIZE, GRID);
	for (size_t i = 0; i < ARRAY_LEN(different); i++) {
		assert_int_equal(identity(&d, &different[i], ids[i]), 0);
		for (size_t k = 0; k < i; k++) {
			if (!memcmp(ids[i], ids[k], CONTENT_IDENTITY_LEN))
				fail_msg("%zu is like %zu", i, k);
		}
	}
	close_disk(&d);
}

/* Any byte of it makes it another; those beside it in other chunks do not, nor does the place of its partition. */
static void test_content_identity_is_of_its_bytes(void **state)
{
	static const struct asked file = { 0, 9000, { { 0, 8 * GRID + 100, 9000 } } };
	static const struct {
		uint64_t at;
		bool other;
	} changes[] = { { 8 * GRID + 100, true }, { 10 * GRID, true }, { 8 * GRID + 9099, true },
			{ 8 * GRID, true }, /* its chunk: as good as another */
			{ 7 * GRID, false },      { 11 * GRID, false } };
	CLEANUP_FREE uint8_t *bytes = malloc(SIZE);
	uint8_t first[CONTENT_IDENTITY_LEN], then[CONTENT_IDENTITY_LEN];
	struct asked elsewhere = file;
	struct disk d;

	(void)state;
	assert_non_null(bytes);
	fill(bytes);
	open_disk(&d, bytes, SIZE, GRID);
	assert_int_equal(identity(&d, &file, first), 0);
	elsewhere.offset = 100;
	elsewhere.runs[0].at -= 100;
	assert_int_equal(identity(&d, &elsewhere, then), 0);
	assert_memory_equal(first, then, sizeof(first));
	close_disk(&d);
	for (size_t i = 0; i < ARRAY_LEN(changes); i++) {
		bytes[changes[i].at] ^= 1;
		open_disk(&d, bytes, SIZE, GRID);
		bytes[changes[i].at] ^= 1;
		assert_int_equal(identity(&d, &file, then), 0);
		assert_int_equal(memcmp(first, then, sizeof(first)) != 0, changes[i].other);
		close_disk(&d);
	}
}

static void test_content_identity_has_none_beyond_the_volume(void **state)
{
	static const struct asked outside[] = {
		{ 0, 101, { { 0, BLOCKS * GRID + GRID, 1 } } },
		{ SIZE, 5000, { { 0, 4096, 5000 } } },
		{ 0, 5000, { { 0, 0, SIZE + GRID } } },
		{ UINT64_MAX - 5, 10, { { 0, 6, 1 } } },
		{ UINT64_MAX - 5, 10, { { 0, 0, 10 } } },
	};
	CLEANUP_FREE uint8_t *bytes = malloc(SIZE);
	uint8_t id[CONTENT_IDENTITY_LEN];
	struct disk d;

	(void)state;
	assert_non_null(bytes);
	fill(bytes);
	open_disk(&d, bytes, SIZE, GRID);
	for (size_t i = 0; i < ARRAY_LEN(outside); i++) {
		if (identity(&d, &outside[i], id) >= 0)
			fail_msg("case %zu has an identity", i);
	}
	close_disk(&d);
}

/* ---- identity_memo ---- */

static char folder[] = "/tmp/godwit-test-identities-XXXXXX";

static int without_state(void **state)
{
	static const char *const names[] = { "scan.db", "scan.db-wal", "scan.db-shm" };
	char path[sizeof(folder) + 20];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
		unlink(path);
	}
	return 0;
}

static void numbered(unsigned n, uint8_t out[32])
{
	memset(out, 7, 32);
	memcpy(out, &n, sizeof(n));
}

static uint64_t count(struct scan_state *s)
{
	struct db_conn *c = db_read(scan_state_db(s));
	uint64_t n = 0;
	struct err err = { 0 };

	assert_int_equal(db_number(c, &n, "SELECT COUNT(*) FROM identities", DB_NO_VALUES, &err),
			 1);
	db_read_end(c);
	return n;
}

static void run_sql(struct scan_state *s, const char *sql, uint64_t value)
{
	struct db_conn *c;
	struct err err = { 0 };

	assert_int_equal(db_begin(scan_state_db(s), &c, &err), 0);
	assert_true(db_run(c, sql, DB_VALUES(db_i(value)), &err) >= 0);
	assert_int_equal(db_commit(c, &err), 0);
}

static void tidy(struct scan_state *s)
{
	struct db_conn *c;
	struct err err = { 0 };

	assert_int_equal(db_begin(scan_state_db(s), &c, &err), 0);
	assert_int_equal(identity_memo_tidy(c, &err), 0);
	assert_int_equal(db_commit(c, &err), 0);
}

static void test_identity_memo_remembers(void **state)
{
	uint8_t id[32], sha256[32], got[32];
	struct scan_state *s;
	struct err err = { 0 };

	(void)state;
	for (int again = 0; again < 2; again++) {
		struct identity_memo *m;

		assert_int_equal(scan_state_open(&s, folder, NULL, &err), 0);
		m = identity_memo_new(s);
		for (unsigned n = 0; n < 1000 && !again; n++) {
			numbered(n, id);
			numbered(n % 10 + 5000, sha256); /* several are of one content */
			identity_memo_add(m, id, n % 10 + 1, sha256);
		}
		assert_int_equal(identity_memo_flush(m, &err), 0);
		for (unsigned n = 0; n < 1100; n++) {
			numbered(n, id);
			numbered(n % 10 + 5000, sha256);
			assert_int_equal(identity_memo_find(m, id, n % 10 + 1, got), n < 1000);
			if (n < 1000)
				assert_memory_equal(got, sha256, 32);
			assert_false(identity_memo_find(m, id, n % 10 + 2, got));
		}
		identity_memo_free(m);
		scan_state_close(s);
	}
}

/* What is in no snapshot any more goes, and so does what is old. */
static void test_identity_memo_forgets(void **state)
{
	struct scan_state *s;
	struct identity_memo *m;
	uint8_t id[32], sha256[32];
	struct err err = { 0 };

	(void)state;
	assert_int_equal(scan_state_open(&s, folder, NULL, &err), 0);
	m = identity_memo_new(s);
	for (unsigned n = 0; n < 30; n++) {
		numbered(n, id);
		numbered(n % 3, sha256);
		identity_memo_add(m, id, 1, sha256);
	}
	assert_int_equal(identity_memo_flush(m, &err), 0);
	for (uint64_t content = 1; content <= 2; content++)
		run_sql(s,
			"INSERT INTO places (id, partition_id, inode, path, stream, content, "
			"first) "
			"VALUES ($1, 1, 1, '', '', $1, 1)",
			content);
	tidy(s);
	assert_int_equal(count(s), 20);
	run_sql(s, "UPDATE identities SET entered = $1 WHERE content = 1",
		clock_wall_ms() - 91ULL * 24 * 3600 * 1000);
	tidy(s);
	assert_int_equal(count(s), 10);
	/* Whoever reads it again keeps it. */
	numbered(1, id);
	numbered(1, sha256);
	identity_memo_add(m, id, 1, sha256);
	assert_int_equal(identity_memo_flush(m, &err), 0);
	assert_int_equal(count(s), 10);
	identity_memo_free(m);
	scan_state_close(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_content_identity_differs_where_contents_do),
		cmocka_unit_test(test_content_identity_is_of_its_bytes),
		cmocka_unit_test(test_content_identity_has_none_beyond_the_volume),
		cmocka_unit_test_teardown(test_identity_memo_remembers, without_state),
		cmocka_unit_test_teardown(test_identity_memo_forgets, without_state),
	};
	int failed;

	if (!mkdtemp(folder))
		return 1;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	rmdir(folder);
	return failed;
}
