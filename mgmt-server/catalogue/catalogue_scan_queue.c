/* catalogue_scan_queue.c - see catalogue_scan_queue.h. */
#include "mgmt-server/catalogue/catalogue_scan_queue.h"

int catalogue_scan_queue_put(struct db_conn *c, const struct catalogue_waiting_scan *w,
			     struct err *err)
{
	int r = db_run(c,
		       "INSERT INTO scan_queue (snapshot, due, tries, why) "
		       "VALUES ($1, $2, $3, $4) ON CONFLICT (snapshot) DO UPDATE SET "
		       "due = excluded.due, tries = excluded.tries, why = excluded.why",
		       DB_VALUES(db_t(w->snapshot), db_i(w->due_ms), db_i(w->tries), db_t(w->why)),
		       err);

	return r < 0 ? r : 0;
}

int catalogue_scan_queue_drop(struct db_conn *c, const char *snapshot, struct err *err)
{
	int r = db_run(c, "DELETE FROM scan_queue WHERE snapshot = $1", DB_VALUES(db_t(snapshot)),
		       err);

	return r < 0 ? r : 0;
}

static int take(void *arg, const struct db_row *row, struct err *err)
{
	struct catalogue_waiting_scan *w = arg;

	(void)err;
	db_column_copy(row, 0, w->snapshot, sizeof(w->snapshot));
	w->due_ms = db_column_int(row, 1);
	w->tries = db_column_int(row, 2);
	db_column_copy(row, 3, w->why, sizeof(w->why));
	return DB_STOP;
}

#define WAITING_COLUMNS "SELECT snapshot, due, tries, why FROM scan_queue "

int catalogue_scan_queue_get(struct db_conn *c, const char *snapshot,
			     struct catalogue_waiting_scan *out, struct err *err)
{
	int r = db_each(c, take, out, WAITING_COLUMNS "WHERE snapshot = $1",
			DB_VALUES(db_t(snapshot)), err);

	return r == 0 ? CATALOGUE_NONE : r < 0 ? r : 0;
}

int catalogue_scan_queue_due(struct db_conn *c, uint64_t now_ms, struct catalogue_waiting_scan *out,
			     struct err *err)
{
	int r = db_each(c, take, out,
			WAITING_COLUMNS "WHERE due <= $1 ORDER BY due, snapshot DESC LIMIT 1",
			DB_VALUES(db_i(now_ms)), err);

	return r == 0 ? CATALOGUE_NONE : r < 0 ? r : 0;
}

int catalogue_scan_queue_hurry(struct db_conn *c, uint64_t now_ms, struct err *err)
{
	int r = db_run(c, "UPDATE scan_queue SET due = $1 WHERE tries > 0", DB_VALUES(db_i(now_ms)),
		       err);

	return r < 0 ? r : 0;
}

int catalogue_scan_queue_unscanned(struct db_conn *c, uint64_t now_ms, const char *why,
				   struct err *err)
{
	return db_run(c,
		      "INSERT INTO scan_queue (snapshot, due, tries, why) "
		      "SELECT id, $1, 0, $2 FROM snapshots WHERE verdict = 'none' ON CONFLICT "
		      "(snapshot) DO "
		      "NOTHING",
		      DB_VALUES(db_i(now_ms), db_t(why)), err);
}

int catalogue_scan_queue_count(struct db_conn *c, uint64_t *count, struct err *err)
{
	int r;

	*count = 0;
	r = db_number(c, count, "SELECT COUNT(*) FROM scan_queue", DB_NO_VALUES, err);
	return r < 0 ? r : 0;
}
