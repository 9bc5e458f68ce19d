/* catalogue_records.c - see catalogue_records.h. */
#include "mgmt-server/catalogue/catalogue_records.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/hex.h"

static int done(int rows)
{
	return rows < 0 ? rows : 0;
}

static int found(int rows)
{
	return rows == 0 ? CATALOGUE_NONE : done(rows);
}

/* ---- Uploads ---- */

int catalogue_upload_add(struct db_conn *c, const struct catalogue_upload *u, struct err *err)
{
	return done(db_run(c,
			   "INSERT INTO uploads (id, desktop, epoch, caller, job, created, used, "
			   "planned, committed) VALUES ($1, $2, $3, $4, $5, $6, $7, NULL, 0)",
			   DB_VALUES(db_t(u->id), db_t(u->desktop), db_i(u->epoch), db_t(u->caller),
				     db_t(u->job[0] ? u->job : NULL), db_i(u->used_ms),
				     db_i(u->used_ms)),
			   err));
}

static int take_upload(void *arg, const struct db_row *row, struct err *err)
{
	struct catalogue_upload *u = arg;

	(void)err;
	db_column_copy(row, 0, u->id, sizeof(u->id));
	db_column_copy(row, 1, u->desktop, sizeof(u->desktop));
	u->epoch = db_column_int(row, 2);
	db_column_copy(row, 3, u->caller, sizeof(u->caller));
	db_column_copy(row, 4, u->job, sizeof(u->job));
	u->used_ms = db_column_int(row, 5);
	db_column_copy(row, 6, u->planned, sizeof(u->planned));
	u->committed = db_column_int(row, 7) != 0;
	db_column_copy(row, 8, u->domain, sizeof(u->domain));
	return DB_STOP;
}

int catalogue_upload_get(struct db_conn *c, const char *id, struct catalogue_upload *out,
			 struct err *err)
{
	return found(db_each(c, take_upload, out,
			     "SELECT u.id, u.desktop, u.epoch, u.caller, u.job, u.used, u.planned, "
			     "u.committed, d.domain FROM uploads u JOIN desktops d "
			     "ON d.name = u.desktop WHERE u.id = $1",
			     DB_VALUES(db_t(id)), err));
}

int catalogue_upload_plan(struct db_conn *c, const char *id, const char *snapshot, struct err *err)
{
	return done(db_run(c, "UPDATE uploads SET planned = $1 WHERE id = $2",
			   DB_VALUES(db_t(snapshot), db_t(id)), err));
}

int catalogue_upload_committed(struct db_conn *c, const char *snapshot, struct err *err)
{
	return done(db_run(c, "UPDATE uploads SET committed = 1 WHERE planned = $1",
			   DB_VALUES(db_t(snapshot)), err));
}

int catalogue_upload_touch(struct db_conn *c, const char *id, uint64_t now_ms, struct err *err)
{
	return done(db_run(c, "UPDATE uploads SET used = $1 WHERE id = $2",
			   DB_VALUES(db_i(now_ms), db_t(id)), err));
}

int catalogue_upload_end(struct db_conn *c, const char *id, struct err *err)
{
	return done(db_run(c, "DELETE FROM uploads WHERE id = $1", DB_VALUES(db_t(id)), err));
}

int catalogue_upload_purge(struct db_conn *c, uint64_t before_ms, struct err *err)
{
	return db_run(c, "DELETE FROM uploads WHERE used < $1", DB_VALUES(db_i(before_ms)), err);
}

static int take_id(void *arg, const struct db_row *row, struct err *err)
{
	(void)err;
	db_column_copy(row, 0, arg, CATALOGUE_ID_LEN);
	return DB_STOP;
}

int catalogue_upload_of_job(struct db_conn *c, const char *job, char *id, struct err *err)
{
	id[0] = '\0';
	return done(db_each(c, take_id, id,
			    "SELECT id FROM uploads WHERE job = $1 AND committed = 0 "
			    "ORDER BY created DESC LIMIT 1",
			    DB_VALUES(db_t(job)), err));
}

int catalogue_upload_open_of(struct db_conn *c, const char *desktop, const char *caller,
			     uint64_t *epoch, struct err *err)
{
	int rows = db_number(c, epoch,
			     "SELECT epoch FROM uploads WHERE desktop = $1 AND caller = $2 AND "
			     "committed = 0 ORDER BY epoch DESC LIMIT 1",
			     DB_VALUES(db_t(desktop), db_t(caller)), err);

	return rows == 0 ? CATALOGUE_NONE : done(rows);
}

/* ---- Audit ---- */

static int take_hash(void *arg, const struct db_row *row, struct err *err)
{
	struct catalogue_audit *last = arg;

	(void)err;
	last->seq = db_column_int(row, 0);
	db_column_copy(row, 1, last->hash, sizeof(last->hash));
	return DB_STOP;
}

/* Each field with its length in front, so that no two entries give the same bytes. */
static int chain(const char *previous, const struct catalogue_audit *entry,
		 char hash[CATALOGUE_HASH_LEN], struct err *err)
{
	const char *fields[] = { previous,      entry->actor,  entry->address,
				 entry->action, entry->object, entry->detail };
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	uint8_t digest[32];
	char number[64];
	size_t i;
	bool ok = md && EVP_DigestInit_ex(md, EVP_sha256(), NULL);

	snprintf(number, sizeof(number), "%llu %llu", (unsigned long long)entry->seq,
		 (unsigned long long)entry->at_ms);
	ok = ok && EVP_DigestUpdate(md, number, strlen(number) + 1);
	for (i = 0; ok && i < ARRAY_LEN(fields); i++) {
		snprintf(number, sizeof(number), "%zu:", strlen(fields[i]));
		ok = EVP_DigestUpdate(md, number, strlen(number)) &&
		     EVP_DigestUpdate(md, fields[i], strlen(fields[i]));
	}
	ok = ok && EVP_DigestFinal_ex(md, digest, NULL);
	EVP_MD_CTX_free(md);
	if (!ok)
		return err_say(err, EIO, "audit: hashing failed");
	hex_encode(digest, sizeof(digest), hash);
	return 0;
}

int catalogue_audit_add(struct db_conn *c, struct catalogue_audit *entry, struct err *err)
{
	struct catalogue_audit last = { .seq = 0 };
	int r;

	r = db_each(c, take_hash, &last, "SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1",
		    DB_NO_VALUES, err);
	if (r < 0)
		return r;
	entry->seq = last.seq + 1;
	r = chain(last.hash, entry, entry->hash, err);
	if (r < 0)
		return r;
	return done(
		db_run(c,
		       "INSERT INTO audit (seq, at, actor, address, action, object, detail, hash) "
		       "VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
		       DB_VALUES(db_i(entry->seq), db_i(entry->at_ms), db_t(entry->actor),
				 db_t(entry->address), db_t(entry->action), db_t(entry->object),
				 db_t(entry->detail), db_t(entry->hash)),
		       err));
}

struct audit_each {
	catalogue_audit_fn *fn;
	void *arg;
};

static int each_audit(void *arg, const struct db_row *row, struct err *err)
{
	struct audit_each *each = arg;
	struct catalogue_audit entry = {
		.seq = db_column_int(row, 0),
		.at_ms = db_column_int(row, 1),
		.actor = db_column_text(row, 2),
		.address = db_column_text(row, 3),
		.action = db_column_text(row, 4),
		.object = db_column_text(row, 5),
		.detail = db_column_text(row, 6),
	};

	db_column_copy(row, 7, entry.hash, sizeof(entry.hash));
	return each->fn(each->arg, &entry, err);
}

#define AUDIT_COLUMNS "SELECT seq, at, actor, address, action, object, detail, hash FROM audit "

int catalogue_audit_each(struct db_conn *c, uint64_t before, catalogue_audit_fn *fn, void *arg,
			 struct err *err)
{
	struct audit_each each = { fn, arg };

	return done(db_each(c, each_audit, &each, AUDIT_COLUMNS "WHERE seq < $1 ORDER BY seq DESC",
			    DB_VALUES(db_i(before)), err));
}

struct audit_chain {
	uint64_t seq;
	char hash[CATALOGUE_HASH_LEN];
};

static int check_entry(void *arg, const struct catalogue_audit *entry, struct err *err)
{
	struct audit_chain *at = arg;
	char hash[CATALOGUE_HASH_LEN];
	int r = chain(at->hash, entry, hash, err);

	if (r < 0)
		return r;
	if (entry->seq != at->seq + 1 || strcmp(hash, entry->hash) != 0)
		return err_say(err, EBADMSG, "the audit trail was changed at entry %llu",
			       (unsigned long long)at->seq + 1);
	at->seq = entry->seq;
	memcpy(at->hash, hash, sizeof(hash));
	return 0;
}

int catalogue_audit_check(struct db_conn *c, struct err *err)
{
	struct audit_chain at = { .seq = 0 };
	struct audit_each each = { check_entry, &at };

	return done(db_each(c, each_audit, &each, AUDIT_COLUMNS "ORDER BY seq", DB_NO_VALUES, err));
}

/* ---- Answers to repeated requests ---- */

static int take_answer(void *arg, const struct db_row *row, struct err *err)
{
	struct catalogue_answer *out = arg;

	db_column_copy(row, 0, out->request_hash, sizeof(out->request_hash));
	out->status = db_column_int(row, 1);
	out->body = strdup(db_column_text(row, 2));
	return out->body ? DB_STOP : err_set(err, ENOMEM, "an earlier answer");
}

int catalogue_answer_get(struct db_conn *c, const char *actor, const char *key,
			 struct catalogue_answer *out, struct err *err)
{
	return found(db_each(c, take_answer, out,
			     "SELECT request_hash, status, body FROM idempotency "
			     "WHERE actor = $1 AND idem_key = $2",
			     DB_VALUES(db_t(actor), db_t(key)), err));
}

int catalogue_answer_add(struct db_conn *c, const char *actor, const char *key,
			 const struct catalogue_answer *answer, uint64_t now_ms, struct err *err)
{
	return done(db_run(c,
			   "INSERT INTO idempotency (actor, idem_key, request_hash, status, body, "
			   "created) VALUES ($1, $2, $3, $4, $5, $6)",
			   DB_VALUES(db_t(actor), db_t(key), db_t(answer->request_hash),
				     db_i(answer->status), db_t(answer->body), db_i(now_ms)),
			   err));
}

int catalogue_answer_purge(struct db_conn *c, uint64_t before_ms, struct err *err)
{
	return done(db_run(c, "DELETE FROM idempotency WHERE created < $1",
			   DB_VALUES(db_i(before_ms)), err));
}
