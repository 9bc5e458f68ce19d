/* db_checksum.h - a checksum on every page of an SQLite file, under SQLite: what rotted is found when it is read.
 *
 * SQLite's own checks see broken structure, not a changed letter in a name. So each page keeps 8 reserved bytes at its
 * end: a magic number and the CRC-32C of the page's number and content, made when the page is written to the file and
 * compared whenever it is read. Pages in the write-ahead log are remembered by their CRC while the file is open; SQLite's
 * own checksums cover them at recovery, and db_checksum_wal says what recovery would silently drop.
 * One object per file; thread-safe. Source: SQLite 3.40 manual, "Database File Format" and sqlite3_io_methods.
 */
#ifndef GODWIT_MGMT_SERVER_DB_CHECKSUM_H
#define GODWIT_MGMT_SERVER_DB_CHECKSUM_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base.h"
#include "common/err.h"

enum { DB_CHECKSUM_PAGE = 4096, DB_CHECKSUM_RESERVED = 8 };

struct db_checksum;

int db_checksum_new(struct db_checksum **out, struct err *err);
/* After every connection through it was closed. */
void db_checksum_free(struct db_checksum *c);
DEFINE_CLEANUP(struct db_checksum *, db_checksum_free);

/* The name of the VFS, for sqlite3_open_v2. */
const char *db_checksum_vfs(const struct db_checksum *c);

/* What was found first, into char[len]: "page 7 (bytes 24576 to 28671) does not match its checksum"; false: nothing. */
bool db_checksum_damage(struct db_checksum *c, char *text, size_t len);

/**
 * db_checksum_state(path, state, err):
 * Has the file checksums?
 *
 * Return 0, or -errno.
 */
enum db_checksum_state {
	DB_CHECKSUM_NEW,    /* there is no file, or an empty one */
	DB_CHECKSUM_SEALED, /* or it once was: what is wrong with them is damage */
	DB_CHECKSUM_ROOM,   /* pages have the room; db_checksum_seal */
	DB_CHECKSUM_PLAIN,  /* written before there were checksums */
};
int db_checksum_state(const char *path, enum db_checksum_state *state, struct err *err);

/* Give every page of a closed file without log its checksum: a copy takes its place, or nothing happened. */
int db_checksum_seal(const char *path, struct err *err);

/**
 * db_checksum_wal(path, err):
 * Look at the log that a killed process left beside the database @path. A last transaction that is incomplete is what a
 * power cut leaves, and fine; one that is damaged although a later one follows it was committed and has rotted.
 *
 * Return 0, -EBADMSG naming the frame, -errno.
 */
int db_checksum_wal(const char *path, struct err *err);

#endif
