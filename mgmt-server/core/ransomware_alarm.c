/* ransomware_alarm.c - see ransomware_alarm.h. */
#include "mgmt-server/core/ransomware_alarm.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "mgmt-server/catalogue/catalogue_marks.h"
#include "mgmt-server/core/marks.h"
#include "mgmt-server/core/notices.h"
#include "mgmt-server/core/objects.h"
#include "mgmt-server/core/ransomware.h"

enum { RUN_MAX = 200 };

/* ---- The last good one ---- */

/* Back along the parents, past every snapshot that is a part of a slow attack. */
struct good {
	char id[CATALOGUE_ID_LEN];
};

static int go_back(void *arg, const struct catalogue_changes *x, struct err *err)
{
	struct good *good = arg;
	CLEANUP(json_decref) json_t *report = NULL;
	const char *base;

	(void)err;
	if (strcmp(x->snapshot, good->id) != 0 || !(x->excess > 0))
		return DB_STOP;
	json_parse(&report, x->report, strlen(x->report), "what changed", NULL);
	base = json_string_value(json_object_get(report, "base"));
	if (base)
		snprintf(good->id, sizeof(good->id), "%s", base);
	return 0;
}

static int find_good(struct change *change, const struct catalogue_changes *x, const json_t *report,
		     struct good *good, struct err *err)
{
	const char *base = json_string_value(json_object_get(report, "base"));

	snprintf(good->id, sizeof(good->id), "%s", base ? base : "");
	return catalogue_changes_before(change->db, x->desktop, x->snapshot, RUN_MAX, go_back, good,
					err);
}

/* ---- Pins ---- */

struct ids {
	char (*items)[CATALOGUE_ID_LEN];
	size_t count;
};

static int collect(struct ids *ids, const char *id, struct err *err)
{
	void *larger = realloc(ids->items, (ids->count + 1) * sizeof(*ids->items));

	if (!larger)
		return err_set(err, ENOMEM, "list snapshots");
	ids->items = larger;
	snprintf(ids->items[ids->count++], CATALOGUE_ID_LEN, "%s", id);
	return 0;
}

static int collect_snapshot(void *arg, const struct catalogue_snapshot *s, struct err *err)
{
	return collect(arg, s->id, err);
}

static int collect_mark(void *arg, const struct catalogue_mark *m, struct err *err)
{
	return collect(arg, m->snapshot, err);
}

static int pin(struct change *change, const char *snapshot, const char *source, const char *why,
	       struct err *err)
{
	const struct marks_order order = { .snapshot = snapshot,
					   .kind = MARKS_PIN,
					   .source = source,
					   .why = why,
					   .user = "system" };

	return marks_set(change, &order, err);
}

static const char kept_why[] = "there is an alarm: nothing is deleted until it is acknowledged";

static int pin_all(struct change *change, const char *desktop, struct err *err)
{
	struct ids ids = { 0 };
	int r = catalogue_snapshot_each(change->db, desktop, INT64_MAX, collect_snapshot, &ids,
					err);

	for (size_t i = 0; r >= 0 && i < ids.count; i++)
		r = pin(change, ids.items[i], RANSOMWARE_SOURCE_BLOCK, kept_why, err);
	free(ids.items);
	return r < 0 ? r : 0;
}

static int unpin_all(struct change *change, const char *desktop, const char *source,
		     const char *user, struct err *err)
{
	struct ids ids = { 0 };
	int r = catalogue_mark_each_of(change->db, desktop, MARKS_PIN, source, collect_mark, &ids,
				       err);

	for (size_t i = 0; r == 0 && i < ids.count; i++) {
		const struct marks_order order = { .snapshot = ids.items[i],
						   .kind = MARKS_PIN,
						   .source = source,
						   .why = "the alarm was acknowledged",
						   .user = user };

		r = marks_clear(change, &order, err);
	}
	free(ids.items);
	return r;
}

/* ---- Raising ---- */

static int tell(struct change *change, const struct catalogue_changes *x, const json_t *report,
		bool alarm, const char *good, struct err *err)
{
	struct notices_order order = { .severity = alarm ? "alarm" : "warning",
				       .kind = alarm ? "ransomware" : "encrypted",
				       .desktop = x->desktop,
				       .snapshot = x->snapshot };
	char text[512];

	if (alarm)
		snprintf(text, sizeof(text),
			 "desktop %s: snapshot %s looks like ransomware: %s. The last good "
			 "snapshot is %s; nothing of the desktop is deleted until you "
			 "acknowledge (godwit desktop acknowledge %s)",
			 x->desktop, x->snapshot, x->why, good, x->desktop);
	else
		snprintf(text, sizeof(text), "desktop %s: snapshot %s: %s", x->desktop, x->snapshot,
			 x->why);
	order.details = json_pack("{sO ss}", "report", report, "last_good", good);
	return notices_add(change, &order, text, err);
}

int ransomware_alarm_raise(struct change *change, const struct catalogue_changes *x,
			   const json_t *report, bool alarm, struct err *err)
{
	struct catalogue_alarm open = { .since_ms = clock_wall_ms() };
	struct good good;
	int r = find_good(change, x, report, &good, err);

	if (r == 0 && !alarm)
		return tell(change, x, report, false, good.id, err);
	if (r == 0)
		r = catalogue_alarm_get(change->db, x->desktop, &open, err);
	if (r != CATALOGUE_NONE)
		return r; /* it is open already */
	snprintf(open.desktop, sizeof(open.desktop), "%s", x->desktop);
	snprintf(open.snapshot, sizeof(open.snapshot), "%s", x->snapshot);
	snprintf(open.good, sizeof(open.good), "%s", good.id);
	snprintf(open.why, sizeof(open.why), "%s", x->why);
	r = catalogue_alarm_put(change->db, &open, err);
	if (r == 0)
		r = pin(change, good.id, RANSOMWARE_SOURCE_GOOD,
			"the last good one before what looks like ransomware", err);
	if (r == -ENOENT) /* it was forgotten meanwhile */
		r = 0;
	if (r == 0)
		r = pin_all(change, x->desktop, err);
	if (r == 0)
		r = tell(change, x, report, true, good.id, err);
	if (r == 0)
		r = change_audit(change, "system", "", "ransomware alarm", x->desktop, x->why, err);
	change_touch(change, CHANGE_DESKTOP, x->desktop);
	return r;
}

int ransomware_alarm_cover(struct change *change, const char *desktop, const char *snapshot,
			   struct err *err)
{
	struct catalogue_alarm open;
	int r = catalogue_alarm_get(change->db, desktop, &open, err);

	if (r == CATALOGUE_NONE)
		return 0;
	return r < 0 ? r : pin(change, snapshot, RANSOMWARE_SOURCE_BLOCK, kept_why, err);
}

/* ---- The end ---- */

int ransomware_acknowledge(struct change *change, const char *desktop, bool false_alarm,
			   const char *user, struct err *err)
{
	struct catalogue_alarm open;
	int r = catalogue_alarm_get(change->db, desktop, &open, err);

	if (r == CATALOGUE_NONE)
		return err_say(err, ENOENT, "desktop %.63s has no alarm", desktop);
	if (r == 0 && !false_alarm && open.good[0]) {
		const struct marks_order order = { .snapshot = open.good,
						   .kind = MARKS_PIN,
						   .source = "person",
						   .why = "the last good one before ransomware",
						   .user = user };

		r = marks_set(change, &order, err);
		r = r == -ENOENT ? 0 : r;
	}
	if (r == 0)
		r = unpin_all(change, desktop, RANSOMWARE_SOURCE_GOOD, user, err);
	if (r == 0)
		r = unpin_all(change, desktop, RANSOMWARE_SOURCE_BLOCK, user, err);
	if (r == 0 && false_alarm)
		r = catalogue_changes_forgive(change->db, desktop, err);
	if (r == 0)
		r = catalogue_changes_reset(change->db, desktop, err);
	if (r == 0)
		r = catalogue_alarm_drop(change->db, desktop, err);
	change_touch(change, CHANGE_DESKTOP, desktop);
	return r;
}

void ransomware_show_alarm(struct db_conn *c, const char *desktop, json_t *object)
{
	struct catalogue_alarm a;
	json_t *alarm = NULL;

	if (catalogue_alarm_get(c, desktop, &a, NULL) == 0)
		alarm = json_pack("{ss so ss so}", "snapshot", a.snapshot, "last_good",
				  objects_text(a.good), "why", a.why, "since",
				  objects_time(a.since_ms));
	json_object_set_new(object, "alarm", alarm ? alarm : json_null());
}
