/* verdicts.c - see verdicts.h. */
#include "mgmt-server/core/verdicts.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "mgmt-server/catalogue/catalogue_marks.h"
#include "mgmt-server/core/marks.h"
#include "mgmt-server/core/notices.h"
#include "mgmt-server/core/quarantines.h"

enum { NOTICE_FINDINGS = 10 };

struct subject {
	char desktop[CATALOGUE_NAME_LEN];
	bool held; /* by an earlier scan */
};

static int take_desktop(void *arg, const struct catalogue_snapshot *s, struct err *err)
{
	struct subject *subject = arg;

	(void)err;
	memcpy(subject->desktop, s->desktop, sizeof(subject->desktop));
	return DB_STOP;
}

static int take_hold(void *arg, const struct catalogue_mark *m, struct err *err)
{
	struct subject *subject = arg;

	(void)err;
	subject->held |=
		strcmp(m->kind, MARKS_HOLD) == 0 && strcmp(m->source, VERDICTS_SOURCE) == 0;
	return 0;
}

static int look_up(struct db_conn *c, const char *snapshot, struct subject *subject,
		   struct err *err)
{
	int r = catalogue_snapshot_get(c, NULL, snapshot, take_desktop, subject, err);

	if (r == CATALOGUE_NONE)
		return err_say(err, ENOENT, "there is no snapshot %.39s", snapshot);
	return r < 0 ? r : catalogue_mark_each(c, snapshot, take_hold, subject, err);
}

/* ---- The pin of the last clean one ---- */

struct pinning {
	struct change *change;
	char clean[CATALOGUE_ID_LEN]; /* that shall be pinned; "": none */
	char stale[16][CATALOGUE_ID_LEN];
	size_t stale_count;
	bool pinned; /* it is already */
};

static int take_id(void *arg, const struct db_row *row, struct err *err)
{
	(void)err;
	db_column_copy(row, 0, arg, CATALOGUE_ID_LEN);
	return DB_STOP;
}

static int compare_pin(void *arg, const struct catalogue_mark *m, struct err *err)
{
	struct pinning *p = arg;

	(void)err;
	if (strcmp(m->snapshot, p->clean) == 0)
		p->pinned = true;
	else if (p->stale_count < ARRAY_LEN(p->stale))
		memcpy(p->stale[p->stale_count++], m->snapshot, CATALOGUE_ID_LEN);
	return 0;
}

static int find_clean(struct db_conn *c, const char *desktop, char *clean, struct err *err)
{
	int r = db_each(c, take_id, clean,
			"SELECT id FROM snapshots WHERE desktop = $1 AND branch = 0 AND "
			"verdict = 'clean' AND NOT EXISTS (SELECT 1 FROM marks WHERE "
			"marks.snapshot = snapshots.id AND marks.kind = 'hold') AND EXISTS "
			"(SELECT 1 FROM snapshots AS s JOIN marks ON marks.snapshot = s.id AND "
			"marks.kind = 'hold' WHERE s.desktop = $1) ORDER BY seq DESC LIMIT 1",
			DB_VALUES(db_t(desktop)), err);

	return r < 0 ? r : 0;
}

static int pin_last_clean(struct pinning *p, const char *desktop, struct err *err)
{
	struct marks_order order = { .kind = MARKS_PIN,
				     .source = VERDICTS_SOURCE,
				     .user = "system" };
	int r = find_clean(p->change->db, desktop, p->clean, err);

	if (r == 0)
		r = catalogue_mark_each_of(p->change->db, desktop, MARKS_PIN, VERDICTS_SOURCE,
					   compare_pin, p, err);
	order.snapshot = p->clean;
	order.why = "the last clean one: the desktop has an infected snapshot";
	if (r == 0 && p->clean[0] && !p->pinned)
		r = marks_set(p->change, &order, err);
	order.why = "it is not the last clean one any more";
	for (size_t i = 0; r == 0 && i < p->stale_count; i++) {
		order.snapshot = p->stale[i];
		r = marks_clear(p->change, &order, err);
	}
	return r;
}

/* ---- Telling ---- */

static const char *text_of(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key)) ?: "";
}

/* "PATH: SIGNATURE" of the first finding. */
static void first_finding(const json_t *findings, char *text, size_t size)
{
	const json_t *first = json_array_get(findings, 0);

	snprintf(text, size, "%.120s: %.80s", text_of(first, "path"), text_of(first, "signature"));
}

static int alarm(struct change *change, const struct catalogue_scan *scan, const char *desktop,
		 const char *clean, struct err *err)
{
	struct notices_order order = { .severity = "alarm",
				       .kind = "infected",
				       .desktop = desktop,
				       .snapshot = scan->snapshot,
				       .job = scan->job };
	CLEANUP(json_decref) json_t *findings = NULL;
	json_t *few = json_array();
	char first[256], text[512];
	size_t n;

	json_parse(&findings, scan->findings, strlen(scan->findings), "findings", NULL);
	n = json_array_size(findings) + scan->more_findings;
	for (size_t i = 0; i < json_array_size(findings) && i < NOTICE_FINDINGS; i++)
		json_array_append(few, json_array_get(findings, i));
	first_finding(findings, first, sizeof(first));
	snprintf(text, sizeof(text),
		 "desktop %s: snapshot %s is infected (%zu found; %s). It is held; %s%s", desktop,
		 scan->snapshot, n, first,
		 clean[0] ? "the last clean one is pinned: " : "there is no clean one", clean);
	order.details = json_pack("{so sI so}", "findings", few, "found", (json_int_t)n,
				  "last_clean", clean[0] ? json_string(clean) : json_null());
	return notices_add(change, &order, text, err);
}

int verdicts_apply(struct change *change, const struct catalogue_scan *scan, struct err *err)
{
	bool infected = strcmp(scan->verdict, "infected") == 0;
	struct subject subject = { .held = false };
	struct pinning pinning = { .change = change };
	struct marks_order order = { .snapshot = scan->snapshot,
				     .kind = MARKS_HOLD,
				     .source = VERDICTS_SOURCE,
				     .user = "system",
				     .why = "infected" };
	int r = look_up(change->db, scan->snapshot, &subject, err);

	if (r == 0 && infected && !subject.held)
		r = marks_set(change, &order, err);
	if (r == 0 && subject.held && strcmp(scan->verdict, "clean") == 0) {
		order.why = "a later scan found it clean";
		r = marks_clear(change, &order, err);
	}
	if (r == 0)
		r = pin_last_clean(&pinning, subject.desktop, err);
	if (r == 0 && infected && !subject.held)
		r = alarm(change, scan, subject.desktop, pinning.clean, err);
	if (r == 0 && infected && !subject.held)
		r = quarantines_infected(change, subject.desktop, scan->snapshot, err);
	return r;
}
