#include "client-agent/restore.h"
#include "client-agent/proof.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client-agent/disk_server.h"
#include "client-agent/heartbeat.h"
#include "client-agent/memory_server.h"
#include "client-agent/orphan.h"
#include "common/clock.h"
#include "common/log.h"
#include "snapshot/store_client.h"

enum {
	START_TIMEOUT_MS = 120 * 1000,
	LOOK_SOON_MS = 20, /* until the guest runs: its figures are measured */
	LOOK_MS = 200,
	FILL_AGAIN_MS = 5000, /* repeats safely: the hypervisor may have been restarted */
	CLEAN_UP_AGAIN_MS = 500,
	GONE_MS = 30 * 1000,   /* so long the hypervisor may be away */
	OUTPUT_MS = 20 * 1000, /* a guest that is local already may take so long to say something */
};

/* One `run`. */
struct restore {
	struct work_job *job;
	struct manifest manifest;
	json_t *machine;
	const char *policy;
	const char *snapshot;
	bool memory;
	bool quarantined;  /* it begins without its network */
	bool may_have_run; /* its disks may hold work: never just delete them */

	struct hypervisor_listener listener;
	atomic_uint_fast64_t first_output_at_ms; /* of its event; 0: not yet */
	char crash_reason[256];                  /* the reader thread's, until `crashed` is set */
	atomic_bool crashed;

	uint64_t running_at_ms, fill_at_ms, seen_at_ms;
	bool reported_output, reported_memory, reported_local;
};

/* ---- Mending ------------------------------------------------------------------------------------------------------ */

static int memory_recover(struct agent *agent, const struct hypervisor_status *status,
			  const char *job, struct err *err)
{
	CLEANUP(json_decref) json_t *reply = NULL;
	const char *socket = NULL;
	const struct json_field fields[] = { { "memory_socket", JSON_KIND_STRING, false,
					       &socket } };
	struct manifest manifest;
	int r;

	manifest_init(&manifest);
	r = disk_server_manifest(agent->disks, status->desktop, status->epoch, &manifest, err);
	if (r == 0)
		r = hypervisor_client_call(agent->hypervisor,
					   &(struct hypervisor_call){ .op = "memory_recover",
								      .desktop = status->desktop,
								      .reply = &reply },
					   err);
	if (r == 0)
		r = json_fields(reply, fields, ARRAY_LEN(fields), "the reply to memory_recover",
				err);
	if (r == 0) {
		log_info("memory goes on arriving desktop=%s", status->desktop);
		r = memory_server_begin(agent->memory,
					&(struct memory_server_order){ .manifest = &manifest,
								       .epoch = status->epoch,
								       .job = job,
								       .socket = socket,
								       .recover = true },
					err);
	}
	manifest_deinit(&manifest);
	return r == -EALREADY ? 0 : r;
}

int restore_mend(struct agent *agent, const struct hypervisor_status *status, const char *job,
		 struct err *err)
{
	struct memory_server_state memory = { 0 };
	int r = 0;

	if (!hypervisor_status_disks_local(status))
		r = disk_server_ensure(agent->disks, status->desktop, status->epoch, err);
	if (r < 0)
		return r;
	memory_server_state(agent->memory, status->desktop, status->epoch, &memory);
	if (hypervisor_status_is(status, "postcopy-paused") && !memory.active)
		r = memory_recover(agent, status, job, err);
	return r;
}

/* ---- Starting ----------------------------------------------------------------------------------------------------- */

static json_t *disks_json(const struct restore *s, const char *socket)
{
	json_t *disks = json_array();
	size_t i;

	for (i = 0; disks && i < s->manifest.volume_count; i++) {
		const struct volume *v = &s->manifest.volumes[i];

		if (v->kind == VOLUME_DISK)
			json_array_append_new(disks,
					      json_pack("{s:s, s:I, s:s, s:s}", "name", v->name,
							"size", (json_int_t)v->size, "socket",
							socket, "export", v->name));
	}
	return disks;
}

/* The lease that the desktop starts under, confirmed by the server: not the grant's, which may be of long ago. */
static int confirm(struct restore *s, json_t **lease, struct err *err)
{
	struct work_job *job = s->job;
	struct heartbeat_right right = { .until_ms = 0 };
	uint64_t left;
	int r;

	work_job_message(job, "asking whether the right to run still holds");
	r = heartbeat_confirm(job->agent->heartbeat, job->desktop, job->epoch,
			      &job->progress.cancel, &right, err);
	if (r < 0)
		return r;
	left = right.until_ms > clock_now_ms() ? right.until_ms - clock_now_ms() : 0;
	s->quarantined = right.quarantined;
	*lease = json_pack("{s:s, s:I, s:I}", "policy", s->policy, "ttl_ms", (json_int_t)left,
			   "until_ms", (json_int_t)right.until_ms);
	return *lease ? 0 : err_set(err, ENOMEM, "start %s", job->desktop);
}

/* memory_socket: heap; NULL unless the start is `incoming`. */
static int start(struct restore *s, json_t *lease, char **memory_socket, struct err *err)
{
	struct work_job *job = s->job;
	CLEANUP_FREE char *socket = disk_server_socket(job->agent->disks, job->desktop, job->epoch);
	CLEANUP(json_decref) json_t *args = NULL;
	CLEANUP(json_decref) json_t *reply = NULL;
	const char *path = NULL;
	json_t *machine = NULL;
	const struct json_field fields[] = {
		{ "machine", JSON_KIND_OBJECT, false, &machine },
		{ "memory_socket", JSON_KIND_STRING, true, &path },
	};
	int r;

	args = json_pack("{s:I, s:O, s:s, s:o, s:b, s:O}", "epoch", (json_int_t)job->epoch,
			 "machine", s->machine, "snapshot", s->manifest.id, "disks",
			 socket ? disks_json(s, socket) : NULL, "incoming", s->memory, "lease",
			 lease);
	if (!args || (s->quarantined && json_object_set_new(args, "quarantined", json_true()) < 0))
		return err_set(err, ENOMEM, "start %s", job->desktop);
	r = hypervisor_client_call(job->agent->hypervisor,
				   &(struct hypervisor_call){
					   .op = "start",
					   .desktop = job->desktop,
					   .args = args,
					   .timeout_ms = START_TIMEOUT_MS,
					   .reply = &reply,
				   },
				   err);
	if (r < 0)
		return r;
	r = json_fields(reply, fields, ARRAY_LEN(fields), "the reply to start", err);
	if (r < 0)
		return r;
	if (s->memory && !path)
		return err_say(err, EBADMSG, "the hypervisor names no memory_socket");
	*memory_socket = path ? strdup(path) : NULL;
	return path && !*memory_socket ? err_set(err, ENOMEM, "start %s", job->desktop) : 0;
}

static int fetch_manifest(struct restore *s, struct err *err)
{
	struct work_job *job = s->job;
	int r;

	work_job_message(job, "fetching the snapshot's manifest");
	r = store_client_manifest(job->agent->http, AGENT_PREFIX, job->desktop, s->snapshot,
				  &s->manifest, err);
	if (r == 0 && s->memory && s->manifest.kind != MANIFEST_LIVE)
		r = err_say(err, EINVAL, "snapshot %s has no memory to go on from", s->snapshot);
	return r;
}

/* Is there already something of this desktop? Under the same epoch: we join in (*here). Under an older one: its work
 * is put aside first. */
static int look_first(struct restore *s, bool *here, struct err *err)
{
	struct work_job *job = s->job;
	struct hypervisor_status status;
	int r = hypervisor_status_get(job->agent->hypervisor, job->desktop, &status, err);

	*here = r == 0 && status.epoch == job->epoch;
	if (r == -ENOENT || *here)
		return 0;
	if (r < 0)
		return r;
	if (status.epoch > job->epoch)
		return err_say(err, ESTALE,
			       "desktop %s is here under epoch %ju, the work is for %ju",
			       job->desktop, (uintmax_t)status.epoch, (uintmax_t)job->epoch);
	return orphan_begin(job->agent, job->desktop, status.epoch, err);
}

static int begin(struct restore *s, struct err *err)
{
	struct work_job *job = s->job;
	CLEANUP_FREE char *memory_socket = NULL;
	CLEANUP(json_decref) json_t *lease = NULL;
	bool here;
	int r;

	r = look_first(s, &here, err);
	s->may_have_run = r == 0 && here;
	if (r < 0 || here)
		return r;
	r = fetch_manifest(s, err);
	if (r < 0)
		return r;
	work_job_message(job, "serving the snapshot's disks");
	r = disk_server_begin(job->agent->disks, &s->manifest, job->epoch, job->job, err);
	if (r == 0)
		r = confirm(s, &lease, err);
	if (r < 0)
		return r;
	work_job_message(job, "starting");
	r = start(s, lease, &memory_socket, err);
	s->may_have_run = !s->memory && (r == 0 || r == -ECONNRESET || r == -ETIMEDOUT);
	if (r < 0 || !memory_socket)
		return r;
	s->may_have_run = true; /* unless the page source knows better */
	work_job_message(job, "sending devices and memory");
	return memory_server_begin(job->agent->memory,
				   &(struct memory_server_order){ .manifest = &s->manifest,
								  .epoch = job->epoch,
								  .job = job->job,
								  .socket = memory_socket },
				   err);
}

/* ---- Watching ----------------------------------------------------------------------------------------------------- */

static void hear(void *arg, const char *event, const json_t *object)
{
	struct restore *s = arg;
	const char *state, *reason;

	if (strcmp(event, "first_output") == 0 && !s->first_output_at_ms) {
		s->first_output_at_ms = clock_now_ms();
	} else if (strcmp(event, "state") == 0 && (uint64_t)json_integer_value(json_object_get(
							  object, "epoch")) == s->job->epoch) {
		state = json_string_value(json_object_get(object, "state"));
		reason = json_string_value(json_object_get(object, "reason"));
		if (state && strcmp(state, "crashed") == 0 && !s->crashed) {
			snprintf(s->crash_reason, sizeof(s->crash_reason), "%s",
				 reason ? reason : "");
			s->crashed = true;
		}
	}
}

static void result_ms(struct restore *s, const char *key, uint64_t at_ms)
{
	work_job_result(s->job, key, json_integer((json_int_t)(at_ms - s->job->received_ms)));
}

static bool runs(const struct hypervisor_status *status)
{
	static const char *const states[] = { "running", "paused", "postcopy-paused", "off",
					      "io-error" };
	size_t i;

	for (i = 0; i < ARRAY_LEN(states); i++) {
		if (hypervisor_status_is(status, states[i]))
			return true;
	}
	return false;
}

static void note_running(struct restore *s, const struct hypervisor_status *status,
			 const struct memory_server_state *memory)
{
	uint64_t bytes = 0;

	/* Fenced: its devices and memory may be here, but nobody knows whether it has run. */
	if (s->running_at_ms || hypervisor_status_is(status, "fenced") ||
	    (!memory->running_at_ms && !runs(status)))
		return;
	s->running_at_ms = memory->running_at_ms ? memory->running_at_ms : clock_now_ms();
	bytes = memory->bytes_before_run;
	result_ms(s, "running_ms", s->running_at_ms);
	work_job_result(s->job, "bytes_before_run", json_integer((json_int_t)bytes));
	work_job_message(s->job, "running");
	log_info("desktop runs desktop=%s epoch=%ju ms=%ju bytes_before_run=%ju", s->job->desktop,
		 (uintmax_t)s->job->epoch, (uintmax_t)(s->running_at_ms - s->job->received_ms),
		 (uintmax_t)bytes);
}

static void note_figures(struct restore *s, const struct hypervisor_status *status,
			 const struct memory_server_state *memory)
{
	struct volume_progress *progress = &s->job->progress;
	uint64_t done = memory->pages_sent * 4096, total = memory->pages_total * 4096;
	size_t i;

	for (i = 0; i < status->disk_count; i++) {
		total += status->disks[i].size;
		done += status->disks[i].complete ? status->disks[i].size
						  : status->disks[i].local_bytes;
	}
	progress->done_bytes = done < total ? done : total;
	progress->total_bytes = total;

	if (!s->first_output_at_ms && status->has_first_output)
		s->first_output_at_ms = clock_now_ms();
	if (s->first_output_at_ms && !s->reported_output) {
		s->reported_output = true;
		result_ms(s, "first_output_ms", s->first_output_at_ms);
	}
	if (s->running_at_ms && !status->memory_arriving && !s->reported_memory && s->memory) {
		s->reported_memory = true;
		work_job_result(s->job, "page_requests",
				json_integer((json_int_t)memory->requests));
		work_job_message(s->job, "memory is local, fetching the disks");
	}
}

/* Everything is here, and the guest has spoken or had its time. */
static bool note_local(struct restore *s, const struct hypervisor_status *status)
{
	if (!s->running_at_ms || !hypervisor_status_local(status))
		return false;
	if (!s->reported_local) {
		s->reported_local = true;
		result_ms(s, "local_ms", clock_now_ms());
		work_job_message(s->job, "everything is local");
	}
	return s->reported_output || clock_now_ms() >= s->running_at_ms + OUTPUT_MS;
}

static int fill_when_due(struct restore *s, const struct hypervisor_status *status, struct err *err)
{
	uint64_t now = clock_now_ms();
	uint64_t delay = s->memory ? 0 : s->job->agent->config.fill_delay_ms;

	if (!s->running_at_ms || status->memory_arriving || hypervisor_status_disks_local(status) ||
	    now < s->running_at_ms + delay || now < s->fill_at_ms)
		return 0;
	s->fill_at_ms = now + FILL_AGAIN_MS;
	return hypervisor_client_call(s->job->agent->hypervisor,
				      &(struct hypervisor_call){ .op = "fill",
								 .desktop = s->job->desktop,
								 .again = true },
				      err);
}

enum {
	RESTORE_GOES_ON = 1,
	RESTORE_ANEW, /* QEMU waits for memory that nobody sends: the agent before us died before it sent any */
};

/* One look. Return one of those, 0 when all is done, or -errno. */
static int look(struct restore *s, struct err *err)
{
	struct work_job *job = s->job;
	struct memory_server_state memory = { 0 };
	struct hypervisor_status status;
	struct err mend = { 0 };
	bool sending;
	int r;

	if (s->crashed)
		return err_say(err, EIO, "QEMU is gone: %s", s->crash_reason);
	r = hypervisor_status_get(job->agent->hypervisor, job->desktop, &status, err);
	if (r < 0) /* the hypervisor may be restarting */
		return r != -ENOENT && clock_now_ms() < s->seen_at_ms + GONE_MS ? RESTORE_GOES_ON
										: r;
	s->seen_at_ms = clock_now_ms();
	if (status.epoch != job->epoch)
		return err_say(err, ESTALE, "desktop %s is here under epoch %ju now", job->desktop,
			       (uintmax_t)status.epoch);
	sending = memory_server_state(job->agent->memory, job->desktop, job->epoch, &memory);
	if (s->memory && !sending && hypervisor_status_is(&status, "incoming"))
		return RESTORE_ANEW;
	if (s->memory && !s->running_at_ms && !memory.active && memory.r < 0 && !memory.running &&
	    !runs(&status))
		return err_say(err, -memory.r, "the devices could not be restored: %s",
			       err_text(&memory.err));
	note_running(s, &status, &memory);
	note_figures(s, &status, &memory);
	if (hypervisor_status_is(&status, "off"))
		return 0;
	if (note_local(s, &status))
		return 0;
	r = s->running_at_ms ? restore_mend(job->agent, &status, job->job, &mend) : 0;
	if (r == 0)
		r = fill_when_due(s, &status, &mend);
	if (r < 0)
		log_warning("%s desktop=%s", err_text(&mend), job->desktop);
	return RESTORE_GOES_ON;
}

static int watch(struct restore *s, struct err *err)
{
	int r;

	s->seen_at_ms = clock_now_ms();
	for (;;) {
		if (s->job->progress.cancel)
			return err_say(err, ECANCELED, "cancelled");
		r = look(s, err);
		if (r != RESTORE_GOES_ON)
			return r;
		clock_sleep_ms(s->running_at_ms && s->reported_output ? LOOK_MS : LOOK_SOON_MS);
	}
}

static int clean_up_once(struct restore *s, struct err *err)
{
	struct work_job *job = s->job;
	int r;

	if (s->may_have_run)
		return orphan_begin(job->agent, job->desktop, job->epoch, err);
	r = hypervisor_client_epoch_op(job->agent->hypervisor, "discard", job->desktop, job->epoch,
				       NULL, err);
	if (r == 0 || r == -ENOENT)
		disk_server_end(job->agent->disks, job->desktop, job->epoch);
	return r;
}

/* Nobody saw it run: leave nothing behind, or its disks only. The failure is reported after that, never before: it frees
 * the lease, and what is left here could run while another endpoint begins. */
static void clean_up(struct restore *s)
{
	struct work_job *job = s->job;
	struct memory_server_state memory = { 0 };
	bool complained = false;

	if (memory_server_state(job->agent->memory, job->desktop, job->epoch, &memory) &&
	    !memory.active && !memory.running)
		s->may_have_run = false;
	memory_server_end(job->agent->memory, job->desktop, job->epoch);
	for (;;) {
		struct err err = { 0 };
		int r = clean_up_once(s, &err);

		if (r == 0 || r == -ENOENT || r == -ESTALE) /* another epoch is none of ours */
			return;
		if (!complained)
			log_warning(
				"a desktop that could not start is still there, tried again: %s",
				err_text(&err));
		complained = true;
		clock_sleep_ms(CLEAN_UP_AGAIN_MS);
	}
}

/* Its guest has not run: begin again with a fresh QEMU. */
static int remove_waiting(struct restore *s, struct err *err)
{
	struct work_job *job = s->job;
	int r = hypervisor_client_epoch_op(job->agent->hypervisor, "discard", job->desktop,
					   job->epoch, NULL, err);

	log_info("a start that the agent before us left unfinished begins again desktop=%s",
		 job->desktop);
	s->crashed =
		false; /* that was the end of the QEMU that we removed; its event came before the reply */
	return r == -ENOENT ? 0 : r;
}

/* Its ttl is the server's word when it granted the right; what counts is the renewal. */
static int take_lease(struct restore *s, const json_t *lease, struct err *err)
{
	uint64_t ttl_ms;
	const char *proof = NULL;
	const struct json_field fields[] = {
		{ "policy", JSON_KIND_STRING, false, &s->policy },
		{ "ttl_ms", JSON_KIND_UINT, false, &ttl_ms },
		{ "proof", JSON_KIND_STRING, true, &proof },
	};
	int r = json_fields(lease, fields, ARRAY_LEN(fields), "run: lease", err);

	if (r < 0 || !proof)
		return r;
	return proof_keep(s->job->agent, s->job->desktop, s->job->epoch, proof, err);
}

int restore_run(struct work_job *job, struct err *err)
{
	struct restore s = { .job = job, .listener = { .desktop = job->desktop, .fn = hear } };
	json_t *lease = NULL;
	const struct json_field fields[] = {
		{ "lease", JSON_KIND_OBJECT, false, &lease },
		{ "snapshot", JSON_KIND_STRING, false, &s.snapshot },
		{ "memory", JSON_KIND_BOOL, false, &s.memory },
		{ "machine", JSON_KIND_OBJECT, false, &s.machine },
	};
	int r;

	r = json_fields(job->args, fields, ARRAY_LEN(fields), "run", err);
	if (r == 0)
		r = take_lease(&s, lease, err);
	if (r < 0)
		return r;
	manifest_init(&s.manifest);
	s.listener.arg = &s;
	hypervisor_client_listen(job->agent->hypervisor, &s.listener);
	do {
		r = begin(&s, err);
		if (r == 0)
			r = watch(&s, err);
	} while (r == RESTORE_ANEW && (r = remove_waiting(&s, err)) == 0);
	hypervisor_client_unlisten(job->agent->hypervisor, &s.listener);
	if (r == 0) {
		memory_server_end(job->agent->memory, job->desktop, job->epoch);
		/* A guest that powered off early still needs it: its disks will be captured. Tending ends it then. */
		if (s.reported_local)
			disk_server_end(job->agent->disks, job->desktop, job->epoch);
	} else if (!s.running_at_ms && r != -ESTALE) {
		clean_up(&s);
	}
	manifest_deinit(&s.manifest);
	return r;
}
