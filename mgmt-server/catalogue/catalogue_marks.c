/* catalogue_marks.c - see catalogue_marks.h. */
#include "mgmt-server/catalogue/catalogue_marks.h"

int catalogue_mark_put(struct db_conn *c, const struct catalogue_mark *m, struct err *err)
{
	int r = db_run(c,
		       "INSERT INTO marks (snapshot, kind, source, username, why, created) "
		       "VALUES ($1, $2, $3, $4, $5, $6) "
		       "ON CONFLICT (snapshot, kind, source) DO UPDATE SET "
		       "username = excluded.username, why = excluded.why, "
		       "created = excluded.created",
		       DB_VALUES(db_t(m->snapshot), db_t(m->kind), db_t(m->source), db_t(m->user),
				 db_t(m->why), db_i(m->created_ms)),
		       err);

	return r < 0 ? r : 0;
}

int catalogue_mark_drop(struct db_conn *c, const char *snapshot, const char *kind,
			const char *source, struct err *err)
{
	return db_run(c, "DELETE FROM marks WHERE snapshot = $1 AND kind = $2 AND source = $3",
		      DB_VALUES(db_t(snapshot), db_t(kind), db_t(source)), err);
}

struct each {
	catalogue_mark_fn *fn;
	void *arg;
};

static int each_mark(void *arg, const struct db_row *row, struct err *err)
{
	struct each *each = arg;
	struct catalogue_mark m;

	db_column_copy(row, 0, m.snapshot, sizeof(m.snapshot));
	db_column_copy(row, 1, m.kind, sizeof(m.kind));
	db_column_copy(row, 2, m.source, sizeof(m.source));
	db_column_copy(row, 3, m.user, sizeof(m.user));
	db_column_copy(row, 4, m.why, sizeof(m.why));
	m.created_ms = db_column_int(row, 5);
	return each->fn(each->arg, &m, err);
}

#define MARK_COLUMNS "SELECT snapshot, kind, source, username, why, created FROM marks "

int catalogue_mark_each(struct db_conn *c, const char *snapshot, catalogue_mark_fn *fn, void *arg,
			struct err *err)
{
	struct each each = { fn, arg };
	int r = db_each(c, each_mark, &each,
			MARK_COLUMNS "WHERE snapshot = $1 ORDER BY created, source",
			DB_VALUES(db_t(snapshot)), err);

	return r < 0 ? r : 0;
}

int catalogue_mark_each_of(struct db_conn *c, const char *desktop, const char *kind,
			   const char *source, catalogue_mark_fn *fn, void *arg, struct err *err)
{
	struct each each = { fn, arg };
	int r = db_each(c, each_mark, &each,
			MARK_COLUMNS "WHERE kind = $2 AND source = $3 AND snapshot IN "
				     "(SELECT id FROM snapshots WHERE desktop = $1)",
			DB_VALUES(db_t(desktop), db_t(kind), db_t(source)), err);

	return r < 0 ? r : 0;
}

int catalogue_mark_count(struct db_conn *c, const char *snapshot, const char *kind, uint64_t *count,
			 struct err *err)
{
	int r;

	*count = 0;
	r = db_number(c, count, "SELECT COUNT(*) FROM marks WHERE snapshot = $1 AND kind = $2",
		      DB_VALUES(db_t(snapshot), db_t(kind)), err);
	return r < 0 ? r : 0;
}
