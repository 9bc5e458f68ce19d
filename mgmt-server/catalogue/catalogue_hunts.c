/* catalogue_hunts.c - see catalogue_hunts.h. */
#include "mgmt-server/catalogue/catalogue_hunts.h"

int catalogue_hunt_add(struct db_conn *c, struct catalogue_hunt *h, struct err *err)
{
	int r;

	h->seq = 0;
	r = db_number(c, &h->seq, "SELECT COALESCE(MAX(seq), 0) + 1 FROM hunts", DB_NO_VALUES, err);
	if (r >= 0)
		r = db_run(
			c,
			"INSERT INTO hunts (id, seq, kind, state, username, what, message, error, "
			"result, created, started, ended) "
			"VALUES ($1, $2, $3, 'queued', $4, $5, '', '', '', $6, 0, 0)",
			DB_VALUES(db_t(h->id), db_i(h->seq), db_t(h->kind), db_t(h->user),
				  db_t(h->what), db_i(h->created_ms)),
			err);
	if (r >= 0 && h->seq > CATALOGUE_HUNTS_KEPT)
		r = db_run(c, "DELETE FROM hunts WHERE ended > 0 AND seq <= $1",
			   DB_VALUES(db_i(h->seq - CATALOGUE_HUNTS_KEPT)), err);
	return r < 0 ? r : 0;
}

int catalogue_hunt_put(struct db_conn *c, const struct catalogue_hunt *h, struct err *err)
{
	int r = db_run(
		c,
		"UPDATE hunts SET state = $1, message = $2, error = $3, result = $4, started = $5, "
		"ended = $6 WHERE id = $7",
		DB_VALUES(db_t(h->state), db_t(h->message), db_t(h->error), db_t(h->result),
			  db_i(h->started_ms), db_i(h->ended_ms), db_t(h->id)),
		err);

	return r < 0 ? r : 0;
}

struct each {
	catalogue_hunt_fn *fn;
	void *arg;
};

static int each_hunt(void *arg, const struct db_row *row, struct err *err)
{
	struct each *each = arg;
	struct catalogue_hunt h = {
		.seq = db_column_int(row, 1),
		.message = db_column_text(row, 5),
		.error = db_column_text(row, 6),
		.created_ms = db_column_int(row, 7),
		.started_ms = db_column_int(row, 8),
		.ended_ms = db_column_int(row, 9),
		.what = db_column_text(row, 10),
		.result = db_column_text(row, 11),
	};

	db_column_copy(row, 0, h.id, sizeof(h.id));
	db_column_copy(row, 2, h.kind, sizeof(h.kind));
	db_column_copy(row, 3, h.state, sizeof(h.state));
	db_column_copy(row, 4, h.user, sizeof(h.user));
	return each->fn(each->arg, &h, err);
}

#define HUNT_COLUMNS                                                                               \
	"SELECT id, seq, kind, state, username, message, error, created, started, ended, "

int catalogue_hunt_get(struct db_conn *c, const char *id, catalogue_hunt_fn *fn, void *arg,
		       struct err *err)
{
	struct each each = { fn, arg };
	int r = db_each(c, each_hunt, &each, HUNT_COLUMNS "what, result FROM hunts WHERE id = $1",
			DB_VALUES(db_t(id)), err);

	return r == 0 ? CATALOGUE_NONE : r < 0 ? r : 0;
}

int catalogue_hunt_next(struct db_conn *c, catalogue_hunt_fn *fn, void *arg, struct err *err)
{
	struct each each = { fn, arg };
	int r = db_each(c, each_hunt, &each,
			HUNT_COLUMNS "what, result FROM hunts WHERE ended = 0 ORDER BY seq LIMIT 1",
			DB_NO_VALUES, err);

	return r == 0 ? CATALOGUE_NONE : r < 0 ? r : 0;
}

int catalogue_hunt_each(struct db_conn *c, uint64_t before, catalogue_hunt_fn *fn, void *arg,
			struct err *err)
{
	struct each each = { fn, arg };
	int r = db_each(c, each_hunt, &each,
			HUNT_COLUMNS "'', '' FROM hunts WHERE seq < $1 ORDER BY seq DESC",
			DB_VALUES(db_i(before ? before : INT64_MAX)), err);

	return r < 0 ? r : 0;
}
