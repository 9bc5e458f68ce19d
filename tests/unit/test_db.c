/* db: transactions, durability across a reopen, migrations, damaged and newer files, a full disk. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/io.h"
#include "mgmt-server/catalogue/catalogue_records.h"
#include "mgmt-server/catalogue/catalogue_schema.h"
#include "mgmt-server/catalogue/db.h"

static const struct db_migration steps[] = {
	{ 1, "one", "CREATE TABLE t (k TEXT PRIMARY KEY, n BIGINT);" },
	{ 2, "two",
	  "ALTER TABLE t ADD COLUMN d DOUBLE PRECISION; INSERT INTO t VALUES ('made', 2, 0.5);" },
	{ 3, "broken", "CREATE TABLE u (k TEXT); INSERT INTO nothing VALUES (1);" },
};

static char folder[] = "/tmp/godwit-db-XXXXXX";
static char path[64];

static int set_up(void **state)
{
	(void)state;
	snprintf(path, sizeof(path), "%s/db", folder);
	return 0;
}

static int tear_down(void **state)
{
	static const char *const ends[] = { "", "-wal", "-shm" };
	char name[80];
	size_t i;

	(void)state;
	for (i = 0; i < 3; i++) {
		snprintf(name, sizeof(name), "%s%s", path, ends[i]);
		unlink(name);
	}
	return 0;
}

static uint64_t count(struct db *db)
{
	CLEANUP(db_read_end) struct db_conn *c = db_read(db);
	uint64_t n = 0;

	assert_int_equal(db_number(c, &n, "SELECT COUNT(*) FROM t", DB_NO_VALUES, NULL), 1);
	return n;
}

static int add(struct db_conn *c, const char *key, uint64_t n, struct err *err)
{
	return db_run(c, "INSERT INTO t (k, n, d) VALUES ($1, $2, $3)",
		      DB_VALUES(db_t(key), db_i(n), db_null()), err);
}

static void test_db_commit_and_abort(void **state)
{
	struct err err = { 0 };
	struct db_conn *c;
	struct db *db;

	(void)state;
	assert_int_equal(db_open(&db, path, steps, 2, &err), 0);
	assert_int_equal(count(db), 1);
	assert_int_equal(db_begin(db, &c, &err), 0);
	assert_int_equal(add(c, "a", 1, &err), 1);
	assert_int_equal(count(db), 1); /* readers do not see it yet, and do not wait */
	assert_int_equal(db_commit(c, &err), 0);
	assert_int_equal(count(db), 2);

	assert_int_equal(db_begin(db, &c, &err), 0);
	assert_int_equal(add(c, "b", 1, &err), 1);
	db_abort(c);
	assert_int_equal(count(db), 2);

	assert_int_equal(db_begin(db, &c, &err), 0);
	assert_int_equal(add(c, "a", 1, &err), -EEXIST);
	db_abort(c);
	db_close(db);

	assert_int_equal(db_open(&db, path, steps, 2, &err), 0);
	assert_int_equal(count(db), 2);
	db_close(db);
}

struct seen {
	char key[16];
	bool d_null;
	double d;
};

static int see(void *arg, const struct db_row *row, struct err *err)
{
	struct seen *seen = arg;

	(void)err;
	db_column_copy(row, 0, seen->key, sizeof(seen->key));
	seen->d_null = db_column_null(row, 1);
	seen->d = db_column_double(row, 1);
	return DB_STOP;
}

static void test_db_values(void **state)
{
	struct seen seen = { .d = 9 };
	struct err err = { 0 };
	struct db_conn *c;
	struct db *db;

	(void)state;
	assert_int_equal(db_open(&db, path, steps, 2, &err), 0);
	c = db_read(db);
	assert_int_equal(
		db_each(c, see, &seen, "SELECT k, d FROM t WHERE n = $1", DB_VALUES(db_i(2)), &err),
		1);
	assert_string_equal(seen.key, "made");
	assert_false(seen.d_null);
	assert_true(seen.d == 0.5);
	assert_int_equal(db_each(c, see, &seen, "SELECT k, d FROM t WHERE k = $1",
				 DB_VALUES(db_t("' OR 1=1 --")), &err),
			 0);
	db_read_end(c);
	db_close(db);
}

static void test_db_migrations(void **state)
{
	struct err err = { 0 };
	struct db *db = NULL;

	(void)state;
	assert_int_equal(db_open(&db, path, steps, 1, &err), 0);
	db_close(db);
	assert_true(db_open(&db, path, steps, 3, &err) < 0);
	assert_non_null(strstr(err_text(&err), "migration 3 (broken)"));
	/* The second one stands, nothing of the third is left. */
	assert_int_equal(db_open(&db, path, steps, 2, &err), 0);
	assert_int_equal(count(db), 1);
	db_close(db);
	assert_int_equal(db_open(&db, path, steps, 1, &err), -EPROTO);
	assert_non_null(strstr(err_text(&err), "newer"));
}

static void test_db_damaged(void **state)
{
	struct err err = { 0 };
	struct db *db = NULL;

	(void)state;
	assert_int_equal(
		io_replace_file(path, "this is no database, whatever it says", 37, 0600, &err), 0);
	assert_int_equal(db_open(&db, path, steps, 2, &err), -EBADMSG);
}

static void test_db_full(void **state)
{
	struct err err = { 0 };
	struct db_conn *c;
	struct db *db;
	uint64_t before, n;
	char key[32];
	int r = 0;

	(void)state;
	assert_int_equal(db_open(&db, path, steps, 2, &err), 0);
	assert_int_equal(db_begin(db, &c, &err), 0);
	assert_true(db_number(c, &n, "PRAGMA max_page_count = 12", DB_NO_VALUES, &err) >= 0);
	assert_int_equal(db_commit(c, &err), 0);
	before = count(db);
	assert_int_equal(db_begin(db, &c, &err), 0);
	for (n = 0; n < 100000 && r >= 0; n++) {
		snprintf(key, sizeof(key), "a key that takes some room %llu",
			 (unsigned long long)n % 10000);
		key[31] = '\0';
		r = db_run(c, "INSERT INTO t (k, n) VALUES ($1 || $2, 0)",
			   DB_VALUES(db_t(key), db_i(n)), &err);
	}
	assert_int_equal(r, -ENOSPC);
	assert_int_equal(db_commit(c, &err), -ENOSPC); /* SQLite rolled back by itself */
	assert_int_equal(count(db), before);
	assert_int_equal(db_begin(db, &c, &err), 0);
	assert_int_equal(add(c, "small", 1, &err), 1);
	assert_int_equal(db_commit(c, &err), 0);
	db_close(db);
}

static void test_db_schema_and_audit_chain(void **state)
{
	struct catalogue_audit entry = {
		.at_ms = 1, .actor = "a", .address = "", .action = "x", .object = "o", .detail = ""
	};
	struct err err = { 0 };
	struct db_conn *c;
	struct db *db;
	int i;

	(void)state;
	assert_int_equal(db_open(&db, path, catalogue_schema, catalogue_schema_count, &err), 0);
	assert_int_equal(db_begin(db, &c, &err), 0);
	for (i = 0; i < 5; i++)
		assert_int_equal(catalogue_audit_add(c, &entry, &err), 0);
	assert_int_equal(catalogue_audit_check(c, &err), 0);
	assert_int_equal(db_commit(c, &err), 0);

	assert_int_equal(db_begin(db, &c, &err), 0);
	assert_int_equal(
		db_run(c, "UPDATE audit SET actor = 'b' WHERE seq = 3", DB_NO_VALUES, &err), 1);
	assert_int_equal(catalogue_audit_check(c, &err), -EBADMSG);
	assert_non_null(strstr(err_text(&err), "entry 3"));
	db_abort(c);
	assert_int_equal(db_begin(db, &c, &err), 0);
	assert_int_equal(db_run(c, "DELETE FROM audit WHERE seq = 2", DB_NO_VALUES, &err), 1);
	assert_int_equal(catalogue_audit_check(c, &err), -EBADMSG);
	db_abort(c);
	db_close(db);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_db_commit_and_abort),
		TEST(test_db_values),
		TEST(test_db_migrations),
		TEST(test_db_damaged),
		TEST(test_db_full),
		TEST(test_db_schema_and_audit_chain),
	};
	int failed;

	if (!mkdtemp(folder))
		return 1;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	rmdir(folder);
	return failed;
}
