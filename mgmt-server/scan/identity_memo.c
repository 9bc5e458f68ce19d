#include "mgmt-server/scan/identity_memo.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/hex.h"

/* At most about 180 bytes each in the file. What is not written down yet is read again after a crash: batches may be large. */
enum { BATCH = 4096, KEPT_MAX = 4000000 };
#define KEPT_MS (90ULL * 24 * 3600 * 1000)

struct fresh {
	uint8_t identity[CONTENT_IDENTITY_LEN], sha256[SCAN_STATE_SHA256_LEN];
	uint64_t size;
};

struct identity_memo {
	struct scan_state *state;
	pthread_mutex_t lock;
	struct fresh fresh[BATCH]; /* under lock, as is the count */
	size_t fresh_count;
};

struct identity_memo *identity_memo_new(struct scan_state *state)
{
	struct identity_memo *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->state = state;
	pthread_mutex_init(&m->lock, NULL);
	return m;
}

void identity_memo_free(struct identity_memo *m)
{
	if (!m)
		return;
	pthread_mutex_destroy(&m->lock);
	free(m);
}

struct found {
	bool valid;
	uint8_t *sha256;
};

static int take_hash(void *arg, const struct db_row *row, struct err *err)
{
	struct found *found = arg;

	(void)err;
	found->valid =
		hex_decode(db_column_text(row, 0), found->sha256, SCAN_STATE_SHA256_LEN) == 0;
	return DB_STOP;
}

bool identity_memo_find(struct identity_memo *m, const uint8_t *identity, uint64_t size,
			uint8_t sha256[SCAN_STATE_SHA256_LEN])
{
	char text[2 * CONTENT_IDENTITY_LEN + 1];
	struct found found = { .sha256 = sha256 };
	struct db_conn *c;
	int r;

	hex_encode(identity, CONTENT_IDENTITY_LEN, text);
	c = db_read(scan_state_db(m->state));
	/* A state that cannot be read knows nothing: the content is read. */
	r = db_each(c, take_hash, &found,
		    "SELECT c.sha256 FROM identities i JOIN contents c ON c.id = i.content "
		    "WHERE i.identity = $1 AND c.size = $2",
		    DB_VALUES(db_t(text), db_i(size)), NULL);
	db_read_end(c);
	return r > 0 && found.valid;
}

/* Its content is nearly always there already: its verdict was written down before. */
static int enter(struct db_conn *c, const struct fresh *fresh, uint64_t now_ms, struct err *err)
{
	static const char sql[] = "INSERT INTO identities (identity, content, entered) "
				  "SELECT $1, id, $2 FROM contents WHERE sha256 = $3 AND size = $4 "
				  "ON CONFLICT (identity) DO UPDATE SET entered = excluded.entered";
	char identity[2 * CONTENT_IDENTITY_LEN + 1], sha256[2 * SCAN_STATE_SHA256_LEN + 1];
	uint64_t content = 0;
	int r;

	hex_encode(fresh->identity, CONTENT_IDENTITY_LEN, identity);
	hex_encode(fresh->sha256, SCAN_STATE_SHA256_LEN, sha256);
	for (int tries = 0; tries < 2; tries++) {
		r = db_run(c, sql,
			   DB_VALUES(db_t(identity), db_i(now_ms), db_t(sha256), db_i(fresh->size)),
			   err);
		if (r)
			return r < 0 ? r : 0;
		r = scan_state_content(c, sha256, fresh->size, &content, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int compare_fresh(const void *a, const void *b)
{
	const struct fresh *x = a, *y = b;

	return memcmp(x->identity, y->identity, sizeof(x->identity));
}

/* Under the lock: others wait meanwhile, some milliseconds in thousands. Sorted, neighbours go to the same pages. */
static int flush(struct identity_memo *m, struct err *err)
{
	size_t count = m->fresh_count;
	struct db_conn *c;
	int r;

	m->fresh_count = 0;
	if (!count)
		return 0;
	qsort(m->fresh, count, sizeof(m->fresh[0]), compare_fresh);
	r = db_begin(scan_state_db(m->state), &c, err);
	if (r < 0)
		return r;
	for (size_t i = 0; r == 0 && i < count; i++)
		r = enter(c, &m->fresh[i], clock_wall_ms(), err);
	if (r < 0) {
		db_abort(c);
		return r;
	}
	return db_commit(c, err);
}

void identity_memo_add(struct identity_memo *m, const uint8_t *identity, uint64_t size,
		       const uint8_t *sha256)
{
	struct fresh *fresh;

	pthread_mutex_lock(&m->lock);
	fresh = &m->fresh[m->fresh_count++];
	fresh->size = size;
	memcpy(fresh->identity, identity, sizeof(fresh->identity));
	memcpy(fresh->sha256, sha256, sizeof(fresh->sha256));
	if (m->fresh_count == BATCH)
		flush(m, NULL);
	pthread_mutex_unlock(&m->lock);
}

int identity_memo_flush(struct identity_memo *m, struct err *err)
{
	int r;

	pthread_mutex_lock(&m->lock);
	r = flush(m, err);
	pthread_mutex_unlock(&m->lock);
	return r;
}

int identity_memo_tidy(struct db_conn *c, struct err *err)
{
	const uint64_t now = clock_wall_ms();
	uint64_t count = 0;
	int r = db_run(c,
		       "DELETE FROM identities WHERE entered < $1 OR NOT EXISTS "
		       "(SELECT 1 FROM places p WHERE p.content = identities.content)",
		       DB_VALUES(db_i(now > KEPT_MS ? now - KEPT_MS : 0)), err);

	if (r >= 0)
		r = db_number(c, &count, "SELECT COUNT(*) FROM identities", DB_NO_VALUES, err);
	if (r >= 0 && count > KEPT_MAX)
		r = db_run(
			c,
			"DELETE FROM identities WHERE entered <= "
			"(SELECT entered FROM identities ORDER BY entered DESC LIMIT 1 OFFSET $1)",
			DB_VALUES(db_i(KEPT_MAX)), err);
	return r < 0 ? r : 0;
}
