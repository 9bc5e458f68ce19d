/* marks.c - see marks.h. */
#include "mgmt-server/core/marks.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "mgmt-server/catalogue/catalogue_marks.h"
#include "mgmt-server/core/objects.h"

static int known(struct db_conn *c, const char *snapshot, char *desktop, struct err *err);

int marks_set(struct change *change, const struct marks_order *order, struct err *err)
{
	struct catalogue_mark mark = { .created_ms = clock_wall_ms() };
	bool pin = strcmp(order->kind, MARKS_PIN) == 0;
	char desktop[CATALOGUE_NAME_LEN];
	int r = known(change->db, order->snapshot, desktop, err);

	if (r < 0)
		return r;
	snprintf(mark.snapshot, sizeof(mark.snapshot), "%s", order->snapshot);
	snprintf(mark.kind, sizeof(mark.kind), "%s", order->kind);
	snprintf(mark.source, sizeof(mark.source), "%s", order->source);
	snprintf(mark.user, sizeof(mark.user), "%s", order->user);
	snprintf(mark.why, sizeof(mark.why), "%s", order->why);
	r = catalogue_mark_put(change->db, &mark, err);
	if (r == 0 && pin && !store_is_pinned(change->server->store, order->snapshot)) {
		change_touch(change, CHANGE_PIN, order->snapshot);
		r = store_pin(change->server->store, order->snapshot, true, err);
	}
	if (r == 0)
		r = change_audit(change, order->user, "", order->kind, order->snapshot, order->why,
				 err);
	change_touch(change, CHANGE_SNAPSHOT, order->snapshot);
	return r;
}

int marks_clear(struct change *change, const struct marks_order *order, struct err *err)
{
	bool pin = strcmp(order->kind, MARKS_PIN) == 0;
	char desktop[CATALOGUE_NAME_LEN];
	int r = known(change->db, order->snapshot, desktop, err);

	if (r == 0)
		r = catalogue_mark_drop(change->db, order->snapshot, order->kind, order->source,
					err);
	if (r == 0)
		return err_say(err, ENOENT, "snapshot %s has no %s of '%s'", order->snapshot,
			       order->kind, order->source);
	if (r < 0)
		return r;
	if (pin)
		change_touch(change, CHANGE_PIN, order->snapshot);
	change_touch(change, CHANGE_SNAPSHOT, order->snapshot);
	return change_audit(change, order->user, "", pin ? "unpin" : "release", order->snapshot,
			    order->why ? order->why : "", err);
}

/* ---- The store's side ---- */

void marks_sync(struct server *s, const char *snapshot)
{
	struct db_conn *c = db_read(s->db);
	struct err err = { 0 };
	uint64_t pins;
	int r = catalogue_mark_count(c, snapshot, MARKS_PIN, &pins, &err);

	db_read_end(c);
	if (r == 0 && store_is_pinned(s->store, snapshot) != (pins > 0))
		r = store_pin(s->store, snapshot, pins > 0, &err);
	if (r < 0) /* the next start looks again; until then too much is kept, never too little */
		log_error("pin in the store snapshot=%s: %s", snapshot, err_text(&err));
}

struct adopting {
	struct change *change;
	unsigned count;
};

static int adopt(void *arg, const struct catalogue_snapshot *snapshot, struct err *err)
{
	struct store *store = ((struct adopting *)arg)->change->server->store;
	struct adopting *a = arg;
	struct catalogue_mark mark = { .kind = MARKS_PIN,
				       .source = "store",
				       .user = "system",
				       .why = "it was pinned in the store",
				       .created_ms = clock_wall_ms() };
	bool pinned = store_is_pinned(store, snapshot->id);
	uint64_t pins;
	int r = catalogue_mark_count(a->change->db, snapshot->id, MARKS_PIN, &pins, err);

	if (r < 0 || pinned == (pins > 0))
		return r;
	if (!pinned)
		return store_pin(store, snapshot->id, true, err);
	memcpy(mark.snapshot, snapshot->id, sizeof(mark.snapshot));
	a->count++;
	return catalogue_mark_put(a->change->db, &mark, err);
}

int marks_adopt(struct server *s, struct err *err)
{
	CLEANUP_CHANGE struct change change = { .held = false };
	struct adopting a = { .change = &change };
	int r = change_begin(&change, s, err);

	if (r == 0)
		r = catalogue_snapshot_each(change.db, NULL, INT64_MAX, adopt, &a, err);
	if (r < 0)
		return err_wrap(err, r, "compare the pins of store and catalogue");
	if (a.count)
		log_info("took over pins that only the store knew count=%u", a.count);
	return change_commit(&change, err);
}

/* ---- Showing ---- */

static int take_desktop(void *arg, const struct catalogue_snapshot *snapshot, struct err *err)
{
	(void)err;
	memcpy(arg, snapshot->desktop, sizeof(snapshot->desktop));
	return DB_STOP;
}

static int known(struct db_conn *c, const char *snapshot, char *desktop, struct err *err)
{
	int r = catalogue_snapshot_get(c, NULL, snapshot, take_desktop, desktop, err);

	return r == CATALOGUE_NONE ? err_say(err, ENOENT, "there is no snapshot %.39s", snapshot)
				   : r;
}

struct showing {
	json_t *pins, *holds;
};

static int show(void *arg, const struct catalogue_mark *m, struct err *err)
{
	struct showing *showing = arg;
	bool pin = strcmp(m->kind, MARKS_PIN) == 0;

	(void)err;
	json_array_append_new(pin ? showing->pins : showing->holds,
			      json_pack("{ss ss ss so}", "source", m->source, "why", m->why, "by",
					m->user, "since", objects_time(m->created_ms)));
	return 0;
}

void marks_show(struct db_conn *c, const char *snapshot, json_t *object)
{
	struct showing showing = { json_array(), json_array() };

	catalogue_mark_each(c, snapshot, show, &showing, NULL);
	json_object_set_new(object, "held", json_boolean(json_array_size(showing.holds) > 0));
	json_object_set_new(object, "pinned", json_boolean(json_array_size(showing.pins) > 0));
	json_object_set_new(object, "pins", showing.pins);
	json_object_set_new(object, "holds", showing.holds);
}
