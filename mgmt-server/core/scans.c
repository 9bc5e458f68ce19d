/* scans.c - see scans.h. */
#include "mgmt-server/core/scans.h"

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
#include "mgmt-server/catalogue/catalogue_scans.h"
#include "mgmt-server/core/jobs.h"
#include "mgmt-server/core/make_way.h"
#include "mgmt-server/core/objects.h"
#include "mgmt-server/core/scan_queue.h"
#include "mgmt-server/core/scans_child.h"
#include "mgmt-server/core/signatures.h"
#include "mgmt-server/core/verdicts.h"

enum { KEPT_FINDINGS = 1000, KEPT_REASONS = 100, END_WAIT_MS = 5000 };

static const char *const verdicts[] = { "clean", "infected",
					"incomplete" }; /* by godwit-scan's exit status */

struct running {
	char job[CATALOGUE_ID_LEN]; /* "": free */
	struct scans_child child;
};

struct scans {
	char *state; /* what godwit-scan remembers; derived data */
	char *program;
	size_t places; /* so many run at once */
	struct running running[];
};

int scans_new(struct scans **out, struct server *server, struct err *err)
{
	size_t places = server->config.scan_at_once;
	struct scans *s = calloc(1, sizeof(*s) + places * sizeof(s->running[0]));
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	self[n > 0 ? n : 0] = '\0';
	if (strrchr(self, '/'))
		*strrchr(self, '/') = '\0';
	if (s) {
		s->program = io_printf("%s/godwit-scan", self);
		s->state = io_printf("%s/scan", server->state);
	}
	if (!s || !s->program || !s->state) {
		if (s) {
			free(s->program);
			free(s->state);
		}
		free(s);
		return err_set(err, ENOMEM, "prepare scans");
	}
	s->places = places;
	*out = s;
	return 0;
}

void scans_free(struct scans *s)
{
	uint64_t end = clock_now_ms() + END_WAIT_MS;
	int status;

	for (size_t i = 0; i < s->places; i++) {
		struct running *run = &s->running[i];

		if (!run->job[0])
			continue;
		scans_child_ask_to_end(&run->child); /* it removes its temp files */
		while (scans_child_poll(&run->child, &status) == SCANS_CHILD_RUNS &&
		       clock_now_ms() < end)
			clock_sleep_ms(20);
		scans_child_end(&run->child);
	}
	free(s->program);
	free(s->state);
	free(s);
}

/* ---- Ordering ---- */

struct wanted {
	const char *snapshot;
	char desktop[CATALOGUE_NAME_LEN], job[CATALOGUE_ID_LEN];
};

static int take_desktop(void *arg, const struct catalogue_snapshot *snapshot, struct err *err)
{
	struct wanted *w = arg;

	(void)err;
	memcpy(w->desktop, snapshot->desktop, sizeof(w->desktop));
	return DB_STOP;
}

static int take_same(void *arg, const struct catalogue_job *job, struct err *err)
{
	struct wanted *w = arg;

	(void)err;
	if (strcmp(job->kind, "scan") != 0 || strcmp(jobs_text(job, "snapshot"), w->snapshot) != 0)
		return 0;
	memcpy(w->job, job->id, sizeof(w->job));
	return DB_STOP;
}

int scans_order(struct change *change, const struct scans_order *scan, char *id, struct err *err)
{
	const char *snapshot = scan->snapshot;
	struct wanted w = { .snapshot = snapshot };
	struct catalogue_job_filter filter = { .desktop = w.desktop, .active = true };
	struct jobs_order order = { .kind = "scan", .desktop = w.desktop, .user = scan->user };
	int r = catalogue_snapshot_get(change->db, NULL, snapshot, take_desktop, &w, err);

	if (r == CATALOGUE_NONE)
		return err_say(err, ENOENT, "there is no snapshot %.32s", snapshot);
	if (r == 0)
		r = catalogue_job_each(change->db, &filter, take_same, &w, err);
	if (r < 0)
		return r;
	if (w.job[0])
		return err_say(err, EEXIST, "snapshot %s is being scanned: job %s", snapshot,
			       w.job);
	order.arguments =
		json_pack("{ss sI}", "snapshot", snapshot, "tries", (json_int_t)scan->tries);
	return jobs_create(change, &order, id, err);
}

/* ---- Running ---- */

static struct running *find(struct scans *s, const char *job)
{
	for (size_t i = 0; i < s->places; i++) {
		if (strcmp(s->running[i].job, job) == 0)
			return &s->running[i];
	}
	return NULL;
}

static int fail(struct catalogue_job *job, const char *text)
{
	snprintf(job->error, sizeof(job->error), "%s", text);
	return JOBS_FAIL;
}

static int start(struct server *server, struct catalogue_job *job)
{
	const struct server_config *config = &server->config;
	struct scans *s = server->scans;
	CLEANUP_FREE char *signatures = signatures_folder(server);
	const char *argv[] = { s->program,     "snapshot",
			       config->store,  jobs_text(job, "snapshot"),
			       "--key",        config->store_key,
			       "--signatures", signatures,
			       "--state",      s->state,
			       "--output",     "json",
			       "--progress",   NULL };
	struct running *run = find(s, "");
	struct err err = { 0 };

	if (make_way_stands(server)) {
		snprintf(job->message, sizeof(job->message), "waiting until a desktop is back");
		return JOBS_WAIT;
	}
	if (!run) {
		snprintf(job->message, sizeof(job->message),
			 "waiting until another scan has ended");
		return JOBS_WAIT;
	}
	if (!signatures)
		return fail(job, "out of memory");
	if (scans_child_start(&run->child, argv, (int)config->scan_nice, &err) < 0)
		return fail(job, err_text(&err));
	memcpy(run->job, job->id, sizeof(run->job));
	snprintf(job->state, sizeof(job->state), "running");
	job->started_ms = clock_wall_ms();
	snprintf(job->message, sizeof(job->message), "loading signatures");
	return JOBS_WAIT;
}

static uint64_t number_of(const json_t *object, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(object, key));
}

static void show_progress(struct catalogue_job *job, const struct running *run)
{
	CLEANUP(json_decref) json_t *line = scans_child_line(&run->child);

	if (!line)
		return;
	job->done_bytes = number_of(line, "bytes");
	snprintf(job->message, sizeof(job->message), "%llu files, %llu MiB looked at",
		 (unsigned long long)number_of(line, "files"),
		 (unsigned long long)job->done_bytes >> 20);
}

/* ---- The verdict ---- */

/* The first @max of an array as text; @more: how many that leaves out. Heap; NULL: out of memory. */
static char *kept(const json_t *array, size_t max, uint64_t *more)
{
	CLEANUP(json_decref) json_t *few = json_array();
	json_t *item;
	size_t i;

	json_array_foreach (array, i, item) {
		if (i < max)
			json_array_append(few, item);
		else
			(*more)++;
	}
	return few ? json_text(few) : NULL;
}

static const char *text_of(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key)) ?: "";
}

/* An incomplete scan whose reason may pass is repeated later. */
static int try_again(struct change *change, const struct catalogue_job *job, const json_t *report,
		     struct err *err)
{
	const json_t *reason;
	size_t i;

	json_array_foreach (json_object_get(report, "reasons"), i, reason) {
		const char *text = json_string_value(reason) ?: "";

		if (scan_queue_may_pass(text))
			return scan_queue_again(change, job, text, err);
	}
	return 0;
}

static json_t *parsed(const char *text)
{
	json_t *value = NULL;

	return json_parse(&value, text, strlen(text), "a scan", NULL) < 0 ? json_null() : value;
}

/* Old signatures find nothing new: by policy that is no clean bill. The reason joins the report's. */
static const char *judged(struct server *server, const char *verdict, const json_t *report)
{
	char text[128];
	uint64_t age_s;

	if (strcmp(verdict, "clean") != 0 ||
	    strcmp(server->config.scan_outdated, "incomplete") != 0 ||
	    !signatures_outdated(server, &age_s))
		return verdict;
	snprintf(text, sizeof(text), "outdated: the signatures are %llu days old",
		 (unsigned long long)age_s / 86400);
	json_array_insert_new(json_object_get(report, "reasons"), 0, json_string(text));
	return "incomplete";
}

/* The verdict of @snapshot into the catalogue, with what follows from it. @report says who scanned, @item what came out;
 * *said is the sentence about it. */
static int put_verdict(struct change *change, const char *snapshot, const char *job,
		       const char *verdict, const json_t *report, const json_t *item, char *said,
		       size_t said_len, struct err *err)
{
	struct catalogue_scan scan = {
		.ended_ms = clock_wall_ms(),
		.files = number_of(item, "files"),
		.bytes = number_of(item, "bytes"),
		.contents = number_of(item, "scanned_contents"),
		.more_reasons = number_of(item, "more_reasons"),
		.more_findings = number_of(item, "more_findings"),
		.engine = text_of(report, "engine"),
		.signature_version = text_of(report, "signature_version"),
	};
	const json_t *all = json_object_get(item, "findings");
	uint64_t found = json_array_size(all) + scan.more_findings;
	CLEANUP_FREE char *reasons =
		kept(json_object_get(item, "reasons"), KEPT_REASONS, &scan.more_reasons);
	CLEANUP_FREE char *findings = kept(all, KEPT_FINDINGS, &scan.more_findings);
	int r;

	if (!reasons || !findings)
		return err_set(err, ENOMEM, "keep the verdict of snapshot %s", snapshot);
	snprintf(scan.snapshot, sizeof(scan.snapshot), "%s", snapshot);
	snprintf(scan.job, sizeof(scan.job), "%s", job);
	snprintf(scan.verdict, sizeof(scan.verdict), "%s", verdict);
	scan.reasons = reasons;
	scan.findings = findings;
	snprintf(said, said_len, "%s: %llu files, %llu findings", verdict,
		 (unsigned long long)scan.files, (unsigned long long)found);
	r = catalogue_scan_put(change->db, &scan, err);
	if (r == 0)
		r = verdicts_apply(change, &scan, err);
	if (r == 0)
		r = change_audit(change, "system", "", "verdict", snapshot, said, err);
	change_touch(change, CHANGE_SNAPSHOT, snapshot);
	return r;
}

static int keep(struct change *change, struct catalogue_job *job, const char *verdict,
		const json_t *report, struct err *err)
{
	const char *snapshot = jobs_text(job, "snapshot");
	uint64_t found = json_array_size(json_object_get(report, "findings")) +
			 number_of(report, "more_findings");
	int r;

	json_object_set_new(job->result, "verdict", json_string(verdict));
	json_object_set_new(job->result, "snapshot", json_string(snapshot));
	json_object_set(job->result, "files", json_object_get(report, "files"));
	json_object_set(job->result, "bytes", json_object_get(report, "bytes"));
	json_object_set_new(job->result, "findings", json_integer((json_int_t)found));
	r = put_verdict(change, snapshot, job->id, verdict, report, report, job->message,
			sizeof(job->message), err);
	return r < 0 ? r : try_again(change, job, report, err);
}

static int is_same(void *arg, const struct catalogue_scan *scan, struct err *err)
{
	const json_t **item = arg;
	CLEANUP(json_decref) json_t *findings = parsed(scan->findings);

	(void)err;
	if (strcmp(scan->verdict, text_of(*item, "verdict")) == 0 &&
	    json_array_size(findings) + scan->more_findings ==
		    json_array_size(json_object_get(*item, "findings")) +
			    number_of(*item, "more_findings"))
		*item = NULL; /* as before */
	return DB_STOP;
}

int scans_judged(struct change *change, const char *hunt, const json_t *report, const json_t *item,
		 struct err *err)
{
	const char *snapshot = text_of(item, "snapshot");
	const json_t *different = item;
	struct wanted w = { .snapshot = snapshot };
	char said[128];
	int r = catalogue_snapshot_get(change->db, NULL, snapshot, take_desktop, &w, err);

	if (r == 0)
		r = catalogue_scan_get(change->db, snapshot, is_same, &different, err);
	else if (r == CATALOGUE_NONE)
		return 0;
	if (r < 0 || !different)
		return r < 0 ? r : 0;
	return put_verdict(change, snapshot, hunt,
			   judged(change->server, text_of(item, "verdict"), item), report, item,
			   said, sizeof(said), err);
}

/* Its exit status and its report must say the same: neither alone is believed. */
static int take_verdict(struct change *change, struct catalogue_job *job, const struct running *run,
			int status, struct err *err)
{
	CLEANUP(json_decref) json_t *report = scans_child_line(&run->child);
	char said[SCANS_CHILD_SAID_MAX], text[sizeof(said) + 64];
	unsigned code = WIFEXITED(status) ? (unsigned)WEXITSTATUS(status) : 255;
	int r;

	if (code < ARRAY_LEN(verdicts) && strcmp(text_of(report, "verdict"), verdicts[code]) == 0) {
		const char *verdict = judged(change->server, verdicts[code], report);

		r = keep(change, job, verdict, report, err);
		log_info("scanned snapshot=%s verdict=%s job=%s", jobs_text(job, "snapshot"),
			 verdict, job->id);
		return r < 0 ? r : JOBS_NEXT;
	}
	scans_child_said(&run->child, said);
	if (WIFSIGNALED(status))
		snprintf(text, sizeof(text), "godwit-scan was ended by signal %d",
			 WTERMSIG(status));
	else
		snprintf(text, sizeof(text), "godwit-scan ended with status %u: %s", code,
			 said[0] ? said : "it gave no reason");
	r = scan_queue_again(change, job, text, err);
	return r < 0 ? r : fail(job, text);
}

int scans_step(struct change *change, struct catalogue_job *job, struct err *err)
{
	struct running *run = find(change->server->scans, job->id);
	int status, r;

	if (!run)
		return start(change->server, job);
	if (scans_child_poll(&run->child, &status) == SCANS_CHILD_RUNS) {
		show_progress(job, run);
		return JOBS_WAIT;
	}
	r = take_verdict(change, job, run, status, err);
	scans_child_end(&run->child);
	run->job[0] = '\0';
	return r;
}

static bool goes_on(struct server *server, const char *id)
{
	struct db_conn *c = db_read(server->db);
	struct catalogue_job job;
	bool ended = true;

	if (catalogue_job_get(c, id, &job, NULL) == 0) {
		ended = job.ended_ms != 0;
		catalogue_job_deinit(&job);
	}
	db_read_end(c);
	return !ended;
}

size_t scans_stand(struct scans *s, bool still)
{
	size_t n = 0;

	for (size_t i = 0; i < s->places; i++) {
		if (!s->running[i].job[0])
			continue;
		scans_child_stand(&s->running[i].child, still);
		n++;
	}
	return n;
}

void scans_tick(struct server *server)
{
	struct scans *s = server->scans;

	for (size_t i = 0; i < s->places; i++) {
		struct running *run = &s->running[i];
		int status;

		if (!run->job[0] || goes_on(server, run->job))
			continue;
		scans_child_ask_to_end(&run->child);
		if (scans_child_poll(&run->child, &status) == SCANS_CHILD_RUNS)
			continue;
		scans_child_end(&run->child);
		run->job[0] = '\0';
	}
	if (find(s, ""))
		scan_queue_tick(server);
}

/* ---- Showing ---- */

static int show(void *arg, const struct catalogue_scan *s, struct err *err)
{
	json_t **object = arg;

	(void)err;
	*object = json_pack("{ss so ss sI sI sI so sI so sI ss ss}", "verdict", s->verdict, "ended",
			    objects_time(s->ended_ms), "job", s->job, "files", (json_int_t)s->files,
			    "bytes", (json_int_t)s->bytes, "scanned_contents",
			    (json_int_t)s->contents, "reasons", parsed(s->reasons), "more_reasons",
			    (json_int_t)s->more_reasons, "findings", parsed(s->findings),
			    "more_findings", (json_int_t)s->more_findings, "engine", s->engine,
			    "signature_version", s->signature_version);
	return DB_STOP;
}

json_t *scans_object(struct db_conn *c, const char *snapshot)
{
	json_t *object = NULL;

	catalogue_scan_get(c, snapshot, show, &object, NULL);
	return object ? object : json_null();
}
