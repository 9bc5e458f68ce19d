#include "mgmt-server/scan/scan_state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/hex.h"
#include "common/io.h"

enum { SIGNATURE_SETS_KEPT = 2, HUNTS_KEPT = 16 };

/* places: a stream of a file held a content in the desktop's snapshots first..last (NULL: up to the newest one); the
 * numbers are those of snapshots.seq. digest: file_digest.h, of files that need not be read again. */
static const struct db_migration migrations[] = {
	{ 1, "verdicts and places",
	  "CREATE TABLE contents (id BIGINT PRIMARY KEY, sha256 TEXT NOT NULL, size BIGINT NOT "
	  "NULL, "
	  "UNIQUE (sha256, size));"
	  "CREATE TABLE sets (id BIGINT PRIMARY KEY, version TEXT NOT NULL UNIQUE, hunt BIGINT NOT "
	  "NULL, "
	  "loaded BIGINT NOT NULL, engine TEXT NOT NULL, signature_version TEXT NOT NULL, "
	  "used BIGINT NOT NULL);"
	  "CREATE TABLE verdicts (set_id BIGINT NOT NULL, content BIGINT NOT NULL, verdict BIGINT "
	  "NOT NULL, "
	  "text TEXT, PRIMARY KEY (set_id, content));"
	  "CREATE TABLE desktops (id BIGINT PRIMARY KEY, name TEXT NOT NULL UNIQUE, seq BIGINT NOT "
	  "NULL, "
	  "head TEXT NOT NULL);"
	  "CREATE TABLE snapshots (id TEXT PRIMARY KEY, desktop BIGINT NOT NULL, seq BIGINT NOT "
	  "NULL, "
	  "created BIGINT NOT NULL, files BIGINT NOT NULL, bytes BIGINT NOT NULL, reasons TEXT NOT "
	  "NULL, "
	  "more_reasons BIGINT NOT NULL, memory TEXT NOT NULL, UNIQUE (desktop, seq));"
	  "CREATE TABLE partitions (id BIGINT PRIMARY KEY, desktop BIGINT NOT NULL, volume TEXT "
	  "NOT NULL, "
	  "name TEXT NOT NULL, type TEXT NOT NULL, start BIGINT NOT NULL, length BIGINT NOT NULL, "
	  "UNIQUE (desktop, volume, name, type, start, length));"
	  "CREATE TABLE places (id BIGINT PRIMARY KEY, partition_id BIGINT NOT NULL, inode BIGINT "
	  "NOT NULL, "
	  "path TEXT NOT NULL, stream TEXT NOT NULL, content BIGINT NOT NULL, digest TEXT, "
	  "first BIGINT NOT NULL, last BIGINT);"
	  "CREATE INDEX verdicts_bad ON verdicts (set_id, content) WHERE verdict <> 0;"
	  "CREATE INDEX places_content ON places (content);"
	  "CREATE INDEX places_open ON places (partition_id, inode) WHERE last IS NULL;" },
	/* What was found in memory was kept with its snapshot alone, and no rescan could tell it better: those are to be scanned anew. */
	{ 2, "memory has places",
	  "DELETE FROM places; DELETE FROM snapshots; DELETE FROM partitions; DELETE FROM "
	  "desktops; ALTER TABLE snapshots DROP COLUMN memory;" },
	{ 3, "identities (identity_memo.h)",
	  "CREATE TABLE identities (identity TEXT PRIMARY KEY, content BIGINT NOT NULL, entered "
	  "BIGINT NOT NULL);" },
};

struct scan_state {
	struct db *db;
	char *path;
};

static void remove_files(const char *path)
{
	static const char *const suffixes[] = { "", "-wal", "-shm" };

	for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
		CLEANUP_FREE char *file = io_printf("%s%s", path, suffixes[i]);

		if (file)
			unlink(file);
	}
}

/* One at a time opens it: of two that make it, both would make its tables, and one could take it for damaged. */
static int lock_folder(const char *folder, int *fd, struct err *err)
{
	CLEANUP_FREE char *path = io_printf("%s/scan.lock", folder);

	if (!path)
		return err_set(err, ENOMEM, "open the scan state %s", folder);
	*fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	while (*fd >= 0 && flock(*fd, LOCK_EX) < 0) {
		if (errno != EINTR)
			return err_set(err, errno, "lock %s", path);
	}
	return *fd < 0 ? err_set(err, errno, "open %s", path) : 0;
}

int scan_state_open(struct scan_state **out, const char *folder, bool *anew, struct err *err)
{
	CLEANUP(scan_state_close) struct scan_state *s = calloc(1, sizeof(*s));
	CLEANUP_FREE char *path = io_printf("%s/scan.db", folder);
	CLEANUP_FD int lock = -1;
	int r;

	if (anew)
		*anew = false;
	if (!s || !path)
		return err_set(err, ENOMEM, "open the scan state %s", folder);
	if (mkdir(folder, 0700) < 0 && errno != EEXIST)
		return err_set(err, errno, "make the folder %s for the scan state", folder);
	r = lock_folder(folder, &lock, err);
	if (r < 0)
		return r;
	r = db_open(&s->db, path, migrations, ARRAY_LEN(migrations), err);
	if (r == -EBADMSG || r == -EPROTO) {
		remove_files(path);
		if (anew)
			*anew = true;
		r = db_open(&s->db, path, migrations, ARRAY_LEN(migrations), err);
	}
	if (r < 0)
		return err_wrap(err, r, "open the scan state %s", folder);
	s->path = TAKE(path);
	*out = TAKE(s);
	return 0;
}

void scan_state_forget(struct scan_state *s)
{
	remove_files(s->path);
}

void scan_state_close(struct scan_state *s)
{
	if (!s)
		return;
	if (s->db)
		db_close(s->db);
	free(s->path);
	free(s);
}

struct db *scan_state_db(struct scan_state *s)
{
	return s->db;
}

/* ---- sets ---- */

static int take_set(void *arg, const struct db_row *row, struct err *err)
{
	struct scan_state_set *set = arg;

	(void)err;
	set->id = db_column_int(row, 0);
	set->loaded = db_column_int(row, 1) != 0;
	db_column_copy(row, 2, set->engine, sizeof(set->engine));
	db_column_copy(row, 3, set->signature_version, sizeof(set->signature_version));
	return DB_STOP;
}

/* A set is old when enough others of its kind were used later. */
static int forget_old(struct db_conn *c, bool hunt, struct err *err)
{
	const uint64_t kept = hunt ? HUNTS_KEPT : SIGNATURE_SETS_KEPT;
	int r = db_run(c,
		       "DELETE FROM verdicts WHERE set_id IN (SELECT id FROM sets WHERE hunt = $1 "
		       "AND id NOT IN "
		       "(SELECT id FROM sets WHERE hunt = $1 ORDER BY used DESC LIMIT $2))",
		       DB_VALUES(db_i(hunt), db_i(kept)), err);

	if (r >= 0)
		r = db_run(c,
			   "DELETE FROM sets WHERE hunt = $1 AND id NOT IN "
			   "(SELECT id FROM sets WHERE hunt = $1 ORDER BY used DESC LIMIT $2)",
			   DB_VALUES(db_i(hunt), db_i(kept)), err);
	return r < 0 ? r : 0;
}

static int enter_set(struct db_conn *c, const char *version, bool hunt, struct scan_state_set *set,
		     struct err *err)
{
	uint64_t id = 0;
	int r = db_each(c, take_set, set,
			"SELECT id, loaded, engine, signature_version FROM sets WHERE version = $1",
			DB_VALUES(db_t(version)), err);

	if (r > 0) {
		r = db_run(c, "UPDATE sets SET used = $1 WHERE id = $2",
			   DB_VALUES(db_i(clock_wall_ms()), db_i(set->id)), err);
		return r < 0 ? r : 0;
	}
	if (r == 0)
		r = db_number(c, &id, "SELECT COALESCE(MAX(id), 0) + 1 FROM sets", DB_NO_VALUES,
			      err);
	if (r >= 0)
		r = db_run(c,
			   "INSERT INTO sets (id, version, hunt, loaded, engine, "
			   "signature_version, used) "
			   "VALUES ($1, $2, $3, 0, '', '', $4)",
			   DB_VALUES(db_i(id), db_t(version), db_i(hunt), db_i(clock_wall_ms())),
			   err);
	*set = (struct scan_state_set){ .id = id };
	return r < 0 ? r : forget_old(c, hunt, err);
}

int scan_state_set(struct scan_state *s, const char *version, bool hunt, struct scan_state_set *set,
		   struct err *err)
{
	struct db_conn *c;
	int r = db_begin(s->db, &c, err);

	if (r < 0)
		return r;
	r = enter_set(c, version, hunt, set, err);
	if (r < 0) {
		db_abort(c);
		return r;
	}
	return db_commit(c, err);
}

int scan_state_set_loaded(struct scan_state *s, const struct scan_state_set *set, struct err *err)
{
	struct db_conn *c;
	int r = db_begin(s->db, &c, err);

	if (r < 0)
		return r;
	r = db_run(c,
		   "UPDATE sets SET loaded = 1, engine = $1, signature_version = $2 WHERE id = $3",
		   DB_VALUES(db_t(set->engine), db_t(set->signature_version), db_i(set->id)), err);
	if (r < 0) {
		db_abort(c);
		return r;
	}
	return db_commit(c, err);
}

/* ---- verdicts ---- */

static int take_verdict(void *arg, const struct db_row *row, struct err *err)
{
	struct engine_reply *reply = arg;

	(void)err;
	*reply = (struct engine_reply){ .verdict = (uint32_t)db_column_int(row, 0),
					.canaries = ENGINE_CANARIES };
	db_column_copy(row, 1, reply->text, sizeof(reply->text));
	return DB_STOP;
}

bool scan_state_find(struct scan_state *s, uint64_t set, const uint8_t *sha256, uint64_t size,
		     struct engine_reply *reply)
{
	char text[2 * SCAN_STATE_SHA256_LEN + 1];
	struct db_conn *c;
	int r;

	hex_encode(sha256, SCAN_STATE_SHA256_LEN, text);
	c = db_read(s->db);
	/* A state that cannot be read knows nothing: the content is scanned. */
	r = db_each(c, take_verdict, reply,
		    "SELECT v.verdict, v.text FROM contents c JOIN verdicts v ON v.content = c.id "
		    "WHERE c.sha256 = $1 AND c.size = $2 AND v.set_id = $3",
		    DB_VALUES(db_t(text), db_i(size), db_i(set)), NULL);
	db_read_end(c);
	return r > 0 && (reply->verdict == ENGINE_CLEAN || reply->verdict == ENGINE_INFECTED);
}

int scan_state_content(struct db_conn *c, const char *sha256_hex, uint64_t size, uint64_t *id,
		       struct err *err)
{
	int r = db_number(c, id, "SELECT id FROM contents WHERE sha256 = $1 AND size = $2",
			  DB_VALUES(db_t(sha256_hex), db_i(size)), err);

	if (r)
		return r < 0 ? r : 0;
	r = db_number(c, id, "SELECT COALESCE(MAX(id), 0) + 1 FROM contents", DB_NO_VALUES, err);
	if (r >= 0)
		r = db_run(c, "INSERT INTO contents (id, sha256, size) VALUES ($1, $2, $3)",
			   DB_VALUES(db_i(*id), db_t(sha256_hex), db_i(size)), err);
	return r < 0 ? r : 0;
}

static int add_one(struct db_conn *c, uint64_t set, const struct scan_state_verdict *v,
		   struct err *err)
{
	char text[2 * SCAN_STATE_SHA256_LEN + 1];
	uint64_t content = 0;
	int r;

	hex_encode(v->sha256, SCAN_STATE_SHA256_LEN, text);
	r = scan_state_content(c, text, v->size, &content, err);
	if (r == 0)
		r = db_run(c, "DELETE FROM verdicts WHERE set_id = $1 AND content = $2",
			   DB_VALUES(db_i(set), db_i(content)), err);
	if (r >= 0)
		r = db_run(c,
			   "INSERT INTO verdicts (set_id, content, verdict, text) VALUES ($1, $2, "
			   "$3, $4)",
			   DB_VALUES(db_i(set), db_i(content), db_i(v->verdict), db_t(v->text)),
			   err);
	return r < 0 ? r : 0;
}

int scan_state_add(struct scan_state *s, uint64_t set, const struct scan_state_verdict *verdicts,
		   size_t count, struct err *err)
{
	struct db_conn *c;
	int r = db_begin(s->db, &c, err);

	if (r < 0)
		return r;
	for (size_t i = 0; r == 0 && i < count; i++)
		r = add_one(c, set, &verdicts[i], err);
	if (r < 0) {
		db_abort(c);
		return r;
	}
	return db_commit(c, err);
}
