/* jobs.c - see jobs.h. */
#include "mgmt-server/core/jobs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "mgmt-server/core/make_way.h"
#include "mgmt-server/core/mends.h"
#include "mgmt-server/core/hunts.h"
#include "mgmt-server/core/ransomware.h"
#include "mgmt-server/core/scans.h"
#include "mgmt-server/core/signatures.h"
#include "mgmt-server/core/transfer.h"

enum { CONFIRM_MS = 10000 }; /* work without any report is handed out again after so long */

const char *jobs_text(const struct catalogue_job *job, const char *name)
{
	return json_string_value(json_object_get(job->arguments, name)) ?: "";
}

uint64_t jobs_number(const struct catalogue_job *job, const char *name)
{
	return (uint64_t)json_integer_value(json_object_get(job->arguments, name));
}

bool jobs_flag(const struct catalogue_job *job, const char *name)
{
	return json_is_true(json_object_get(job->arguments, name));
}

static const struct jobs_step *step_of(const struct catalogue_job *job, size_t *index)
{
	const struct jobs_kind *kind = jobs_kind(job->kind);
	size_t i;

	for (i = 0; kind && kind->steps[i]; i++) {
		if (strcmp(kind->steps[i]->name, job->step) == 0) {
			*index = i;
			return kind->steps[i];
		}
	}
	return NULL; /* a newer program wrote it */
}

static void set_step(struct catalogue_job *job, const struct jobs_step *step)
{
	snprintf(job->step, sizeof(job->step), "%s", step->name);
	job->instance[0] = '\0';
	job->done_bytes = job->total_bytes = 0;
}

static bool is_active(const struct catalogue_job *job)
{
	return strcmp(job->state, "queued") == 0 || strcmp(job->state, "running") == 0;
}

static int save(struct change *change, const struct catalogue_job *job, struct err *err)
{
	change_touch(change, CHANGE_JOB, job->id);
	change_touch(change, CHANGE_DESKTOP, job->desktop);
	return catalogue_job_put(change->db, job, err);
}

static int end(struct change *change, struct catalogue_job *job, const char *state, struct err *err)
{
	snprintf(job->state, sizeof(job->state), "%s", state);
	job->ended_ms = clock_wall_ms();
	job->blocking = false;
	log_info("job ended job=%s kind=%s desktop=%s state=%s%s%s", job->id, job->kind,
		 job->desktop, state, job->error[0] ? " error=" : "", job->error);
	return save(change, job, err);
}

/* ---- Going on ---- */

static int run_step(struct change *change, struct catalogue_job *job, const struct jobs_step *step,
		    struct err *err)
{
	char message[sizeof(job->message)];
	int r;

	if (!step->act) {
		change_touch(change, CHANGE_WORK, job->endpoint);
		r = save(change, job, err);
		return r < 0 ? r : JOBS_WAIT;
	}
	memcpy(message, job->message, sizeof(message));
	r = step->act(change, job, err);
	if (r == JOBS_WAIT && strcmp(message, job->message) != 0) {
		/* Whatever changes the job also says so in its message: a job that waits is not written every second. */
		int saved = save(change, job, err);

		return saved < 0 ? saved : JOBS_WAIT;
	}
	return r;
}

/* From the current step as far as it goes now. */
static int advance(struct change *change, struct catalogue_job *job, struct err *err)
{
	const struct jobs_kind *kind = jobs_kind(job->kind);
	const struct jobs_step *step;
	size_t i = 0;
	int r = JOBS_NEXT;

	step = step_of(job, &i);
	while (step) {
		if (job->cancel && step->act)
			return end(change, job, "cancelled", err);
		r = run_step(change, job, step, err);
		if (r < 0 || r == JOBS_WAIT)
			return r < 0 ? r : 0;
		if (r == JOBS_FAIL)
			return end(change, job, "failed", err);
		step = kind->steps[++i];
		if (step)
			set_step(job, step);
	}
	return end(change, job, "done", err);
}

/* ---- Beginning ---- */

static int check_needs(const struct jobs_kind *kind, const struct fleet_desktop *d, struct err *err)
{
	if (kind->needs == JOBS_NEEDS_FREE && d->lease.state != LEASE_FREE)
		return err_say(err, EBUSY, "desktop %s is on endpoint %s (lease %s)%s", d->name,
			       d->lease.holder, lease_state_name(d->lease.state),
			       d->lease.state == LEASE_HELD ? "" : "; use failover");
	if (kind->needs == JOBS_NEEDS_HOLDER && d->lease.state != LEASE_HELD)
		return err_say(err, EBUSY, "desktop %s does not run (lease %s)", d->name,
			       lease_state_name(d->lease.state));
	return 0;
}

static void describe(struct catalogue_job *job, const struct jobs_order *order,
		     const struct jobs_kind *kind, const struct fleet_desktop *d)
{
	const char *endpoint = order->endpoint;

	manifest_new_id(clock_wall_ms(), job->id);
	snprintf(job->kind, sizeof(job->kind), "%s", order->kind);
	snprintf(job->desktop, sizeof(job->desktop), "%s", order->desktop);
	snprintf(job->user, sizeof(job->user), "%s", order->user);
	snprintf(job->state, sizeof(job->state), "queued");
	if (!endpoint && kind->needs == JOBS_NEEDS_HOLDER)
		endpoint = d->lease.holder;
	snprintf(job->endpoint, sizeof(job->endpoint), "%s", endpoint ? endpoint : "");
	set_step(job, kind->steps[0]);
	job->blocking = !kind->beside;
	job->created_ms = clock_wall_ms();
	job->arguments = order->arguments ? json_incref(order->arguments) : json_object();
	job->result = order->result ? json_incref(order->result) : json_object();
	json_object_set_new(job->arguments, "epoch", json_integer((json_int_t)d->lease.epoch));
}

static int create(struct change *change, const struct jobs_order *order, char *id, struct err *err)
{
	const struct jobs_kind *kind = jobs_kind(order->kind);
	struct fleet_desktop *d = fleet_desktop(change->server->fleet, order->desktop);
	struct catalogue_job job = { .id = "" };
	int r;

	if (!d || !kind)
		return err_say(err, ENOENT, "there is no desktop %s", order->desktop);
	r = check_needs(kind, d, err);
	if (r < 0)
		return r;
	describe(&job, order, kind, d);
	r = catalogue_job_add(change->db, &job, err);
	if (r == 0) {
		log_info("job begins job=%s kind=%s desktop=%s user=%s", job.id, job.kind,
			 job.desktop, job.user);
		r = advance(change, &job, err);
	}
	memcpy(id, job.id, sizeof(job.id));
	catalogue_job_deinit(&job);
	return r;
}

int jobs_create(struct change *change, struct jobs_order *order, char *id, struct err *err)
{
	int r = create(change, order, id, err);

	json_decref(TAKE(order->arguments));
	json_decref(TAKE(order->result));
	return r;
}

/* ---- Reports ---- */

static int step_failed(struct change *change, struct catalogue_job *job,
		       const struct jobs_step *step, struct err *err)
{
	int r = step->failed ? step->failed(change, job, err) : 0;

	if (r == JOBS_WAIT)
		return advance(change, job, err);
	return r < 0 ? r : end(change, job, job->cancel ? "cancelled" : "failed", err);
}

static int step_done(struct change *change, struct catalogue_job *job, const struct jobs_step *step,
		     size_t index, struct err *err)
{
	const struct jobs_kind *kind = jobs_kind(job->kind);
	int r = step->done ? step->done(change, job, err) : 0;

	if (r < 0)
		return r;
	if (!kind->steps[index + 1])
		return end(change, job, "done", err);
	set_step(job, kind->steps[index + 1]);
	return advance(change, job, err);
}

/* The guest runs: the desktop is free for other jobs, what remains is pulling its state here. */
static void note_running(struct change *change, struct catalogue_job *job)
{
	struct fleet_desktop *d = fleet_desktop(change->server->fleet, job->desktop);
	uint64_t lost_ms = jobs_number(job, "lost_wall_ms");

	if (!job->blocking || strcmp(job->step, "run") != 0 ||
	    !json_is_number(json_object_get(job->result, "running_ms")))
		return;
	job->blocking = false;
	if (d->lease.epoch == jobs_number(job, "epoch"))
		d->starting = false;
	json_object_set_new(job->result, "bytes_before_run",
			    json_integer((json_int_t)job->sent_bytes));
	if (lost_ms)
		json_object_set_new(job->result, "outage_ms",
				    json_integer((json_int_t)(clock_wall_ms() - lost_ms)));
}

static void take_report(struct change *change, struct catalogue_job *job,
			const struct jobs_report *report)
{
	json_t *ours = json_incref(json_object_get(job->result, "bytes_before_run"));

	snprintf(job->state, sizeof(job->state), "running");
	if (!job->started_ms)
		job->started_ms = clock_wall_ms();
	if (job->instance[0] == '?') /* confirmed */
		memmove(job->instance, job->instance + 1, strlen(job->instance));
	job->touched_ms = clock_wall_ms();
	job->done_bytes = report->done_bytes;
	job->total_bytes = report->total_bytes;
	snprintf(job->message, sizeof(job->message), "%s", report->message);
	job->sent_bytes += transfer_sent_take(change->server->transfer, job->id);
	if (report->result)
		json_object_update(job->result, report->result);
	if (ours) /* what this server counted stands */
		json_object_set(job->result, "bytes_before_run", ours);
	json_decref(ours);
	note_running(change, job);
}

static int apply_report(struct change *change, struct catalogue_job *job,
			const struct jobs_report *report, bool *cancel, struct err *err)
{
	const struct jobs_step *step;
	size_t index = 0;

	step = step_of(job, &index);
	if (!is_active(job) || !step || strcmp(step->name, report->step) != 0)
		return JOBS_OVER;
	take_report(change, job, report);
	*cancel = job->cancel;
	if (strcmp(report->state, "running") == 0)
		return save(change, job, err);
	if (strcmp(report->state, "done") == 0)
		return step_done(change, job, step, index, err);
	if (strcmp(report->state, "failed") != 0)
		return err_say(err, EINVAL, "report: 'state' must be running, done or failed");
	snprintf(job->error, sizeof(job->error), "%s",
		 report->message[0] ? report->message : "the agent gave no reason");
	return step_failed(change, job, step, err);
}

int jobs_report(struct change *change, const char *endpoint, const char *id,
		const struct jobs_report *report, bool *cancel, struct err *err)
{
	struct catalogue_job job;
	int r = catalogue_job_get(change->db, id, &job, err);

	if (r < 0)
		return r;
	if (r == 0 && strcmp(job.endpoint, endpoint) != 0) {
		catalogue_job_deinit(&job);
		r = CATALOGUE_NONE;
	}
	if (r == CATALOGUE_NONE)
		return err_say(err, ENOENT, "endpoint %s has no job %s", endpoint, id);
	r = apply_report(change, &job, report, cancel, err);
	catalogue_job_deinit(&job);
	return r;
}

/* ---- Ending early ---- */

/* Nobody will ever report on it: its endpoint is silent, and no end of a lease will end it either. */
static bool is_abandoned(struct change *change, const struct catalogue_job *job)
{
	const struct fleet_endpoint *e = fleet_endpoint(change->server->fleet, job->endpoint);
	const struct fleet_desktop *d = fleet_desktop(change->server->fleet, job->desktop);

	return (!e || !e->online) && (!d || d->lease.state != LEASE_HELD);
}

/* The endpoint may still run the desktop: the lease stays as it is, but no heartbeat renews it for this job's sake. */
static int end_abandoned(struct change *change, struct catalogue_job *job, struct err *err)
{
	struct fleet_desktop *d = fleet_desktop(change->server->fleet, job->desktop);
	int r = d ? change_keep(change, d, err) : 0;

	if (r < 0)
		return r;
	if (d)
		d->starting = false;
	snprintf(job->error, sizeof(job->error), "endpoint %s is silent", job->endpoint);
	return end(change, job, "cancelled", err);
}

static int cancel_job(struct change *change, struct catalogue_job *job, struct err *err)
{
	const struct jobs_step *step;
	size_t index;

	if (!is_active(job))
		return err_say(err, EEXIST, "job %s is over (%s)", job->id, job->state);
	job->cancel = true;
	step = step_of(job, &index);
	if (step && step->act)
		return end(change, job, "cancelled", err);
	if (step && !job->instance[0]) {
		/* Nobody knows of it yet. What `failed` would start anew must not start. */
		int r = step->failed ? step->failed(change, job, err) : 0;

		return r < 0 ? r : end(change, job, "cancelled", err);
	}
	if (is_abandoned(change, job))
		return end_abandoned(change, job, err);
	return save(change, job, err);
}

int jobs_cancel(struct change *change, const char *id, struct err *err)
{
	struct catalogue_job job;
	int r = catalogue_job_get(change->db, id, &job, err);

	if (r == CATALOGUE_NONE)
		return err_say(err, ENOENT, "there is no job %s", id);
	if (r < 0)
		return r;
	r = cancel_job(change, &job, err);
	catalogue_job_deinit(&job);
	return r;
}

struct failing {
	struct change *change;
	const char *why;
	char ids[8][CATALOGUE_ID_LEN];
	size_t count;
};

static int collect(void *arg, const struct catalogue_job *job, struct err *err)
{
	const struct jobs_kind *kind = jobs_kind(job->kind);
	struct failing *f = arg;

	(void)err;
	if (kind && kind->beside)
		return 0;
	memcpy(f->ids[f->count++], job->id, sizeof(job->id));
	return f->count == ARRAY_LEN(f->ids) ? DB_STOP : 0;
}

int jobs_fail_all(struct change *change, const char *desktop, const char *why, struct err *err)
{
	struct catalogue_job_filter filter = { .desktop = desktop, .active = true };
	struct failing f = { .change = change, .why = why };
	struct catalogue_job job;
	size_t i;
	int r;

	r = catalogue_job_each(change->db, &filter, collect, &f, err);
	for (i = 0; r >= 0 && i < f.count; i++) {
		r = catalogue_job_get(change->db, f.ids[i], &job, err);
		if (r != 0)
			continue;
		snprintf(job.error, sizeof(job.error), "%s", why);
		r = end(change, &job, "failed", err);
		catalogue_job_deinit(&job);
	}
	return r < 0 ? r : 0;
}

/* ---- Handing out ---- */

struct handing {
	struct change *change;
	struct fleet_endpoint *endpoint;
	const char *instance;
	json_t *items;
	uint64_t now_wall_ms;
};

/* Does this instance of the agent know the step, or may it still be on its way to him? */
static bool known(const struct handing *h, const struct catalogue_job *job)
{
	bool asked = job->instance[0] == '?';

	if (strcmp(job->instance + asked, h->instance) != 0 || !job->instance[0])
		return false;
	if (!asked)
		return true;
	h->endpoint->work_waits = true;
	return h->now_wall_ms - job->touched_ms < CONFIRM_MS;
}

/* The endpoint still has the desktop of an earlier epoch: it must be put away first. */
static bool in_the_way(const struct handing *h, const struct catalogue_job *job)
{
	const struct fleet_report *r = fleet_report(h->endpoint, job->desktop);

	if (strcmp(job->step, "run") != 0 || !r || r->epoch == jobs_number(job, "epoch"))
		return false;
	h->endpoint->work_waits = true;
	return true;
}

static int hand_out(struct handing *h, struct catalogue_job *job, const struct jobs_step *step,
		    struct err *err)
{
	json_t *item = json_pack("{ss ss ss ss sI}", "job", job->id, "step", step->name, "kind",
				 step->name, "desktop", job->desktop, "epoch",
				 (json_int_t)jobs_number(job, "epoch"));
	int r = item ? 0 : err_set(err, ENOMEM, "job %s", job->id);

	if (r == 0 && step->item)
		r = step->item(h->change, job, item, err);
	if (r < 0) {
		json_decref(item);
		return r;
	}
	json_array_append_new(h->items, item);
	snprintf(job->instance, sizeof(job->instance), "?%s", h->instance);
	job->touched_ms = h->now_wall_ms;
	h->endpoint->work_waits = true;
	return catalogue_job_put(h->change->db, job, err);
}

static int consider(struct handing *h, const char *id, struct err *err)
{
	const struct jobs_step *step;
	struct catalogue_job job;
	size_t index;
	int r = catalogue_job_get(h->change->db, id, &job, err);

	if (r != 0)
		return r < 0 ? r : 0;
	step = step_of(&job, &index);
	if (step && !step->act && !known(h, &job) && !in_the_way(h, &job))
		r = hand_out(h, &job, step, err);
	catalogue_job_deinit(&job);
	return r;
}

struct id_list {
	char (*ids)[CATALOGUE_ID_LEN];
	size_t count, cap;
};

static int list_id(void *arg, const struct catalogue_job *job, struct err *err)
{
	struct id_list *list = arg;
	void *grown;

	if (list->count == list->cap) {
		list->cap = list->cap ? 2 * list->cap : 16;
		grown = realloc(list->ids, list->cap * sizeof(*list->ids));
		if (!grown)
			return err_set(err, ENOMEM, "jobs");
		list->ids = grown;
	}
	memcpy(list->ids[list->count++], job->id, CATALOGUE_ID_LEN);
	return 0;
}

int jobs_hand_out(struct change *change, struct fleet_endpoint *endpoint, const char *instance,
		  json_t *items, struct err *err)
{
	struct catalogue_job_filter filter = { .endpoint = endpoint->name, .active = true };
	struct handing h = { .change = change,
			     .endpoint = endpoint,
			     .instance = instance,
			     .items = items,
			     .now_wall_ms = clock_wall_ms() };
	struct id_list list = { .count = 0 };
	size_t i;
	int r;

	endpoint->work_waits = false;
	r = catalogue_job_each(change->db, &filter, list_id, &list, err);
	for (i = list.count; r == 0 && i > 0; i--) /* oldest first */
		r = consider(&h, list.ids[i - 1], err);
	free(list.ids);
	return r;
}

/* ---- Waiting ---- */

static int waits(void *arg, const struct catalogue_job *job, struct err *err)
{
	const struct jobs_step *step;
	size_t index;

	step = step_of(job, &index);
	return step && step->act ? list_id(arg, job, err) : 0;
}

static int go_on(struct server *s, const char *id, struct err *err)
{
	CLEANUP_CHANGE struct change change = { .held = false };
	struct catalogue_job job;
	int r = change_begin(&change, s, err);

	if (r < 0)
		return r;
	r = catalogue_job_get(change.db, id, &job, err);
	if (r != 0)
		return r < 0 ? r : 0;
	r = is_active(&job) ? advance(&change, &job, err) : 0;
	catalogue_job_deinit(&job);
	return r < 0 ? r : change_commit(&change, err);
}

void jobs_tick(struct server *s)
{
	struct catalogue_job_filter filter = { .active = true };
	struct id_list list = { .count = 0 };
	struct err err = { 0 };
	struct db_conn *c = db_read(s->db);
	size_t i;
	int r;

	r = catalogue_job_each(c, &filter, waits, &list, &err);
	db_read_end(c);
	for (i = list.count; r == 0 && i > 0; i--)
		r = go_on(s, list.ids[i - 1], &err);
	if (r < 0)
		log_error("go on with waiting jobs: %s", err_text(&err));
	free(list.ids);
	make_way_tick(s);
	scans_tick(s);
	mends_tick(s);
	signatures_tick(s);
	ransomware_tick(s);
	hunts_tick(s);
}
