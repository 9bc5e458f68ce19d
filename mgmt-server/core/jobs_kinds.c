/* jobs_kinds.c - the kinds of jobs and their steps, as tables; and what the agents' steps mean when they end. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "mgmt-server/core/failover.h"
#include "mgmt-server/core/grants.h"
#include "mgmt-server/core/jobs.h"
#include "mgmt-server/core/leases.h"
#include "mgmt-server/core/mends.h"
#include "mgmt-server/core/scans.h"

/* ---- Work items ---- */

static int run_item(struct change *change, const struct catalogue_job *job, json_t *item,
		    struct err *err)
{
	const struct fleet_desktop *d = fleet_desktop(change->server->fleet, job->desktop);
	char proof[GRANTS_PROOF_LEN];
	json_t *more;

	grants_proof(change->server, d->name, d->lease.holder, d->lease.epoch, proof);
	more = json_pack("{s{ss sI ss} ss sb sO}", "lease", "policy",
			 lease_policy_name(d->lease.policy), "ttl_ms", (json_int_t)d->lease.ttl_ms,
			 "proof", proof, "snapshot", jobs_text(job, "snapshot"), "memory",
			 jobs_flag(job, "memory"), "machine",
			 json_object_get(job->arguments, "machine"));
	if (!more || json_object_update(item, more) < 0) {
		json_decref(more);
		return err_set(err, ENOMEM, "work for desktop %s", job->desktop);
	}
	json_decref(more);
	return 0;
}

static int capture_item(struct change *change, const struct catalogue_job *job, json_t *item,
			struct err *err)
{
	char upload[CATALOGUE_ID_LEN];
	int r = catalogue_upload_of_job(change->db, job->id, upload, err);

	if (r < 0)
		return r;
	json_object_set_new(item, "session", upload[0] ? json_string(upload) : json_null());
	if (strcmp(job->step, "stop") == 0) {
		json_object_set_new(item, "timeout_ms",
				    json_integer((json_int_t)jobs_number(job, "timeout_ms")));
		json_object_set_new(item, "force", json_boolean(jobs_flag(job, "force")));
	} else {
		json_object_set_new(item, "memory", json_boolean(jobs_flag(job, "memory")));
	}
	return 0;
}

/* ---- Ends of steps ---- */

static double real_or(const json_t *object, const char *name, double otherwise)
{
	const json_t *value = json_object_get(object, name);

	return json_is_number(value) ? json_number_value(value) : otherwise;
}

/* The agent's figures go to the snapshot they are about; that it is this desktop's is checked. */
static int capture_done(struct change *change, struct catalogue_job *job, struct err *err)
{
	struct catalogue_snapshot figures = { .pause_ms = real_or(job->result, "pause_ms", -1) };
	const char *id = json_string_value(json_object_get(job->result, "snapshot"));
	uint64_t one;
	int r;

	if (!id)
		return err_say(err, EINVAL, "report: 'result' must name the snapshot");
	r = db_number(change->db, &one, "SELECT 1 FROM snapshots WHERE id = $1 AND desktop = $2",
		      DB_VALUES(db_t(id), db_t(job->desktop)), err);
	if (r <= 0)
		return r < 0 ? r
			     : err_say(err, EINVAL, "report: desktop %s has no snapshot '%.32s'",
				       job->desktop, id);
	snprintf(figures.id, sizeof(figures.id), "%s", id);
	figures.read_bytes = (int64_t)real_or(job->result, "read_bytes", -1);
	figures.new_bytes = (int64_t)real_or(job->result, "new_bytes", -1);
	figures.stored_bytes = (int64_t)real_or(job->result, "stored_bytes", -1);
	change_touch(change, CHANGE_SNAPSHOT, id);
	return catalogue_snapshot_figures(change->db, &figures, err);
}

/* The desktop is off its endpoint. A job that pulls its state there is over with it. */
static int put_away(struct change *change, struct catalogue_job *job, const char *rest,
		    struct err *err)
{
	struct fleet_desktop *d = fleet_desktop(change->server->fleet, job->desktop);
	int r = leases_release(change, d, job->endpoint, jobs_number(job, "epoch"), err);

	return r < 0 ? r : catalogue_desktop_rest(change->db, job->desktop, rest, "", err);
}

static int suspend_done(struct change *change, struct catalogue_job *job, struct err *err)
{
	int r = capture_done(change, job, err);

	json_object_set_new(job->arguments, "from", json_string(job->endpoint));
	return r < 0 ? r : put_away(change, job, "suspended", err);
}

static int stop_done(struct change *change, struct catalogue_job *job, struct err *err)
{
	int r = capture_done(change, job, err);

	return r < 0 ? r : put_away(change, job, "stopped", err);
}

static int stop_failed(struct change *change, struct catalogue_job *job, struct err *err)
{
	const struct fleet_desktop *d = fleet_desktop(change->server->fleet, job->desktop);
	char note[512];

	if (d->lease.state != LEASE_FREE)
		return 0; /* it runs on */
	snprintf(note, sizeof(note),
		 "its disks could not be saved, they are on endpoint %s: %.380s", job->endpoint,
		 job->error);
	return catalogue_desktop_rest(change->db, job->desktop, "error", note, err);
}

static int discard_done(struct change *change, struct catalogue_job *job, struct err *err)
{
	return put_away(change, job, "stopped", err);
}

/* ---- Tables ---- */

static const struct jobs_step fence = { "fence", failover_fence, NULL, NULL, NULL };
static const struct jobs_step place = { "place", failover_place, NULL, NULL, NULL };
static const struct jobs_step run = { "run", NULL, run_item, NULL, failover_run_failed };
static const struct jobs_step capture = { "capture", NULL, capture_item, capture_done, NULL };
static const struct jobs_step suspend = { "suspend", NULL, capture_item, suspend_done, NULL };
static const struct jobs_step stop = { "stop", NULL, capture_item, stop_done, stop_failed };
static const struct jobs_step pause_step = { "pause", NULL, NULL, NULL, NULL };
static const struct jobs_step unpause = { "unpause", NULL, NULL, NULL, NULL };
static const struct jobs_step discard = { "discard", NULL, NULL, discard_done, NULL };

static const struct jobs_step scan = { "scan", scans_step, NULL, NULL, NULL };
static const struct jobs_step mend = { "mend", mends_step, NULL, NULL, NULL };

static const struct jobs_kind kinds[] = {
	{ "start", JOBS_NEEDS_FREE, false, { &place, &run } },
	{ "resume", JOBS_NEEDS_FREE, false, { &place, &run } },
	{ "stop", JOBS_NEEDS_HOLDER, false, { &stop } },
	{ "save", JOBS_NEEDS_NOTHING, false, { &stop } }, /* the guest powered off by itself */
	{ "suspend", JOBS_NEEDS_HOLDER, false, { &suspend } },
	{ "snapshot", JOBS_NEEDS_HOLDER, false, { &capture } },
	{ "move", JOBS_NEEDS_HOLDER, false, { &suspend, &place, &run } },
	{ "failover", JOBS_NEEDS_NOTHING, false, { &fence, &place, &run } },
	{ "pause", JOBS_NEEDS_HOLDER, false, { &pause_step } },
	{ "unpause", JOBS_NEEDS_HOLDER, false, { &unpause } },
	{ "discard", JOBS_NEEDS_HOLDER, false, { &discard } },
	{ "scan", JOBS_NEEDS_NOTHING, true, { &scan } },
	{ "mend", JOBS_NEEDS_NOTHING, true, { &mend } },
};

const struct jobs_kind *jobs_kind(const char *name)
{
	size_t i;

	for (i = 0; i < ARRAY_LEN(kinds); i++) {
		if (strcmp(kinds[i].name, name) == 0)
			return &kinds[i];
	}
	return NULL;
}
