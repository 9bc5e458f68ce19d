/* scan_queue.c - see scan_queue.h. */
#include "mgmt-server/core/scan_queue.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "mgmt-server/catalogue/catalogue_scan_queue.h"
#include "mgmt-server/core/jobs.h"
#include "mgmt-server/core/notices.h"
#include "mgmt-server/core/objects.h"
#include "mgmt-server/core/scans.h"

/* From the first wait (a setting) on, each is twice as long as the one before, up to this one. */
enum { DOUBLINGS_MAX = 10, TRIES_BEFORE_NOTICE = 3 };
static const uint64_t longest_wait_ms = 6ULL * 3600 * 1000;

int scan_queue_new(struct change *change, const char *snapshot, struct err *err)
{
	struct catalogue_waiting_scan w = { .due_ms = clock_wall_ms(), .why = "it is new" };

	if (!change->server->config.scan_automatic)
		return 0;
	snprintf(w.snapshot, sizeof(w.snapshot), "%s", snapshot);
	return catalogue_scan_queue_put(change->db, &w, err);
}

/* ---- Again ---- */

/* The report's reasons (godwit-scan(1)): what they begin with, and what must be in them. Whatever is not here is a
 * property of the snapshot: encrypted, unknown, an archive with a password. Another try would end the same. */
static const struct {
	const char *begins, *has;
} passing[] = {
	{ "no engine:", "" },                 /* no signatures, no temp folder, no memory */
	{ "outdated:", "" },                  /* signatures */
	{ "cancelled", "" },                  /* this server stopped */
	{ "unfinished:", "the engine died" }, /* killed workers */
	{ "unfinished:", "canary" },          /* a full temp folder among others */
	{ "unfinished:", "no verdict" },
	{ "unfinished:", "engine: " },
	{ "unreadable:", "was ended by signal" },
	{ "unreadable:", "ended with status" },
	/* What the store says of a damaged or missing chunk, which a mirror may mend. */
	{ "unreadable:", "Bad message" },
	{ "unreadable:", "chunk" },
	{ "unreadable:", "pack" },
	{ "unreadable:", "Input/output error" },
	{ "unfinished:", "Bad message" },
	{ "unfinished:", "Input/output error" },
	{ "", "No space left" },
	{ "", "Cannot allocate memory" },
};

bool scan_queue_may_pass(const char *reason)
{
	for (size_t i = 0; i < ARRAY_LEN(passing); i++) {
		if (strncmp(reason, passing[i].begins, strlen(passing[i].begins)) == 0 &&
		    strstr(reason, passing[i].has))
			return true;
	}
	return false;
}

static uint64_t wait_ms(const struct server *s, uint64_t tries)
{
	uint64_t doublings = tries < DOUBLINGS_MAX ? tries : DOUBLINGS_MAX;
	uint64_t wait = s->config.scan_retry_ms << doublings;

	return wait < longest_wait_ms ? wait : longest_wait_ms;
}

static int tell(struct change *change, const struct catalogue_job *job,
		const struct catalogue_waiting_scan *w, struct err *err)
{
	struct notices_order order = { .severity = "warning",
				       .kind = "scan-failing",
				       .desktop = job->desktop,
				       .snapshot = w->snapshot,
				       .job = job->id };
	char text[512];

	snprintf(text, sizeof(text),
		 "desktop %s: the scan of snapshot %s could not finish %llu times, it goes on "
		 "being tried: %s",
		 job->desktop, w->snapshot, (unsigned long long)w->tries, w->why);
	return notices_add(change, &order, text, err);
}

int scan_queue_again(struct change *change, const struct catalogue_job *job, const char *why,
		     struct err *err)
{
	struct catalogue_waiting_scan w = { .tries = jobs_number(job, "tries") + 1 };
	uint64_t wait = wait_ms(change->server, w.tries - 1);
	int r;

	snprintf(w.snapshot, sizeof(w.snapshot), "%s", jobs_text(job, "snapshot"));
	snprintf(w.why, sizeof(w.why), "%.250s", why);
	w.due_ms = clock_wall_ms() + wait;
	log_warning("a scan is tried again later snapshot=%s tries=%llu wait_ms=%llu: %s",
		    w.snapshot, (unsigned long long)w.tries, (unsigned long long)wait, w.why);
	r = catalogue_scan_queue_put(change->db, &w, err);
	if (r == 0 && w.tries == TRIES_BEFORE_NOTICE)
		r = tell(change, job, &w, err);
	return r;
}

/* ---- Going on ---- */

static int begin(struct server *s, const struct catalogue_waiting_scan *w, struct err *err)
{
	CLEANUP_CHANGE struct change change = { .held = false };
	struct scans_order order = { .snapshot = w->snapshot, .user = "system", .tries = w->tries };
	char id[CATALOGUE_ID_LEN];
	int r = change_begin(&change, s, err);

	if (r == 0)
		r = catalogue_scan_queue_drop(change.db, w->snapshot, err);
	if (r == 0)
		r = scans_order(&change, &order, id, err);
	if (r == -EEXIST ||
	    r == -ENOENT) /* somebody is faster, or it is gone: nothing to wait for */
		r = 0;
	change_touch(&change, CHANGE_SNAPSHOT, w->snapshot);
	return r < 0 ? r : change_commit(&change, err);
}

void scan_queue_tick(struct server *s)
{
	struct catalogue_waiting_scan next;
	struct db_conn *c = db_read(s->db);
	struct err err = { 0 };
	int r = catalogue_scan_queue_due(c, clock_wall_ms(), &next, &err);

	db_read_end(c);
	if (r == 0)
		r = begin(s, &next, &err);
	if (r < 0)
		log_error("go on with waiting scans: %s", err_text(&err));
}

void scan_queue_show(struct db_conn *c, const char *snapshot, json_t *object)
{
	struct catalogue_waiting_scan w = { .due_ms = 0 };

	catalogue_scan_queue_get(c, snapshot, &w, NULL);
	json_object_set_new(object, "scan_due", objects_time(w.due_ms));
	json_object_set_new(object, "scan_tries", json_integer((json_int_t)w.tries));
}
