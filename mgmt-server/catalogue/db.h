/* db.h - the catalogue's database: SQLite behind functions that know nothing of Godwit's tables.
 *
 * One connection writes, a few read. A writer holds its connection from db_begin to db_commit, so transactions are
 * serial; readers see the state of the moment they began and never wait for a writer. Commits are durable when
 * db_commit returns (WAL, synchronous=FULL). SQL is the subset that SQLite and PostgreSQL share: $1 $2 … as
 * parameters, TEXT, BIGINT and DOUBLE PRECISION as types. Statements are kept prepared per connection.
 * Every page carries a checksum (db_checksum.h): what rotted is an error (-EBADMSG), never an answer.
 * Thread-safe, except that one db_conn belongs to one thread at a time. Source: SQLite 3.40 manual.
 */
#ifndef GODWIT_MGMT_SERVER_DB_H
#define GODWIT_MGMT_SERVER_DB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base.h"
#include "common/err.h"

struct db;
struct db_conn;
struct db_row;

/* One step of the schema's history; never changed once released. */
struct db_migration {
	int number; /* 1, 2, 3 … without gaps */
	const char *what;
	const char *sql; /* statements separated by ; */
};

/**
 * db_open(out, path, migrations, n, err):
 * Open or create the database file and bring its schema up to the last migration, each in a transaction of its own.
 *
 * A file from before the checksums gets them.
 *
 * Return 0; -EBADMSG for a damaged file; -EPROTO when the file was written by a newer program; or -errno.
 */
int db_open(struct db **out, const char *path, const struct db_migration *migrations, size_t n,
	    struct err *err);
void db_close(struct db *db);
DEFINE_CLEANUP(struct db *, db_close);

/**
 * db_check(db, err):
 * Read and check all of the file, past every cache.
 *
 * Return 0, -EBADMSG naming the damage, -errno.
 */
int db_check(struct db *db, struct err *err);

/* A copy of this moment in a file of its own, which takes the place of one that is there. */
int db_copy(struct db *db, const char *path, struct err *err);

/* Was a page read that does not match its checksum? */
bool db_damaged(struct db *db);

/* How many transactions were committed since it was opened. */
uint64_t db_commits(struct db *db);

/* A reading connection with a transaction; waits while all are lent. Never NULL. */
struct db_conn *db_read(struct db *db);
void db_read_end(struct db_conn *conn);
DEFINE_CLEANUP(struct db_conn *, db_read_end);

/* The writing connection with a transaction. Return 0 or -errno. */
int db_begin(struct db *db, struct db_conn **out, struct err *err);
/* Durable on 0. On failure everything was rolled back. Either way @conn is given back. */
int db_commit(struct db_conn *conn, struct err *err);
void db_abort(struct db_conn *conn);
DEFINE_CLEANUP(struct db_conn *, db_abort);

struct db_value {
	enum { DB_VALUE_NULL, DB_VALUE_INT, DB_VALUE_DOUBLE, DB_VALUE_TEXT } type;
	union {
		int64_t number;
		double real;
		const char *text; /* borrowed during the call */
	};
};

static inline struct db_value db_i(uint64_t number)
{
	return (struct db_value){ .type = DB_VALUE_INT, .number = (int64_t)number };
}

static inline struct db_value db_d(double real)
{
	return (struct db_value){ .type = DB_VALUE_DOUBLE, .real = real };
}

/* NULL and "" alike are stored as they are: NULL becomes SQL's NULL. */
static inline struct db_value db_t(const char *text)
{
	return (struct db_value){ .type = text ? DB_VALUE_TEXT : DB_VALUE_NULL, .text = text };
}

static inline struct db_value db_null(void)
{
	return (struct db_value){ .type = DB_VALUE_NULL };
}

/* Two arguments: the values of $1, $2 … and how many they are. */
#define DB_VALUES(...)                                                                             \
	(const struct db_value[]){ __VA_ARGS__ },                                                  \
		sizeof((const struct db_value[]){ __VA_ARGS__ }) / sizeof(struct db_value)
#define DB_NO_VALUES NULL, 0

/**
 * db_run(conn, sql, values, n, err):
 * Run a statement that returns no rows.
 *
 * Return how many rows changed (>= 0); -EEXIST when a row with that key is there; -ENOSPC for a full disk; -errno.
 */
int db_run(struct db_conn *conn, const char *sql, const struct db_value *values, size_t n,
	   struct err *err);

enum { DB_STOP = 1 }; /* a db_each function wants no more rows */
typedef int db_each_fn(void *arg, const struct db_row *row, struct err *err);

/* Call @fn for each row. Return how many rows it saw (>= 0), or -errno (its own too). */
int db_each(struct db_conn *conn, db_each_fn *fn, void *arg, const char *sql,
	    const struct db_value *values, size_t n, struct err *err);

/* The first column of the first row; *value stays when there is none. Return rows (0 or 1) or -errno. */
int db_number(struct db_conn *conn, uint64_t *value, const char *sql, const struct db_value *values,
	      size_t n, struct err *err);

/* Columns of a row, valid during the db_each_fn. */
bool db_column_null(const struct db_row *row, int column);
uint64_t db_column_int(const struct db_row *row, int column);
double db_column_double(const struct db_row *row, int column);
const char *db_column_text(const struct db_row *row, int column); /* NULL as "" */
/* Copy into a char[len]; a longer text is cut (keys are validated before they are stored). */
void db_column_copy(const struct db_row *row, int column, char *into, size_t len);

#endif
