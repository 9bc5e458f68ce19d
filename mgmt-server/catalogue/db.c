/* db.c - see db.h. Only this file and db_checksum.c include sqlite3.h.
 *
 * Locks: `lock` guards the lists of idle connections; the writer is lent out like a reader, so waiting for it is
 * waiting for `freed`.
 */
#include "mgmt-server/catalogue/db.h"
#include "mgmt-server/catalogue/db_checksum.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { READERS = 4, STATEMENTS_MAX = 192 };

struct db_conn {
	struct db *db;
	sqlite3 *sqlite;
	bool writes, lent;
	size_t statement_count;
	struct {
		const char *sql; /* a string literal: compared by address first */
		sqlite3_stmt *statement;
	} statements[STATEMENTS_MAX];
};

struct db {
	char *path;
	struct db_checksum *checksum;
	uint64_t commits; /* with the lock */
	pthread_mutex_t lock;
	pthread_cond_t freed;
	struct db_conn writer;
	struct db_conn readers[READERS];
};

struct db_row {
	sqlite3_stmt *statement;
};

static int code_of(sqlite3 *sqlite)
{
	int extended = sqlite3_extended_errcode(sqlite);

	if (sqlite3_system_errno(sqlite) == ENOSPC || sqlite3_system_errno(sqlite) == EDQUOT)
		return ENOSPC;
	if (extended == SQLITE_IOERR_DATA)
		return EBADMSG;
	switch (extended & 0xff) {
	case SQLITE_FULL:
		return ENOSPC;
	case SQLITE_NOMEM:
		return ENOMEM;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return EBADMSG;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return EBUSY;
	case SQLITE_READONLY:
		return EROFS;
	case SQLITE_CANTOPEN:
	case SQLITE_PERM:
		return EACCES;
	case SQLITE_CONSTRAINT:
		return extended == SQLITE_CONSTRAINT_UNIQUE ||
				       extended == SQLITE_CONSTRAINT_PRIMARYKEY
			       ? EEXIST
			       : EINVAL;
	default:
		return EIO;
	}
}

static int fail(struct db_conn *conn, const char *sql, struct err *err)
{
	int code = code_of(conn->sqlite);
	char damage[160];

	if (code == EBADMSG && db_checksum_damage(conn->db->checksum, damage, sizeof(damage)))
		return err_say(err, code, "catalogue: %s is damaged: %s", conn->db->path, damage);
	/* The first words are enough to find the statement in the source. */
	return err_say(err, code, "catalogue: %s (in: %.60s)", sqlite3_errmsg(conn->sqlite), sql);
}

/* ---- Statements ---- */

static int prepare(struct db_conn *conn, const char *sql, sqlite3_stmt **out, struct err *err)
{
	size_t i;

	for (i = 0; i < conn->statement_count; i++) {
		if (conn->statements[i].sql == sql) {
			*out = conn->statements[i].statement;
			return 0;
		}
	}
	assert(conn->statement_count < STATEMENTS_MAX);
	if (sqlite3_prepare_v3(conn->sqlite, sql, -1, SQLITE_PREPARE_PERSISTENT, out, NULL) !=
	    SQLITE_OK)
		return fail(conn, sql, err);
	conn->statements[conn->statement_count].sql = sql;
	conn->statements[conn->statement_count++].statement = *out;
	return 0;
}

static int bind_value(sqlite3_stmt *statement, int index, const struct db_value *value)
{
	switch (value->type) {
	case DB_VALUE_INT:
		return sqlite3_bind_int64(statement, index, value->number);
	case DB_VALUE_DOUBLE:
		return sqlite3_bind_double(statement, index, value->real);
	case DB_VALUE_TEXT:
		return sqlite3_bind_text(statement, index, value->text, -1, SQLITE_STATIC);
	default:
		return sqlite3_bind_null(statement, index);
	}
}

static int bind_all(struct db_conn *conn, sqlite3_stmt *statement, const char *sql,
		    const struct db_value *values, size_t n, struct err *err)
{
	char name[24];
	size_t i;
	int index;

	assert((size_t)sqlite3_bind_parameter_count(statement) == n);
	for (i = 0; i < n; i++) {
		/* SQLite numbers $NAME by first appearance; PostgreSQL by the number in it. */
		snprintf(name, sizeof(name), "$%zu", i + 1);
		index = sqlite3_bind_parameter_index(statement, name);
		assert(index > 0);
		if (bind_value(statement, index, &values[i]) != SQLITE_OK)
			return fail(conn, sql, err);
	}
	return 0;
}

static int step_rows(struct db_conn *conn, sqlite3_stmt *statement, db_each_fn *fn, void *arg,
		     const char *sql, struct err *err)
{
	struct db_row row = { .statement = statement };
	int seen = 0, r, s;

	while ((s = sqlite3_step(statement)) == SQLITE_ROW) {
		seen++;
		r = fn(arg, &row, err);
		if (r < 0)
			return r;
		if (r == DB_STOP)
			return seen;
	}
	return s == SQLITE_DONE ? seen : fail(conn, sql, err);
}

int db_each(struct db_conn *conn, db_each_fn *fn, void *arg, const char *sql,
	    const struct db_value *values, size_t n, struct err *err)
{
	sqlite3_stmt *statement;
	int r;

	r = prepare(conn, sql, &statement, err);
	if (r < 0)
		return r;
	r = bind_all(conn, statement, sql, values, n, err);
	if (r == 0)
		r = step_rows(conn, statement, fn, arg, sql, err);
	sqlite3_reset(statement);
	sqlite3_clear_bindings(statement);
	return r;
}

static int no_row(void *arg, const struct db_row *row, struct err *err)
{
	(void)arg;
	(void)row;
	(void)err;
	return 0;
}

int db_run(struct db_conn *conn, const char *sql, const struct db_value *values, size_t n,
	   struct err *err)
{
	int r;

	assert(conn->writes);
	r = db_each(conn, no_row, NULL, sql, values, n, err);
	return r < 0 ? r : sqlite3_changes(conn->sqlite);
}

static int take_number(void *arg, const struct db_row *row, struct err *err)
{
	(void)err;
	*(uint64_t *)arg = db_column_int(row, 0);
	return DB_STOP;
}

int db_number(struct db_conn *conn, uint64_t *value, const char *sql, const struct db_value *values,
	      size_t n, struct err *err)
{
	return db_each(conn, take_number, value, sql, values, n, err);
}

bool db_column_null(const struct db_row *row, int column)
{
	return sqlite3_column_type(row->statement, column) == SQLITE_NULL;
}

uint64_t db_column_int(const struct db_row *row, int column)
{
	return (uint64_t)sqlite3_column_int64(row->statement, column);
}

double db_column_double(const struct db_row *row, int column)
{
	return sqlite3_column_double(row->statement, column);
}

const char *db_column_text(const struct db_row *row, int column)
{
	const char *text = (const char *)sqlite3_column_text(row->statement, column);

	return text ? text : "";
}

void db_column_copy(const struct db_row *row, int column, char *into, size_t len)
{
	snprintf(into, len, "%s", db_column_text(row, column));
}

/* ---- Connections ---- */

static int run_script(struct db_conn *conn, const char *sql, struct err *err)
{
	return sqlite3_exec(conn->sqlite, sql, NULL, NULL, NULL) == SQLITE_OK
		       ? 0
		       : fail(conn, sql, err);
}

/* For a file that is new: every page of it keeps bytes for its checksum. Without effect on others. */
static void make_room(sqlite3 *sqlite)
{
	int reserved = DB_CHECKSUM_RESERVED;

	sqlite3_exec(sqlite, "PRAGMA page_size=4096", NULL, NULL, NULL);
	sqlite3_file_control(sqlite, "main", SQLITE_FCNTL_RESERVE_BYTES, &reserved);
}

static int conn_open(struct db_conn *conn, struct db *db, const char *path, bool writes,
		     struct err *err)
{
	int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_READWRITE;

	conn->db = db;
	conn->writes = writes;
	if (sqlite3_open_v2(path, &conn->sqlite, flags | (writes ? SQLITE_OPEN_CREATE : 0),
			    db_checksum_vfs(db->checksum)) != SQLITE_OK) {
		int code = conn->sqlite ? code_of(conn->sqlite) : ENOMEM;

		return err_say(err, code, "open catalogue %s: %s", path,
			       conn->sqlite ? sqlite3_errmsg(conn->sqlite) : "out of memory");
	}
	sqlite3_extended_result_codes(conn->sqlite, 1);
	sqlite3_busy_timeout(conn->sqlite, 10000);
	make_room(conn->sqlite);
	return run_script(conn,
			  "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; "
			  "PRAGMA foreign_keys=ON; PRAGMA cache_size=-2048;",
			  err);
}

static void conn_close(struct db_conn *conn)
{
	size_t i;

	for (i = 0; i < conn->statement_count; i++)
		sqlite3_finalize(conn->statements[i].statement);
	sqlite3_close(conn->sqlite);
}

static struct db_conn *lend(struct db *db, struct db_conn *first, size_t n)
{
	struct db_conn *conn = NULL;
	size_t i;

	pthread_mutex_lock(&db->lock);
	while (!conn) {
		for (i = 0; i < n && !conn; i++) {
			if (!first[i].lent)
				conn = &first[i];
		}
		if (!conn)
			pthread_cond_wait(&db->freed, &db->lock);
	}
	conn->lent = true;
	pthread_mutex_unlock(&db->lock);
	return conn;
}

static void give_back(struct db_conn *conn)
{
	pthread_mutex_lock(&conn->db->lock);
	conn->lent = false;
	pthread_cond_broadcast(&conn->db->freed);
	pthread_mutex_unlock(&conn->db->lock);
}

struct db_conn *db_read(struct db *db)
{
	struct db_conn *conn = lend(db, db->readers, READERS);

	/* If this fails, so does the first statement, with a better place for its message. */
	sqlite3_exec(conn->sqlite, "BEGIN", NULL, NULL, NULL);
	return conn;
}

void db_read_end(struct db_conn *conn)
{
	if (!sqlite3_get_autocommit(conn->sqlite))
		sqlite3_exec(conn->sqlite, "ROLLBACK", NULL, NULL, NULL);
	give_back(conn);
}

int db_begin(struct db *db, struct db_conn **out, struct err *err)
{
	struct db_conn *conn = lend(db, &db->writer, 1);
	int r = run_script(conn, "BEGIN IMMEDIATE", err);

	if (r < 0) {
		give_back(conn);
		return r;
	}
	*out = conn;
	return 0;
}

void db_abort(struct db_conn *conn)
{
	/* SQLite may have rolled back by itself (full disk). */
	if (!sqlite3_get_autocommit(conn->sqlite))
		sqlite3_exec(conn->sqlite, "ROLLBACK", NULL, NULL, NULL);
	give_back(conn);
}

int db_commit(struct db_conn *conn, struct err *err)
{
	int r = sqlite3_get_autocommit(conn->sqlite)
			? err_say(err, ENOSPC, "catalogue: the transaction was rolled back")
			: run_script(conn, "COMMIT", err);

	if (r < 0) {
		db_abort(conn);
		return r;
	}
	pthread_mutex_lock(&conn->db->lock);
	conn->db->commits++;
	pthread_mutex_unlock(&conn->db->lock);
	give_back(conn);
	return 0;
}

bool db_damaged(struct db *db)
{
	char text[8];

	return db_checksum_damage(db->checksum, text, sizeof(text));
}

uint64_t db_commits(struct db *db)
{
	uint64_t n;

	pthread_mutex_lock(&db->lock);
	n = db->commits;
	pthread_mutex_unlock(&db->lock);
	return n;
}

/* ---- Schema ---- */

static int migrate_one(struct db *db, const struct db_migration *m, struct err *err)
{
	CLEANUP(db_abort) struct db_conn *conn = NULL;
	int r;

	r = db_begin(db, &conn, err);
	if (r < 0)
		return r;
	r = run_script(conn, m->sql, err);
	if (r == 0)
		r = db_run(conn, "INSERT INTO schema_history (number, what) VALUES ($1, $2)",
			   DB_VALUES(db_i((uint64_t)m->number), db_t(m->what)), err);
	if (r >= 0)
		r = db_commit(TAKE(conn), err);
	return r < 0 ? err_wrap(err, r, "migration %d (%s)", m->number, m->what) : 0;
}

static int migrate_all(struct db *db, const struct db_migration *migrations, size_t n,
		       struct err *err)
{
	uint64_t at = 0;
	size_t i;
	int r;

	r = run_script(&db->writer,
		       "CREATE TABLE IF NOT EXISTS schema_history "
		       "(number BIGINT PRIMARY KEY, what TEXT NOT NULL)",
		       err);
	if (r < 0)
		return r;
	r = db_number(&db->writer, &at, "SELECT COALESCE(MAX(number), 0) FROM schema_history",
		      DB_NO_VALUES, err);
	if (r < 0)
		return r;
	if (at > n)
		return err_say(
			err, EPROTO,
			"the catalogue has schema %llu, this program knows up to %zu: a newer "
			"godwit-server wrote it; use that one",
			(unsigned long long)at, n);
	for (i = at; i < n; i++) {
		assert(migrations[i].number == (int)i + 1);
		r = migrate_one(db, &migrations[i], err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int check_line(void *arg, const struct db_row *row, struct err *err)
{
	struct db *db = arg;
	char damage[160];

	if (strcmp(db_column_text(row, 0), "ok") == 0)
		return 0;
	if (db_checksum_damage(db->checksum, damage, sizeof(damage)))
		return err_say(err, EBADMSG, "the catalogue is damaged: %s", damage);
	return err_say(err, EBADMSG, "the catalogue is damaged: %s", db_column_text(row, 0));
}

/* A file from before there were checksums gets room for them, then all of them at once. */
static int give_checksums(const char *path, struct err *err)
{
	enum db_checksum_state state;
	sqlite3 *sqlite = NULL;
	int r = db_checksum_state(path, &state, err);

	if (r < 0 || state == DB_CHECKSUM_NEW || state == DB_CHECKSUM_SEALED)
		return r;
	if (sqlite3_open_v2(path, &sqlite, SQLITE_OPEN_READWRITE, NULL) == SQLITE_OK) {
		make_room(sqlite);
		sqlite3_exec(sqlite, "PRAGMA journal_mode=DELETE", NULL, NULL, NULL);
	}
	if (!sqlite || sqlite3_exec(sqlite, "VACUUM", NULL, NULL, NULL) != SQLITE_OK)
		r = err_say(err, sqlite ? code_of(sqlite) : ENOMEM, "make room for checksums: %s",
			    sqlite ? sqlite3_errmsg(sqlite) : "out of memory");
	sqlite3_close(sqlite);
	return r < 0 ? r : db_checksum_seal(path, err);
}

static int db_prepare(struct db *db, const char *path, const struct db_migration *migrations,
		      size_t n, struct err *err)
{
	size_t i;
	int r;

	r = give_checksums(path, err);
	if (r == 0)
		r = conn_open(&db->writer, db, path, true, err);
	if (r == 0)
		r = db_each(&db->writer, check_line, db, "PRAGMA quick_check(1)", DB_NO_VALUES,
			    err);
	if (r >= 0)
		r = migrate_all(db, migrations, n, err);
	for (i = 0; r >= 0 && i < READERS; i++)
		r = conn_open(&db->readers[i], db, path, false, err);
	return r < 0 ? err_wrap(err, r, "%s", path) : 0;
}

int db_open(struct db **out, const char *path, const struct db_migration *migrations, size_t n,
	    struct err *err)
{
	CLEANUP(db_close) struct db *db = calloc(1, sizeof(*db));
	int r;

	if (!db)
		return err_set(err, ENOMEM, "open catalogue %s", path);
	pthread_mutex_init(&db->lock, NULL);
	pthread_cond_init(&db->freed, NULL);
	db->path = strdup(path);
	if (!db->path)
		return err_set(err, ENOMEM, "open catalogue %s", path);
	r = db_checksum_new(&db->checksum, err);
	if (r == 0)
		r = db_prepare(db, path, migrations, n, err);
	if (r < 0)
		return r;
	*out = TAKE(db);
	return 0;
}

void db_close(struct db *db)
{
	size_t i;

	for (i = 0; i < READERS; i++)
		conn_close(&db->readers[i]);
	conn_close(&db->writer); /* last: it checkpoints and removes the WAL */
	db_checksum_free(db->checksum);
	free(db->path);
	pthread_cond_destroy(&db->freed);
	pthread_mutex_destroy(&db->lock);
	free(db);
}

/* ---- Whole files ---- */

int db_check(struct db *db, struct err *err)
{
	struct db_conn conn = { .db = db }; /* its own, so that nothing is answered from a cache */
	int r = conn_open(&conn, db, db->path, false, err);

	if (r == 0)
		r = db_each(&conn, check_line, db, "PRAGMA integrity_check(1)", DB_NO_VALUES, err);
	conn_close(&conn);
	return r < 0 ? r : 0;
}

/* One step: with the log, a reader that takes its time holds up no writer. */
static int copy_pages(sqlite3 *from, sqlite3 *to)
{
	sqlite3_backup *backup = sqlite3_backup_init(to, "main", from, "main");

	if (!backup)
		return sqlite3_errcode(to);
	sqlite3_backup_step(backup, -1);
	return sqlite3_backup_finish(backup);
}

int db_copy(struct db *db, const char *path, struct err *err)
{
	struct db_conn from = { .db = db };
	sqlite3 *to = NULL;
	int r;

	if (unlink(path) < 0 && errno != ENOENT)
		return err_set(err, errno, "remove %s", path);
	r = conn_open(&from, db, db->path, false, err);
	if (r == 0 && (sqlite3_open_v2(path, &to, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE,
				       db_checksum_vfs(db->checksum)) != SQLITE_OK ||
		       copy_pages(from.sqlite, to) != SQLITE_OK))
		r = to ? err_say(err, code_of(to), "copy the catalogue to %s: %s", path,
				 sqlite3_errmsg(to))
		       : err_set(err, ENOMEM, "copy the catalogue");
	sqlite3_close(to);
	conn_close(&from);
	return r;
}
