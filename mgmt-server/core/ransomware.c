/* ransomware.c - see ransomware.h. */
#include "mgmt-server/core/ransomware.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/io.h"
#include "common/log.h"
#include "mgmt-server/catalogue/catalogue_changes.h"
#include "mgmt-server/core/objects.h"
#include "mgmt-server/core/ransomware_alarm.h"
#include "mgmt-server/core/ransomware_judge.h"
#include "mgmt-server/core/scans_child.h"

enum { NICE = 19, TRIES_MAX = 4, RETRY_MS = 2 * 60 * 1000 };

struct ransomware {
	char *program;
	struct scans_child child;
	struct catalogue_changes running; /* snapshot "": none */
};

int ransomware_init(struct ransomware **out, struct err *err)
{
	struct ransomware *w = calloc(1, sizeof(*w));
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	self[n > 0 ? n : 0] = '\0';
	if (strrchr(self, '/'))
		*strrchr(self, '/') = '\0';
	if (w)
		w->program = io_printf("%s/godwit-scan", self);
	if (!w || !w->program) {
		free(w);
		return err_set(err, ENOMEM, "prepare the watch for ransomware");
	}
	w->child = (struct scans_child){ .report = -1, .said = -1 };
	*out = w;
	return 0;
}

void ransomware_free(struct ransomware *w)
{
	if (!w)
		return;
	scans_child_end(&w->child);
	free(w->program);
	free(w);
}

int ransomware_new(struct change *change, const char *desktop, const char *snapshot,
		   const char *parent, struct err *err)
{
	struct catalogue_changes x = { .state = "waiting", .due_ms = clock_wall_ms() };
	int r = ransomware_alarm_cover(change, desktop, snapshot, err);

	if (r < 0 || !parent[0] || !change->server->config.ransomware_watch)
		return r;
	snprintf(x.snapshot, sizeof(x.snapshot), "%s", snapshot);
	snprintf(x.desktop, sizeof(x.desktop), "%s", desktop);
	return catalogue_changes_put(change->db, &x, err);
}

/* ---- What a report says ---- */

static uint64_t number_of(const json_t *object, const char *key)
{
	json_int_t n = json_integer_value(json_object_get(object, key));

	return n > 0 ? (uint64_t)n : 0;
}

static void read_report(const json_t *report, struct ransomware_measure *m)
{
	const char *suffix = json_string_value(json_object_get(report, "suffix"));

	*m = (struct ransomware_measure){
		.encrypted_wholly = number_of(report, "encrypted_wholly"),
		.encrypted_partly = number_of(report, "encrypted_partly"),
		.encrypted_unnamed = number_of(report, "encrypted_unnamed"),
		.vanished = number_of(report, "vanished"),
		.created_random = number_of(report, "created_random"),
		.suffix_count = number_of(report, "suffix_count"),
		.changed_bytes = number_of(report, "changed_bytes"),
		.became_random_bytes = number_of(report, "became_random_bytes"),
		.file_systems = number_of(report, "file_systems"),
		.encrypted_volumes = json_array_size(json_object_get(report, "encrypted_volumes")),
	};
	snprintf(m->suffix, sizeof(m->suffix), "%s", suffix ? suffix : "");
}

static int remember(void *arg, const struct catalogue_changes *x, struct err *err)
{
	struct ransomware_history *h = arg;

	(void)err;
	if (!h->count && h->excess < 0)
		h->excess = x->excess;
	if (strcmp(x->level, "alarm") != 0 && h->count < RANSOMWARE_JUDGE_HISTORY) {
		h->encrypted[h->count] = x->encrypted;
		h->changed[h->count++] = (double)x->changed_bytes;
	}
	return 0;
}

static int judge(struct change *change, const struct catalogue_changes *x,
		 const struct ransomware_measure *m, struct ransomware_judgement *out,
		 struct err *err)
{
	const struct ransomware_limits limits = {
		.files = (double)change->server->config.ransomware_files,
		.slack = (double)change->server->config.ransomware_slack,
	};
	struct ransomware_history h = { .excess = -1 };
	int r = catalogue_changes_before(change->db, x->desktop, x->snapshot,
					 RANSOMWARE_JUDGE_HISTORY, remember, &h, err);

	if (r < 0)
		return r;
	h.excess = h.excess < 0 ? 0 : h.excess;
	ransomware_judge(m, &h, &limits, out);
	return 0;
}

static int keep(struct change *change, struct catalogue_changes *x, const json_t *report,
		struct err *err)
{
	const struct ransomware_limits limits = {
		.files = (double)change->server->config.ransomware_files,
	};
	CLEANUP_FREE char *text = json_text(report);
	struct ransomware_measure m;
	struct ransomware_judgement j;
	int r;

	if (!text)
		return err_set(err, ENOMEM, "keep what changed in %s", x->snapshot);
	read_report(report, &m);
	r = judge(change, x, &m, &j, err);
	if (r < 0)
		return r;
	snprintf(x->state, sizeof(x->state), "measured");
	snprintf(x->level, sizeof(x->level), "%s", ransomware_judge_levels[j.level]);
	x->encrypted = ransomware_judge_encrypted(&m, &limits);
	x->excess = j.excess;
	x->changed_bytes = m.changed_bytes;
	x->ended_ms = clock_wall_ms();
	x->why = j.why;
	x->report = text;
	r = catalogue_changes_put(change->db, x, err);
	if (r == 0 && j.level != RANSOMWARE_CALM)
		r = ransomware_alarm_raise(change, x, report, j.level == RANSOMWARE_ALARM, err);
	if (j.level != RANSOMWARE_CALM)
		log_warning("watch desktop=%s snapshot=%s level=%s: %s", x->desktop, x->snapshot,
			    x->level, j.why);
	return r;
}

static int try_again(struct change *change, struct catalogue_changes *x, const char *why,
		     struct err *err)
{
	x->tries++;
	x->due_ms = clock_wall_ms() + ((uint64_t)RETRY_MS << x->tries);
	x->why = why;
	x->report = NULL;
	if (x->tries == TRIES_MAX)
		snprintf(x->state, sizeof(x->state), "failed");
	log_warning("what changed was not measured desktop=%s snapshot=%s tries=%llu: %s",
		    x->desktop, x->snapshot, (unsigned long long)x->tries, why);
	return catalogue_changes_put(change->db, x, err);
}

/* ---- Going on ---- */

/* The snapshot may be gone meanwhile: then there is nothing to keep. */
static int known(void *arg, const struct catalogue_changes *x, struct err *err)
{
	(void)x, (void)err;
	*(bool *)arg = true;
	return DB_STOP;
}

static int take_report(struct server *s, struct ransomware *w, int status, struct err *err)
{
	CLEANUP_CHANGE struct change change = { .held = false };
	CLEANUP(json_decref) json_t *report = scans_child_line(&w->child);
	char said[SCANS_CHILD_SAID_MAX];
	bool there = false, good = WIFEXITED(status) && WEXITSTATUS(status) == 0 && report;
	int r = change_begin(&change, s, err);

	if (r == 0)
		r = catalogue_changes_get(change.db, w->running.snapshot, known, &there, err);
	if (r < 0 || !there)
		return r;
	scans_child_said(&w->child, said);
	r = good ? keep(&change, &w->running, report, err)
		 : try_again(&change, &w->running, said[0] ? said : "godwit-scan was ended", err);
	change_touch(&change, CHANGE_SNAPSHOT, w->running.snapshot);
	return r < 0 ? r : change_commit(&change, err);
}

static int take_due(void *arg, const struct catalogue_changes *x, struct err *err)
{
	struct catalogue_changes *out = arg;

	(void)err;
	*out = *x;
	out->why = out->report = NULL;
	return DB_STOP;
}

static int start_next(struct server *s, struct ransomware *w, struct err *err)
{
	const struct server_config *config = &s->config;
	struct db_conn *c = db_read(s->db);
	const char *argv[] = { w->program, "changes",         config->store, w->running.snapshot,
			       "--key",    config->store_key, NULL };
	int r = catalogue_changes_due(c, clock_wall_ms(), take_due, &w->running, err);

	db_read_end(c);
	if (r == 0 && w->running.snapshot[0])
		r = scans_child_start(&w->child, argv, NICE, err);
	if (r < 0)
		w->running.snapshot[0] = '\0';
	return r;
}

void ransomware_tick(struct server *s)
{
	struct ransomware *w = s->ransomware;
	struct err err = { 0 };
	int status, r = 0;

	if (!w)
		return;
	if (w->running.snapshot[0]) {
		if (scans_child_poll(&w->child, &status) == SCANS_CHILD_RUNS)
			return;
		r = take_report(s, w, status, &err);
		scans_child_end(&w->child);
		w->running.snapshot[0] = '\0';
	}
	if (r == 0)
		r = start_next(s, w, &err);
	if (r < 0)
		log_error("the watch for ransomware: %s", err_text(&err));
}

/* ---- Showing ---- */

static int show(void *arg, const struct catalogue_changes *x, struct err *err)
{
	json_t **object = arg, *report = NULL;

	(void)err;
	if (json_parse(&report, x->report, strlen(x->report), "what changed", NULL) < 0)
		report = json_null();
	*object = json_pack("{ss so ss sf sf sI so so}", "state", x->state, "level",
			    objects_text(x->level), "why", x->why, "encrypted", x->encrypted,
			    "excess", x->excess, "changed_bytes", (json_int_t)x->changed_bytes,
			    "ended", objects_time(x->ended_ms), "report", report);
	return DB_STOP;
}

void ransomware_show_changes(struct db_conn *c, const char *snapshot, json_t *object)
{
	json_t *changes = NULL;

	catalogue_changes_get(c, snapshot, show, &changes, NULL);
	json_object_set_new(object, "changes", changes ? changes : json_null());
}
