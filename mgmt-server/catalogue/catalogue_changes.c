/* catalogue_changes.c - see catalogue_changes.h. */
#include "mgmt-server/catalogue/catalogue_changes.h"

int catalogue_changes_put(struct db_conn *c, const struct catalogue_changes *x, struct err *err)
{
	int r = db_run(
		c,
		"INSERT INTO disk_changes (snapshot, desktop, state, tries, due, level, encrypted, "
		"excess, changed_bytes, ended, why, report) VALUES ($1, $2, $3, $4, $5, $6, $7, "
		"$8, "
		"$9, $10, $11, $12) ON CONFLICT (snapshot) DO UPDATE SET state = excluded.state, "
		"tries = excluded.tries, due = excluded.due, level = excluded.level, "
		"encrypted = excluded.encrypted, excess = excluded.excess, "
		"changed_bytes = excluded.changed_bytes, ended = excluded.ended, "
		"why = excluded.why, report = excluded.report",
		DB_VALUES(db_t(x->snapshot), db_t(x->desktop), db_t(x->state), db_i(x->tries),
			  db_i(x->due_ms), db_t(x->level), db_d(x->encrypted), db_d(x->excess),
			  db_i(x->changed_bytes), db_i(x->ended_ms), db_t(x->why ? x->why : ""),
			  db_t(x->report ? x->report : "null")),
		err);

	return r < 0 ? r : 0;
}

struct each {
	catalogue_changes_fn *fn;
	void *arg;
};

static int each_changes(void *arg, const struct db_row *row, struct err *err)
{
	struct each *each = arg;
	struct catalogue_changes x = {
		.tries = db_column_int(row, 3),
		.due_ms = db_column_int(row, 4),
		.encrypted = db_column_double(row, 6),
		.excess = db_column_double(row, 7),
		.changed_bytes = db_column_int(row, 8),
		.ended_ms = db_column_int(row, 9),
		.why = db_column_text(row, 10),
		.report = db_column_text(row, 11),
	};

	db_column_copy(row, 0, x.snapshot, sizeof(x.snapshot));
	db_column_copy(row, 1, x.desktop, sizeof(x.desktop));
	db_column_copy(row, 2, x.state, sizeof(x.state));
	db_column_copy(row, 5, x.level, sizeof(x.level));
	return each->fn(each->arg, &x, err);
}

#define COLUMNS                                                                                    \
	"SELECT snapshot, desktop, state, tries, due, level, encrypted, excess, changed_bytes, "   \
	"ended, why, report FROM disk_changes "

int catalogue_changes_get(struct db_conn *c, const char *snapshot, catalogue_changes_fn *fn,
			  void *arg, struct err *err)
{
	struct each each = { fn, arg };
	int r = db_each(c, each_changes, &each, COLUMNS "WHERE snapshot = $1",
			DB_VALUES(db_t(snapshot)), err);

	return r < 0 ? r : 0;
}

int catalogue_changes_due(struct db_conn *c, uint64_t now_ms, catalogue_changes_fn *fn, void *arg,
			  struct err *err)
{
	struct each each = { fn, arg };
	int r = db_each(c, each_changes, &each,
			COLUMNS "WHERE state = 'waiting' AND due <= $1 ORDER BY (SELECT "
				"seq FROM snapshots WHERE id = snapshot) LIMIT 1",
			DB_VALUES(db_i(now_ms)), err);

	return r < 0 ? r : 0;
}

int catalogue_changes_before(struct db_conn *c, const char *desktop, const char *snapshot,
			     unsigned limit, catalogue_changes_fn *fn, void *arg, struct err *err)
{
	struct each each = { fn, arg };
	int r = db_each(c, each_changes, &each,
			COLUMNS
			"WHERE desktop = $1 AND state = 'measured' AND snapshot IN "
			"(SELECT id FROM snapshots WHERE branch = 0 AND seq < (SELECT seq "
			"FROM snapshots WHERE id = $2)) ORDER BY (SELECT seq FROM snapshots "
			"WHERE id = snapshot) DESC LIMIT $3",
			DB_VALUES(db_t(desktop), db_t(snapshot), db_i(limit)), err);

	return r < 0 ? r : 0;
}

int catalogue_changes_forgive(struct db_conn *c, const char *desktop, struct err *err)
{
	int r = db_run(c,
		       "UPDATE disk_changes SET level = 'false-alarm' WHERE desktop = $1 AND "
		       "level = 'alarm'",
		       DB_VALUES(db_t(desktop)), err);

	return r < 0 ? r : 0;
}

int catalogue_changes_reset(struct db_conn *c, const char *desktop, struct err *err)
{
	int r = db_run(c, "UPDATE disk_changes SET excess = 0 WHERE desktop = $1",
		       DB_VALUES(db_t(desktop)), err);

	return r < 0 ? r : 0;
}

/* ---- Alarms ---- */

int catalogue_alarm_put(struct db_conn *c, const struct catalogue_alarm *a, struct err *err)
{
	int r = db_run(c,
		       "INSERT INTO alarms (desktop, snapshot, good, since, why) "
		       "VALUES ($1, $2, $3, $4, $5)",
		       DB_VALUES(db_t(a->desktop), db_t(a->snapshot), db_t(a->good),
				 db_i(a->since_ms), db_t(a->why)),
		       err);

	return r < 0 ? r : 0;
}

static int take_alarm(void *arg, const struct db_row *row, struct err *err)
{
	struct catalogue_alarm *a = arg;

	(void)err;
	db_column_copy(row, 0, a->desktop, sizeof(a->desktop));
	db_column_copy(row, 1, a->snapshot, sizeof(a->snapshot));
	db_column_copy(row, 2, a->good, sizeof(a->good));
	a->since_ms = db_column_int(row, 3);
	db_column_copy(row, 4, a->why, sizeof(a->why));
	return DB_STOP;
}

int catalogue_alarm_get(struct db_conn *c, const char *desktop, struct catalogue_alarm *alarm,
			struct err *err)
{
	int r = db_each(c, take_alarm, alarm,
			"SELECT desktop, snapshot, good, since, why FROM alarms WHERE desktop = $1",
			DB_VALUES(db_t(desktop)), err);

	return r == 0 ? CATALOGUE_NONE : r < 0 ? r : 0;
}

int catalogue_alarm_drop(struct db_conn *c, const char *desktop, struct err *err)
{
	int r = db_run(c, "DELETE FROM alarms WHERE desktop = $1", DB_VALUES(db_t(desktop)), err);

	return r < 0 ? r : 0;
}
