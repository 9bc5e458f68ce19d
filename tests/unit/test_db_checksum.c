/* db_checksum: a flipped bit anywhere in the catalogue's file or its log is found and named, never an answer. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/io.h"
#include "mgmt-server/catalogue/db.h"
#include "mgmt-server/catalogue/db_checksum.h"

static const struct db_migration steps[] = {
	{ 1, "one",
	  "CREATE TABLE t (k TEXT PRIMARY KEY, n BIGINT NOT NULL); CREATE INDEX t_n ON t (n);" },
};

enum { ROWS = 400, LOG_ROWS = 12, FILE_MAX_BYTES = 4 << 20, FRAME = 24 + 4096 };

static char folder[] = "/tmp/godwit-checksum-XXXXXX";
static char path[64], copy[64];

static int set_up(void **state)
{
	(void)state;
	snprintf(path, sizeof(path), "%s/db", folder);
	snprintf(copy, sizeof(copy), "%s/copy", folder);
	return 0;
}

static int tear_down(void **state)
{
	static const char *const ends[] = { "", "-wal", "-shm" };
	char name[80];

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		snprintf(name, sizeof(name), "%s%s", path, ends[i]);
		unlink(name);
		snprintf(name, sizeof(name), "%s%s", copy, ends[i]);
		unlink(name);
	}
	return 0;
}

static struct db *open_db(const char *file)
{
	struct err err = { 0 };
	struct db *db;

	if (db_open(&db, file, steps, 1, &err) < 0)
		fail_msg("%s", err_text(&err));
	return db;
}

static void add(struct db *db, unsigned from, unsigned to)
{
	struct err err = { 0 };
	struct db_conn *c;
	char key[48];

	assert_int_equal(db_begin(db, &c, &err), 0);
	for (unsigned i = from; i < to; i++) {
		snprintf(key, sizeof(key), "the key of row number %u, a text", i);
		assert_int_equal(db_run(c, "INSERT INTO t (k, n) VALUES ($1, $2)",
					DB_VALUES(db_t(key), db_i(i * 7919)), &err),
				 1);
	}
	assert_int_equal(db_commit(c, &err), 0);
}

static int count(struct db *db, uint64_t *n, struct err *err)
{
	CLEANUP(db_read_end) struct db_conn *c = db_read(db);

	return db_number(c, n, "SELECT COUNT(*) FROM t", DB_NO_VALUES, err);
}

static void flip(const char *file, size_t at)
{
	int fd = open(file, O_RDWR | O_CLOEXEC);
	uint8_t byte = 0;

	assert_true(fd >= 0 && pread(fd, &byte, 1, (off_t)at) == 1);
	byte ^= (uint8_t)(1u << at % 8);
	assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
	close(fd);
}

static size_t take(const char *file, uint8_t **data)
{
	struct err err = { 0 };
	size_t len;

	assert_int_equal(io_read_file(file, FILE_MAX_BYTES, data, &len, &err), 0);
	return len;
}

static void give(const char *file, const uint8_t *data, size_t len)
{
	struct err err = { 0 };

	assert_int_equal(io_replace_file(file, data, len, 0600, &err), 0);
}

static void test_db_checksum_finds_a_flip_in_every_page(void **state)
{
	struct db *db = open_db(path);
	uint8_t *data;
	size_t len, at;

	(void)state;
	add(db, 0, ROWS);
	db_close(db);
	len = take(path, &data);
	assert_true(len >= 12 * 4096);
	for (at = 0; at < len; at += at % 4096 < 120 ? 5 : 331) {
		char page[32];
		struct err err = { 0 };

		flip(path, at);
		if (db_open(&db, path, steps, 1, &err) != -EBADMSG)
			fail_msg("a flip at %zu was not found: %s", at, err_text(&err));
		snprintf(page, sizeof(page), "page %zu ", at / 4096 + 1);
		if (at >= 100 && !strstr(err_text(&err), page))
			fail_msg("a flip at %zu: %s", at, err_text(&err));
		give(path, data, len);
	}
	db = open_db(path);
	db_close(db);
	free(data);
}

/* A killed server's log: what is lost without a word is at most what a power cut may take, the last transaction. */
static void test_db_checksum_finds_what_rotted_in_the_log(void **state)
{
	struct db *db = open_db(path);
	uint8_t *data, *log;
	char name[80], log_path[80];
	size_t len, log_len, at, found = 0, tried = 0;

	(void)state;
	db_close(db);
	db = open_db(path);
	for (unsigned i = 0; i < LOG_ROWS; i++)
		add(db, i, i + 1);
	snprintf(name, sizeof(name), "%s-wal", path);
	snprintf(log_path, sizeof(log_path), "%s-wal", copy);
	len = take(path, &data);
	log_len = take(name, &log);
	db_close(db);
	for (at = 0; at < log_len; at += at % FRAME < 60 ? 3 : 499) {
		struct err err = { 0 };
		uint64_t n = 0;
		int r;

		give(copy, data, len);
		give(log_path, log, log_len);
		assert_int_equal(db_checksum_wal(copy, &err), 0);
		flip(log_path, at);
		tried++;
		r = db_checksum_wal(copy, &err);
		if (r == -EBADMSG) {
			found++;
			assert_non_null(strstr(err_text(&err), "-wal"));
			continue;
		}
		assert_int_equal(r, 0);
		db = open_db(copy);
		assert_true(count(db, &n, &err) >= 0);
		if (n + 1 < LOG_ROWS)
			fail_msg("a flip at %zu of %zu took %zu rows", at, log_len,
				 (size_t)(LOG_ROWS - n));
		db_close(db);
	}
	assert_true(found * 10 > tried * 7);
	free(data);
	free(log);
}

static void test_db_checksum_finds_a_flip_under_a_running_server(void **state)
{
	struct db *db = open_db(path);
	struct err err = { 0 };
	char name[80];

	(void)state;
	add(db, 0, ROWS);
	db_close(db);
	db = open_db(path);
	assert_int_equal(db_check(db, &err), 0);
	flip(path, 5 * 4096 + 700);
	assert_int_equal(db_check(db, &err), -EBADMSG);
	assert_non_null(strstr(err_text(&err), "page 6 "));
	flip(path, 5 * 4096 + 700);
	db_close(db);

	db = open_db(path);
	add(db, ROWS, ROWS + 1);
	assert_int_equal(db_check(db, &err), 0);
	snprintf(name, sizeof(name), "%s-wal", path);
	flip(name, 32 + 24 + 3000);
	assert_int_equal(db_check(db, &err), -EBADMSG);
	assert_non_null(strstr(err_text(&err), "log's frame 0 "));
	db_close(db);
}

/* A catalogue that an earlier godwit-server wrote. */
static void test_db_checksum_comes_to_older_files(void **state)
{
	enum db_checksum_state kind;
	struct err err = { 0 };
	sqlite3 *sqlite;
	struct db *db;
	uint64_t n = 0;

	(void)state;
	assert_int_equal(sqlite3_open(path, &sqlite), SQLITE_OK);
	assert_int_equal(
		sqlite3_exec(sqlite,
			     "PRAGMA journal_mode=WAL; CREATE TABLE schema_history (number BIGINT "
			     "PRIMARY KEY, what TEXT NOT NULL); INSERT INTO schema_history VALUES "
			     "(1, 'one'); CREATE TABLE t (k TEXT PRIMARY KEY, n BIGINT NOT NULL); "
			     "CREATE INDEX t_n ON t (n); INSERT INTO t VALUES ('old', 1);",
			     NULL, NULL, NULL),
		SQLITE_OK);
	sqlite3_close(sqlite);
	assert_int_equal(db_checksum_state(path, &kind, &err), 0);
	assert_int_equal(kind, DB_CHECKSUM_PLAIN);
	db = open_db(path);
	add(db, 0, ROWS);
	assert_true(count(db, &n, &err) >= 0);
	assert_int_equal(n, ROWS + 1);
	db_close(db);
	assert_int_equal(db_checksum_state(path, &kind, &err), 0);
	assert_int_equal(kind, DB_CHECKSUM_SEALED);
	flip(path, 3000);
	assert_int_equal(db_open(&db, path, steps, 1, &err), -EBADMSG);
}

static void test_db_checksum_of_a_copy(void **state)
{
	struct db *db = open_db(path), *other;
	struct err err = { 0 };
	uint64_t n = 0;

	(void)state;
	add(db, 0, ROWS);
	assert_int_equal(db_copy(db, copy, &err), 0);
	add(db, ROWS, ROWS + 5);
	other = open_db(copy);
	assert_true(count(other, &n, &err) >= 0);
	assert_int_equal(n, ROWS);
	db_close(other);
	assert_int_equal(db_copy(db, copy, &err), 0);
	other = open_db(copy);
	assert_true(count(other, &n, &err) >= 0);
	assert_int_equal(n, ROWS + 5);
	db_close(other);
	db_close(db);
	flip(copy, 2 * 4096 + 17);
	assert_int_equal(db_open(&db, copy, steps, 1, &err), -EBADMSG);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_db_checksum_finds_a_flip_in_every_page),
		TEST(test_db_checksum_finds_what_rotted_in_the_log),
		TEST(test_db_checksum_finds_a_flip_under_a_running_server),
		TEST(test_db_checksum_comes_to_older_files),
		TEST(test_db_checksum_of_a_copy),
	};
	int failed;

	if (!mkdtemp(folder))
		return 1;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	rmdir(folder);
	return failed;
}
