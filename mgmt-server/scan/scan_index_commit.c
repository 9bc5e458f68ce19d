/* scan_index_commit.c - see scan_index.h: what a scan saw becomes the desktop's newest entry, in one transaction. */
#include <errno.h>
#include <string.h>

#include "common/hex.h"
#include "common/json.h"
#include "mgmt-server/scan/scan_index_inside.h"

struct commit {
	struct scan_index *index;
	struct db_conn *db;
	uint64_t seq; /* of this scan */
	uint64_t next_place;
	struct err *err;
};

static int compare_numbers(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static bool is_problem(const struct scan_index_part *part, uint64_t inode)
{
	return part->problem_count && bsearch(&inode, part->problems, part->problem_count,
					      sizeof(*part->problems), compare_numbers);
}

static int compare_fresh(const void *a, const void *b)
{
	const struct scan_index_fresh *x = a, *y = b;

	return x->inode < y->inode ? -1 : x->inode > y->inode;
}

/* A digest counts only when every stream of the inode could be read. */
static const char *digest_text(const struct scan_index_part *part, uint64_t inode, bool has,
			       const uint8_t *digest, char *text)
{
	if (!has || is_problem(part, inode))
		return NULL;
	hex_encode(digest, FILE_DIGEST_LEN, text);
	return text;
}

static int set_digest(struct commit *c, uint64_t row, const char *digest)
{
	int r = db_run(c->db, "UPDATE places SET digest = $1 WHERE id = $2",
		       DB_VALUES(db_t(digest), db_i(row)), c->err);

	return r < 0 ? r : 0;
}

static bool same_place(const struct scan_index_known *k, const struct scan_index_fresh *f)
{
	return !k->seen && k->size == f->size &&
	       !memcmp(k->sha256, f->sha256, SCAN_STATE_SHA256_LEN) &&
	       !strcmp(k->stream, f->stream) && !strcmp(k->path, f->path);
}

static int add_place(struct commit *c, const struct scan_index_part *part,
		     const struct scan_index_fresh *f, const char *digest)
{
	char sha256[2 * SCAN_STATE_SHA256_LEN + 1];
	uint64_t content = 0;
	int r;

	hex_encode(f->sha256, SCAN_STATE_SHA256_LEN, sha256);
	r = scan_state_content(c->db, sha256, f->size, &content, c->err);
	if (r < 0)
		return r;
	r = db_run(c->db,
		   "INSERT INTO places (id, partition_id, inode, path, stream, content, digest, "
		   "first, last) "
		   "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, NULL)",
		   DB_VALUES(db_i(c->next_place++), db_i(part->id), db_i(f->inode), db_t(f->path),
			     db_t(f->stream), db_i(content), db_t(digest), db_i(c->seq)),
		   c->err);
	return r < 0 ? r : 0;
}

/* @at: the first known place that may be of this inode; both lists ascend. */
static int enter(struct commit *c, struct scan_index_part *part, const struct scan_index_fresh *f,
		 size_t at)
{
	char text[2 * FILE_DIGEST_LEN + 1];
	const char *digest = digest_text(part, f->inode, f->has_digest, f->digest, text);

	for (; at < part->known_count && part->known[at].inode == f->inode; at++) {
		struct scan_index_known *k = &part->known[at];

		if (!same_place(k, f))
			continue;
		k->seen = true;
		if (k->has_digest == (digest != NULL) &&
		    (!digest || !memcmp(k->digest, f->digest, FILE_DIGEST_LEN)))
			return 0;
		return set_digest(c, k->row, digest);
	}
	return add_place(c, part, f, digest);
}

static int close_place(struct commit *c, uint64_t row)
{
	int r = db_run(c->db, "UPDATE places SET last = $1 WHERE id = $2",
		       DB_VALUES(db_i(c->seq - 1), db_i(row)), c->err);

	return r < 0 ? r : 0;
}

static int enter_partition(struct commit *c, struct scan_index_part *part)
{
	int r;

	if (part->id)
		return 0;
	/* A table may name the same partition twice. */
	r = db_number(c->db, &part->id,
		      "SELECT id FROM partitions WHERE desktop = $1 AND volume = $2 AND name = $3 "
		      "AND type = $4 AND start = $5 AND length = $6",
		      DB_VALUES(db_i(c->index->desktop), db_t(part->volume), db_t(part->name),
				db_t(part->type), db_i(part->offset), db_i(part->length)),
		      c->err);
	if (r)
		return r < 0 ? r : 0;
	r = db_number(c->db, &part->id, "SELECT COALESCE(MAX(id), 0) + 1 FROM partitions",
		      DB_NO_VALUES, c->err);
	if (r >= 0)
		r = db_run(
			c->db,
			"INSERT INTO partitions (id, desktop, volume, name, type, start, length) "
			"VALUES ($1, $2, $3, $4, $5, $6, $7)",
			DB_VALUES(db_i(part->id), db_i(c->index->desktop), db_t(part->volume),
				  db_t(part->name), db_t(part->type), db_i(part->offset),
				  db_i(part->length)),
			c->err);
	return r < 0 ? r : 0;
}

static int enter_part(struct commit *c, struct scan_index_part *part)
{
	size_t at = 0;
	int r = enter_partition(c, part);

	if (part->problem_count)
		qsort(part->problems, part->problem_count, sizeof(*part->problems),
		      compare_numbers);
	if (part->fresh_count)
		qsort(part->fresh, part->fresh_count, sizeof(*part->fresh), compare_fresh);
	for (size_t i = 0; r == 0 && i < part->fresh_count; i++) {
		while (at < part->known_count && part->known[at].inode < part->fresh[i].inode)
			at++;
		r = enter(c, part, &part->fresh[i], at);
	}
	for (size_t i = 0; r == 0 && i < part->known_count; i++) {
		if (!part->known[i].seen)
			r = close_place(c, part->known[i].row);
	}
	return r;
}

/* Partitions that are gone, or that were not read this time. */
static int close_others(struct commit *c)
{
	int r = db_run(c->db, "CREATE TEMP TABLE IF NOT EXISTS read_now (id BIGINT PRIMARY KEY)",
		       DB_NO_VALUES, c->err);

	if (r >= 0)
		r = db_run(c->db, "DELETE FROM read_now", DB_NO_VALUES, c->err);
	for (struct scan_index_part *p = c->index->parts; r >= 0 && p; p = p->next) {
		r = db_run(c->db, "INSERT INTO read_now (id) VALUES ($1)", DB_VALUES(db_i(p->id)),
			   c->err);
		if (r == -EEXIST)
			r = 0; /* a table that names the same partition twice */
	}
	if (r >= 0)
		r = db_run(c->db,
			   "UPDATE places SET last = $1 WHERE last IS NULL AND partition_id IN "
			   "(SELECT id FROM partitions WHERE desktop = $2 AND id NOT IN (SELECT id "
			   "FROM read_now))",
			   DB_VALUES(db_i(c->seq - 1), db_i(c->index->desktop)), c->err);
	return r < 0 ? r : 0;
}

static int enter_snapshot(struct commit *c, const struct scan_index_sums *sums)
{
	struct scan_index *x = c->index;
	CLEANUP_FREE char *reasons = json_text(x->reasons);
	int r;

	if (!reasons)
		return err_set(c->err, ENOMEM, "index a snapshot");
	r = db_run(c->db, "DELETE FROM snapshots WHERE id = $1", DB_VALUES(db_t(x->order.snapshot)),
		   c->err);
	if (r >= 0)
		r = db_run(
			c->db,
			"INSERT INTO snapshots (id, desktop, seq, created, files, bytes, reasons, "
			"more_reasons) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
			DB_VALUES(db_t(x->order.snapshot), db_i(x->desktop), db_i(c->seq),
				  db_i(x->order.created_ms), db_i(sums->files), db_i(sums->bytes),
				  db_t(reasons), db_i(x->more_reasons)),
			c->err);
	if (r >= 0)
		r = db_run(c->db, "UPDATE desktops SET seq = $1, head = $2 WHERE id = $3",
			   DB_VALUES(db_i(c->seq), db_t(x->order.snapshot), db_i(x->desktop)),
			   c->err);
	return r < 0 ? r : 0;
}

enum { LATE = 1 };

/* The desktop's row, as it was when this scan began. Return 0, LATE or -errno. */
static int enter_desktop(struct commit *c)
{
	struct scan_index *x = c->index;
	uint64_t seq = 0, id = 0;
	int r = db_number(c->db, &seq, "SELECT seq FROM desktops WHERE name = $1",
			  DB_VALUES(db_t(x->order.desktop)), c->err);

	if (r < 0)
		return r;
	if (seq != x->seq)
		return LATE;
	if (r > 0)
		return 0;
	r = db_number(c->db, &id, "SELECT COALESCE(MAX(id), 0) + 1 FROM desktops", DB_NO_VALUES,
		      c->err);
	if (r >= 0)
		r = db_run(c->db,
			   "INSERT INTO desktops (id, name, seq, head) VALUES ($1, $2, 0, '')",
			   DB_VALUES(db_i(id), db_t(x->order.desktop)), c->err);
	x->desktop = id;
	return r < 0 ? r : 0;
}

static int enter_all(struct commit *c, const struct scan_index_sums *sums)
{
	int r = enter_desktop(c);

	if (r)
		return r;
	r = db_number(c->db, &c->next_place, "SELECT COALESCE(MAX(id), 0) + 1 FROM places",
		      DB_NO_VALUES, c->err);
	r = r < 0 ? r : 0;
	for (struct scan_index_part *p = c->index->parts; r == 0 && p; p = p->next)
		r = enter_part(c, p);
	if (r == 0)
		r = close_others(c);
	return r < 0 ? r : enter_snapshot(c, sums);
}

int scan_index_commit(struct scan_index *x, const struct scan_index_sums *sums, struct err *err)
{
	struct commit c = { .index = x, .seq = x->seq + 1, .err = err };
	int r;

	if (x->order.wanted)
		return 0;
	r = db_begin(scan_state_db(x->order.state), &c.db, err);
	if (r < 0)
		return r;
	r = enter_all(&c, sums);
	if (r) {
		db_abort(c.db);
		return r < 0 ? err_wrap(err, r, "index snapshot %s", x->order.snapshot) : 0;
	}
	return db_commit(c.db, err);
}
