/* failover.c - see failover.h. */
#include "mgmt-server/core/failover.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "mgmt-server/catalogue/catalogue_scans.h"
#include "mgmt-server/core/doubt.h"
#include "mgmt-server/core/leases.h"
#include "mgmt-server/core/make_way.h"
#include "mgmt-server/core/objects.h"
#include "migrate/placement.h"

enum { ATTEMPTS_MAX = 3, CRASH_LOOP_MS = 120000 };

static int wait_for_doubt(struct catalogue_job *job)
{
	snprintf(job->message, sizeof(job->message),
		 "waiting until endpoints have said what they run");
	return JOBS_WAIT;
}

int failover_fence(struct change *change, struct catalogue_job *job, struct err *err)
{
	struct fleet_desktop *d = fleet_desktop(change->server->fleet, job->desktop);
	int r;

	if (d->lease.state == LEASE_FREE || d->lease.state == LEASE_LOST)
		return JOBS_NEXT;
	if (!jobs_flag(job, "revoked")) {
		/* The epoch that this would skip may be one that was given out and forgotten. */
		if (doubt_left(change->server, clock_now_ms()) > 0)
			return wait_for_doubt(job);
		r = leases_revoke(change, d, err);
		if (r < 0)
			return r;
		json_object_set_new(job->arguments, "revoked", json_true());
		if (d->lease.state == LEASE_FREE)
			return JOBS_NEXT;
	}
	snprintf(job->message, sizeof(job->message),
		 "waiting until endpoint %s has certainly stopped it", d->lease.holder);
	return JOBS_WAIT;
}

/* ---- Which snapshot ---- */

struct choice {
	struct catalogue_job *job;
	char id[CATALOGUE_ID_LEN];
	bool memory;
	uint64_t disk_bytes;
};

static int take_choice(void *arg, const struct catalogue_snapshot *s, struct err *err)
{
	struct choice *choice = arg;

	(void)err;
	memcpy(choice->id, s->id, sizeof(choice->id));
	choice->memory = s->memory;
	choice->disk_bytes = objects_disk_bytes(s->volumes);
	return DB_STOP;
}

static int fail_job(struct catalogue_job *job, const char *text)
{
	snprintf(job->error, sizeof(job->error), "%s", text);
	return JOBS_FAIL;
}

/* A newer snapshot that was left out because it is infected: whoever looks at the job must see it. */
static int note_passed_over(struct change *change, struct catalogue_job *job,
			    const struct choice *choice, struct err *err)
{
	char newest[CATALOGUE_ID_LEN];
	int r = catalogue_snapshot_latest(change->db, job->desktop, newest, err);

	if (r < 0 || !newest[0] || strcmp(newest, choice->id) == 0)
		return r;
	log_warning("an infected snapshot is passed over desktop=%s snapshot=%s job=%s",
		    job->desktop, newest, job->id);
	json_object_set_new(job->result, "passed_over", json_string(newest));
	return 0;
}

static int choose_snapshot(struct change *change, struct catalogue_job *job, struct choice *choice,
			   struct err *err)
{
	const char *wanted = jobs_text(job, "snapshot");
	bool resume = strcmp(job->kind, "resume") == 0 || strcmp(job->kind, "move") == 0;
	int r;

	if (wanted[0])
		r = catalogue_snapshot_get(change->db, job->desktop, wanted, take_choice, choice,
					   err);
	else
		r = catalogue_scan_newest_good(change->db, job->desktop, take_choice, choice, err);
	if (r < 0)
		return r;
	if (r == CATALOGUE_NONE && wanted[0])
		return fail_job(job, "the desktop has no such snapshot");
	if (!wanted[0] && note_passed_over(change, job, choice, err) < 0)
		return fail_job(job, err_text(err));
	if (r == CATALOGUE_NONE)
		return fail_job(job, json_object_get(job->result, "passed_over")
					     ? "every snapshot of the desktop is infected: name "
					       "one to use it all "
					       "the same"
					     : "the desktop has no snapshot to go on from");
	if (resume && !choice->memory)
		return fail_job(job, "the snapshot holds no memory: start the desktop instead, or "
				     "name a snapshot with memory");
	if (strcmp(job->kind, "start") == 0)
		choice->memory = false;
	return 0;
}

/* The machine that the snapshot was taken on; what it leaves open is the desktop's. */
static int choose_machine(struct change *change, struct catalogue_job *job,
			  const struct choice *choice, json_t **machine, struct err *err)
{
	struct catalogue_desktop d;
	struct manifest m;
	int r;

	r = catalogue_desktop_get(change->db, job->desktop, &d, err);
	if (r == 0)
		r = json_parse(machine, d.machine, strlen(d.machine), "the desktop's machine", err);
	if (r < 0)
		return r;
	manifest_init(&m);
	r = store_manifest(change->server->store, choice->id, &m, err);
	if (r == 0 && m.machine)
		json_object_update(*machine, m.machine);
	manifest_deinit(&m);
	if (r == STORE_ABSENT)
		r = err_say(err, ENOENT, "snapshot %s is not in the store", choice->id);
	return r;
}

/* ---- Which endpoint ---- */

static uint64_t machine_number(struct db_conn *c, const char *desktop, const char *key)
{
	struct catalogue_desktop d;
	json_t *machine = NULL;
	uint64_t n = 0;

	if (catalogue_desktop_get(c, desktop, &d, NULL) == 0 &&
	    json_parse(&machine, d.machine, strlen(d.machine), "machine", NULL) == 0)
		n = (uint64_t)json_integer_value(json_object_get(machine, key));
	json_decref(machine);
	return n;
}

static void describe_endpoint(struct change *change, const struct fleet_endpoint *e,
			      struct placement_endpoint *p)
{
	struct fleet *fleet = change->server->fleet;
	size_t i;

	*p = (struct placement_endpoint){ .name = e->name,
					  .online = e->online,
					  .memory_total_mib = e->memory_mib,
					  .disk_free_bytes = e->disk_free_bytes,
					  .cpus = (unsigned)e->cpus };
	for (i = 0; i < fleet_desktop_count(fleet); i++) {
		const struct fleet_desktop *d = fleet_desktop_at(fleet, i);

		if (strcmp(d->lease.holder, e->name) != 0)
			continue;
		p->memory_used_mib += machine_number(change->db, d->name, "memory_mib");
		p->vcpus_used += (unsigned)machine_number(change->db, d->name, "vcpus");
	}
}

/* The endpoint's name into job->endpoint; JOBS_FAIL with the reasons in job->error. */
static int choose_endpoint(struct change *change, struct catalogue_job *job, const json_t *machine,
			   uint64_t disk_bytes, struct err *err)
{
	struct fleet *fleet = change->server->fleet;
	const char *wanted = jobs_text(job, "endpoint"), *avoid = jobs_text(job, "avoid");
	size_t i, n = 0, total = fleet_endpoint_count(fleet);
	CLEANUP_FREE struct placement_endpoint *list = calloc(total + 1, sizeof(*list));
	struct placement_need need = {
		.memory_mib = (uint64_t)json_integer_value(json_object_get(machine, "memory_mib")),
		.vcpus = (unsigned)json_integer_value(json_object_get(machine, "vcpus")),
		.disk_bytes = disk_bytes,
		.avoid = avoid[0] ? avoid : NULL,
	};
	char why[400];
	int chosen;

	if (!list)
		return err_set(err, ENOMEM, "placement of %s", job->desktop);
	for (i = 0; i < total; i++) {
		const struct fleet_endpoint *e = fleet_endpoint_at(fleet, i);

		if (!wanted[0] || strcmp(e->name, wanted) == 0)
			describe_endpoint(change, e, &list[n++]);
	}
	if (n == 0) {
		snprintf(why, sizeof(why), "%s",
			 wanted[0] ? "there is no such endpoint" : "no endpoint is enrolled");
		chosen = PLACEMENT_NONE;
	} else {
		chosen = placement_choose(list, n, &need, why, sizeof(why));
	}
	if (chosen == PLACEMENT_NONE) {
		snprintf(job->error, sizeof(job->error), "no endpoint can take desktop %s: %s",
			 job->desktop, why);
		return JOBS_FAIL;
	}
	snprintf(job->endpoint, sizeof(job->endpoint), "%s", list[chosen].name);
	return 0;
}

/* ---- The step ---- */

static int give(struct change *change, struct catalogue_job *job, const struct choice *choice,
		json_t *machine, struct err *err)
{
	struct fleet_desktop *d = fleet_desktop(change->server->fleet, job->desktop);
	int r = leases_grant(change, d, job->endpoint, err);

	if (r == -EBUSY && strcmp(job->kind, "failover") == 0 &&
	    doubt_left(change->server, clock_now_ms()) > 0)
		return wait_for_doubt(job);
	if (r == -EBUSY)
		return fail_job(job, err_text(err));
	if (r < 0)
		return r;
	make_way_begin(change->server);
	json_object_set_new(job->arguments, "snapshot", json_string(choice->id));
	json_object_set_new(job->arguments, "memory", json_boolean(choice->memory));
	json_object_set_new(job->arguments, "epoch", json_integer((json_int_t)d->lease.epoch));
	json_object_set(job->arguments, "machine", machine);
	json_object_set_new(job->result, "snapshot", json_string(choice->id));
	json_object_set_new(job->result, "endpoint", json_string(job->endpoint));
	snprintf(job->message, sizeof(job->message), "%s on endpoint %s from snapshot %s",
		 choice->memory ? "resuming" : "booting", job->endpoint, choice->id);
	log_info("lease granted desktop=%s endpoint=%s epoch=%llu snapshot=%s job=%s", job->desktop,
		 job->endpoint, (unsigned long long)d->lease.epoch, choice->id, job->id);
	return JOBS_NEXT;
}

int failover_place(struct change *change, struct catalogue_job *job, struct err *err)
{
	CLEANUP(json_decref) json_t *machine = NULL;
	struct choice choice = { .job = job };
	int r;

	r = choose_snapshot(change, job, &choice, err);
	if (r == 0)
		r = choose_machine(change, job, &choice, &machine, err);
	if (r == 0)
		r = choose_endpoint(change, job, machine, choice.disk_bytes, err);
	else if (r == JOBS_FAIL && strcmp(job->kind, "failover") == 0)
		catalogue_desktop_rest(change->db, job->desktop, "error", job->error, err);
	else if (r == -ENOENT)
		return fail_job(job, err_text(err));
	if (r == JOBS_FAIL && strcmp(job->kind, "failover") == 0 && choice.id[0]) {
		/* Capacity may come: an endpoint starts, a desktop ends. */
		snprintf(job->message, sizeof(job->message), "waiting: %.480s", job->error);
		job->error[0] = '\0';
		return JOBS_WAIT;
	}
	return r == 0 ? give(change, job, &choice, machine, err) : r;
}

int failover_run_failed(struct change *change, struct catalogue_job *job, struct err *err)
{
	struct fleet_desktop *d = fleet_desktop(change->server->fleet, job->desktop);
	bool ran = !job->blocking;
	int r;

	if (ran)
		return 0; /* the guest is there; its heartbeats say how it is */
	r = leases_release(change, d, job->endpoint, jobs_number(job, "epoch"), err);
	if (r < 0)
		return r;
	if (strcmp(job->kind, "failover") != 0 || job->cancel)
		return 0;
	if (++job->attempts < ATTEMPTS_MAX) {
		log_warning("failover tries again job=%s desktop=%s endpoint=%s error=%s", job->id,
			    job->desktop, job->endpoint, job->error);
		json_object_set_new(job->arguments, "avoid", json_string(job->endpoint));
		json_object_del(job->arguments, "snapshot");
		snprintf(job->step, sizeof(job->step), "place");
		job->instance[0] = job->error[0] = '\0';
		return JOBS_WAIT;
	}
	return catalogue_desktop_rest(change->db, job->desktop, "error", job->error, err);
}

/* ---- Beginnings ---- */

static int begin(struct change *change, struct fleet_desktop *d, const char *reason,
		 const char *from, const char *to, const char *user, char *id, struct err *err)
{
	struct fleet_endpoint *e = fleet_endpoint(change->server->fleet, from);
	uint64_t now = clock_now_ms();
	/* Not heard since this server started: the lease began then. */
	uint64_t seen = e && e->seen_ms ? e->seen_ms : d->lease.until_ms - d->lease.ttl_ms;
	uint64_t silent = now > seen ? now - seen : 0;
	struct jobs_order order = { .kind = "failover", .desktop = d->name, .user = user };

	order.arguments = json_pack("{ss ss sI}", "reason", reason, "from", from, "lost_wall_ms",
				    (json_int_t)(clock_wall_ms() - silent));
	if (to)
		json_object_set_new(order.arguments, "endpoint", json_string(to));
	/* A lost endpoint is offline anyway; one whose QEMU crashed may be the only one there is. */
	order.result = json_pack("{ss ss sI}", "reason", reason, "from", from, "silent_ms",
				 (json_int_t)silent);
	log_warning("failing over desktop=%s from=%s reason=%s silent_ms=%llu", d->name, from,
		    reason, (unsigned long long)silent);
	return jobs_create(change, &order, id, err);
}

int failover_lost(struct change *change, struct fleet_desktop *d, struct err *err)
{
	char id[CATALOGUE_ID_LEN], why[160], active[CATALOGUE_ID_LEN];
	struct catalogue_job job;
	bool going = false;
	int r;

	r = catalogue_job_active(change->db, d->name, active, err);
	if (r == 0 && active[0] && catalogue_job_get(change->db, active, &job, err) == 0) {
		/* A person was faster: his job stands in `fence` and goes on by itself. */
		going = strcmp(job.kind, "failover") == 0 && strcmp(job.step, "fence") == 0;
		catalogue_job_deinit(&job);
	}
	if (r < 0 || going)
		return r;
	snprintf(why, sizeof(why), "endpoint %s was lost", d->lease.holder);
	r = jobs_fail_all(change, d->name, why, err);
	return r < 0 ? r : begin(change, d, "lease lost", d->lease.holder, NULL, "system", id, err);
}

int failover_crashed(struct change *change, struct fleet_desktop *d, const char *endpoint,
		     struct err *err)
{
	char id[CATALOGUE_ID_LEN], note[200];
	uint64_t now = clock_now_ms();
	int r;

	snprintf(note, sizeof(note), "its QEMU on endpoint %s is gone", endpoint);
	r = jobs_fail_all(change, d->name, note, err);
	if (r < 0)
		return r;
	if (d->lease.policy != LEASE_STRICT ||
	    (d->crashed_ms && now - d->crashed_ms < CRASH_LOOP_MS)) {
		log_warning("desktop crashed, a person must decide desktop=%s endpoint=%s", d->name,
			    endpoint);
		return catalogue_desktop_rest(change->db, d->name, "error", note, err);
	}
	d->crashed_ms = now;
	return begin(change, d, "crashed", endpoint, NULL, "system", id, err);
}

int failover_ordered(struct change *change, struct fleet_desktop *d, const char *endpoint,
		     const char *user, char *id, struct err *err)
{
	const struct fleet_endpoint *e = fleet_endpoint(change->server->fleet, d->lease.holder);
	int r;

	if (d->lease.state == LEASE_FREE)
		return err_say(err, EBUSY, "nobody holds desktop %s: resume or start it", d->name);
	if (d->lease.state == LEASE_HELD && e && e->online)
		return err_say(
			err, EBUSY,
			"endpoint %s is alive: move the desktop, failover is for silent ones",
			e->name);
	r = jobs_fail_all(change, d->name, "the desktop was given to another endpoint", err);
	return r < 0 ? r : begin(change, d, "ordered", d->lease.holder, endpoint, user, id, err);
}
