/* catalogue_desktops.c - see catalogue_desktops.h. */
#include "mgmt-server/catalogue/catalogue_desktops.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static int done(int rows)
{
	return rows < 0 ? rows : 0;
}

static int found(int rows)
{
	return rows == 0 ? CATALOGUE_NONE : done(rows);
}

/* ---- Desktops ---- */

int catalogue_desktop_add(struct db_conn *c, const struct catalogue_desktop *d, struct err *err)
{
	return done(db_run(c,
			   "INSERT INTO desktops (name, rest, note, machine, created, domain) "
			   "VALUES ($1, $2, $3, $4, $5, $6)",
			   DB_VALUES(db_t(d->name), db_t(d->rest), db_t(d->note), db_t(d->machine),
				     db_i(d->created_ms), db_t(d->domain)),
			   err));
}

static void read_desktop(const struct db_row *row, struct catalogue_desktop *d)
{
	db_column_copy(row, 0, d->name, sizeof(d->name));
	db_column_copy(row, 1, d->rest, sizeof(d->rest));
	db_column_copy(row, 2, d->note, sizeof(d->note));
	db_column_copy(row, 3, d->machine, sizeof(d->machine));
	d->created_ms = db_column_int(row, 4);
	db_column_copy(row, 5, d->domain, sizeof(d->domain));
	d->quarantined_ms = db_column_int(row, 6);
}

static int take_desktop(void *arg, const struct db_row *row, struct err *err)
{
	(void)err;
	read_desktop(row, arg);
	return DB_STOP;
}

#define DESKTOP_COLUMNS                                                                            \
	"SELECT name, rest, note, machine, created, domain, quarantined FROM desktops "

int catalogue_desktop_get(struct db_conn *c, const char *name, struct catalogue_desktop *out,
			  struct err *err)
{
	return found(db_each(c, take_desktop, out, DESKTOP_COLUMNS "WHERE name = $1",
			     DB_VALUES(db_t(name)), err));
}

int catalogue_desktop_rest(struct db_conn *c, const char *name, const char *rest, const char *note,
			   struct err *err)
{
	return done(db_run(c, "UPDATE desktops SET rest = $1, note = $2 WHERE name = $3",
			   DB_VALUES(db_t(rest), db_t(note), db_t(name)), err));
}

int catalogue_desktop_quarantine(struct db_conn *c, const char *name, uint64_t since_ms,
				 struct err *err)
{
	return done(db_run(c, "UPDATE desktops SET quarantined = $1 WHERE name = $2",
			   DB_VALUES(db_i(since_ms), db_t(name)), err));
}

int catalogue_desktop_machine(struct db_conn *c, const char *name, const char *machine,
			      struct err *err)
{
	return done(db_run(c, "UPDATE desktops SET machine = $1 WHERE name = $2",
			   DB_VALUES(db_t(machine), db_t(name)), err));
}

int catalogue_desktop_domain_count(struct db_conn *c, const char *domain, uint64_t *count,
				   struct err *err)
{
	return done(db_number(c, count, "SELECT COUNT(*) FROM desktops WHERE domain = $1",
			      DB_VALUES(db_t(domain)), err));
}

struct text {
	char *into;
	size_t size;
};

static int take_text(void *arg, const struct db_row *row, struct err *err)
{
	struct text *text = arg;

	(void)err;
	db_column_copy(row, 0, text->into, text->size);
	return DB_STOP;
}

int catalogue_desktop_set_owner(struct db_conn *c, const char *name, const char *owner,
				struct err *err)
{
	return found(db_run(c, "UPDATE desktops SET owner = $1 WHERE name = $2",
			    DB_VALUES(db_t(owner), db_t(name)), err));
}

int catalogue_desktop_owner(struct db_conn *c, const char *name, char *owner, size_t size,
			    struct err *err)
{
	struct text text = { owner, size };

	return found(db_each(c, take_text, &text, "SELECT owner FROM desktops WHERE name = $1",
			     DB_VALUES(db_t(name)), err));
}

struct each {
	union {
		catalogue_desktop_fn *desktop;
		catalogue_lease_fn *lease;
		catalogue_snapshot_fn *snapshot;
	};
	void *arg;
};

static int each_desktop(void *arg, const struct db_row *row, struct err *err)
{
	struct each *each = arg;
	struct catalogue_desktop d;

	read_desktop(row, &d);
	return each->desktop(each->arg, &d, err);
}

int catalogue_desktop_each(struct db_conn *c, const char *after, catalogue_desktop_fn *fn,
			   void *arg, struct err *err)
{
	struct each each = { .desktop = fn, .arg = arg };

	return done(db_each(c, each_desktop, &each, DESKTOP_COLUMNS "WHERE name > $1 ORDER BY name",
			    DB_VALUES(db_t(after)), err));
}

/* ---- Leases ---- */

int catalogue_lease_put(struct db_conn *c, const struct catalogue_lease *lease, struct err *err)
{
	return done(db_run(
		c,
		"INSERT INTO leases (desktop, policy, state, holder, epoch, floor, ttl) "
		"VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (desktop) DO UPDATE SET "
		"policy = excluded.policy, state = excluded.state, holder = excluded.holder, "
		"epoch = excluded.epoch, floor = excluded.floor, ttl = excluded.ttl",
		DB_VALUES(db_t(lease->desktop), db_t(lease->policy), db_t(lease->state),
			  db_t(lease->holder), db_i(lease->epoch), db_i(lease->floor),
			  db_i(lease->ttl_ms)),
		err));
}

int catalogue_lease_promise(struct db_conn *c, uint64_t ttl_ms, struct err *err)
{
	return done(db_run(c, "UPDATE leases SET ttl = $1 WHERE ttl < $1", DB_VALUES(db_i(ttl_ms)),
			   err));
}

static int each_lease(void *arg, const struct db_row *row, struct err *err)
{
	struct each *each = arg;
	struct catalogue_lease lease;

	db_column_copy(row, 0, lease.desktop, sizeof(lease.desktop));
	db_column_copy(row, 1, lease.policy, sizeof(lease.policy));
	db_column_copy(row, 2, lease.state, sizeof(lease.state));
	db_column_copy(row, 3, lease.holder, sizeof(lease.holder));
	lease.epoch = db_column_int(row, 4);
	lease.floor = db_column_int(row, 5);
	lease.ttl_ms = db_column_int(row, 6);
	return each->lease(each->arg, &lease, err);
}

int catalogue_lease_each(struct db_conn *c, catalogue_lease_fn *fn, void *arg, struct err *err)
{
	struct each each = { .lease = fn, .arg = arg };

	return done(db_each(c, each_lease, &each,
			    "SELECT desktop, policy, state, holder, epoch, floor, ttl FROM leases",
			    DB_NO_VALUES, err));
}

int catalogue_grant_add(struct db_conn *c, const char *desktop, uint64_t epoch,
			const char *endpoint, uint64_t now_ms, struct err *err)
{
	return done(db_run(c,
			   "INSERT INTO grants (desktop, epoch, endpoint, granted) "
			   "VALUES ($1, $2, $3, $4)",
			   DB_VALUES(db_t(desktop), db_i(epoch), db_t(endpoint), db_i(now_ms)),
			   err));
}

int catalogue_grant_check(struct db_conn *c, const char *desktop, uint64_t epoch,
			  const char *endpoint, struct err *err)
{
	uint64_t one;

	return found(db_number(c, &one,
			       "SELECT 1 FROM grants WHERE desktop = $1 AND epoch = $2 "
			       "AND endpoint = $3",
			       DB_VALUES(db_t(desktop), db_i(epoch), db_t(endpoint)), err));
}

/* ---- Snapshots ---- */

static struct db_value figure(int64_t n)
{
	return n < 0 ? db_null() : db_i((uint64_t)n);
}

int catalogue_snapshot_add(struct db_conn *c, const struct catalogue_snapshot *s, struct err *err)
{
	uint64_t seq = 0;
	int r;

	r = db_number(c, &seq, "SELECT COALESCE(MAX(seq), 0) + 1 FROM snapshots", DB_NO_VALUES,
		      err);
	if (r < 0)
		return r;
	return done(db_run(
		c,
		"INSERT INTO snapshots (id, seq, desktop, parent, created, kind, branch, epoch, "
		"memory, read_bytes, new_bytes, stored_bytes, pause_ms, volumes) "
		"VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
		DB_VALUES(db_t(s->id), db_i(seq), db_t(s->desktop),
			  db_t(s->parent[0] ? s->parent : NULL), db_i(s->created_ms), db_t(s->kind),
			  db_i(s->branch), db_i(s->epoch), db_i(s->memory), figure(s->read_bytes),
			  figure(s->new_bytes), figure(s->stored_bytes),
			  s->pause_ms < 0 ? db_null() : db_d(s->pause_ms), db_t(s->volumes)),
		err));
}

int catalogue_snapshot_figures(struct db_conn *c, const struct catalogue_snapshot *s,
			       struct err *err)
{
	return done(db_run(c,
			   "UPDATE snapshots SET read_bytes = COALESCE($1, read_bytes), "
			   "new_bytes = COALESCE($2, new_bytes), "
			   "stored_bytes = COALESCE($3, stored_bytes), "
			   "pause_ms = COALESCE($4, pause_ms) WHERE id = $5",
			   DB_VALUES(figure(s->read_bytes), figure(s->new_bytes),
				     figure(s->stored_bytes),
				     s->pause_ms < 0 ? db_null() : db_d(s->pause_ms), db_t(s->id)),
			   err));
}

static int64_t read_figure(const struct db_row *row, int column)
{
	return db_column_null(row, column) ? -1 : (int64_t)db_column_int(row, column);
}

static int each_snapshot(void *arg, const struct db_row *row, struct err *err)
{
	struct each *each = arg;
	struct catalogue_snapshot s;

	db_column_copy(row, 0, s.id, sizeof(s.id));
	s.seq = db_column_int(row, 1);
	db_column_copy(row, 2, s.desktop, sizeof(s.desktop));
	db_column_copy(row, 3, s.parent, sizeof(s.parent));
	s.created_ms = db_column_int(row, 4);
	db_column_copy(row, 5, s.kind, sizeof(s.kind));
	s.branch = db_column_int(row, 6) != 0;
	s.epoch = db_column_int(row, 7);
	s.memory = db_column_int(row, 8) != 0;
	s.read_bytes = read_figure(row, 9);
	s.new_bytes = read_figure(row, 10);
	s.stored_bytes = read_figure(row, 11);
	s.pause_ms = db_column_null(row, 12) ? -1 : db_column_double(row, 12);
	s.volumes = (char *)db_column_text(row, 13);
	db_column_copy(row, 14, s.verdict, sizeof(s.verdict));
	return each->snapshot(each->arg, &s, err);
}

#define SNAPSHOT_COLUMNS                                                                           \
	"SELECT id, seq, desktop, parent, created, kind, branch, epoch, memory, read_bytes, "      \
	"new_bytes, stored_bytes, pause_ms, volumes, verdict FROM snapshots "

int catalogue_snapshot_each(struct db_conn *c, const char *desktop, uint64_t before,
			    catalogue_snapshot_fn *fn, void *arg, struct err *err)
{
	struct each each = { .snapshot = fn, .arg = arg };

	if (!desktop)
		return done(db_each(c, each_snapshot, &each,
				    SNAPSHOT_COLUMNS "WHERE seq < $1 ORDER BY seq DESC",
				    DB_VALUES(db_i(before)), err));
	return done(db_each(c, each_snapshot, &each,
			    SNAPSHOT_COLUMNS "WHERE seq < $1 AND desktop = $2 ORDER BY seq DESC",
			    DB_VALUES(db_i(before), db_t(desktop)), err));
}

int catalogue_snapshot_get(struct db_conn *c, const char *desktop, const char *id,
			   catalogue_snapshot_fn *fn, void *arg, struct err *err)
{
	struct each each = { .snapshot = fn, .arg = arg };

	if (!id)
		return found(db_each(c, each_snapshot, &each,
				     SNAPSHOT_COLUMNS "WHERE desktop = $1 AND branch = 0 "
						      "ORDER BY seq DESC LIMIT 1",
				     DB_VALUES(db_t(desktop)), err));
	if (!desktop)
		return found(db_each(c, each_snapshot, &each, SNAPSHOT_COLUMNS "WHERE id = $1",
				     DB_VALUES(db_t(id)), err));
	return found(db_each(c, each_snapshot, &each,
			     SNAPSHOT_COLUMNS "WHERE id = $1 AND desktop = $2",
			     DB_VALUES(db_t(id), db_t(desktop)), err));
}

static int take_id(void *arg, const struct catalogue_snapshot *s, struct err *err)
{
	(void)err;
	snprintf(arg, CATALOGUE_ID_LEN, "%s", s->id);
	return DB_STOP;
}

int catalogue_snapshot_latest(struct db_conn *c, const char *desktop, char *id, struct err *err)
{
	int r;

	id[0] = '\0';
	r = catalogue_snapshot_get(c, desktop, NULL, take_id, id, err);
	return r < 0 ? r : 0;
}
