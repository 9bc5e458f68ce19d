#include "client-agent/capture_upload.h"

#include <errno.h>
#include <string.h>

#include "client-agent/capture.h"
#include "client-agent/disk_server.h"
#include "client-agent/upload.h"
#include "common/clock.h"
#include "common/log.h"

enum {
	SHUTDOWN_SLACK_MS = 30 * 1000,
	DISCARD_TRIES = 5,
	DISCARD_RETRY_MS = 1000,
	CAPTURE_TRIES = 3, /* a hypervisor that dies of it each time is not helped by more */
};

/* The desktop must be here, under the epoch that the work is for. */
static int check_here(struct work_job *job, struct hypervisor_status *status, struct err *err)
{
	int r = hypervisor_status_get(job->agent->hypervisor, job->desktop, status, err);

	if (r < 0)
		return r;
	if (status->epoch != job->epoch)
		return err_say(err, ESTALE,
			       "desktop %s is here under epoch %ju, the work is for %ju",
			       job->desktop, (uintmax_t)status->epoch, (uintmax_t)job->epoch);
	return 0;
}

static int take_session(struct work_job *job, const json_t *session, struct err *err)
{
	const char *id = json_string_value(session);

	/* Committed by the process before us: what we capture now is another instant, and a session is one snapshot. */
	if (job->journal.phase == JOURNAL_COMMITTED)
		job->journal.session[0] = '\0';
	if (!id || job->journal.session[0])
		return 0;
	if (strlen(id) >= sizeof(job->journal.session))
		return err_say(err, EINVAL, "a session's name is too long");
	memcpy(job->journal.session, id, strlen(id) + 1);
	return 0;
}

static void publish(struct work_job *job, const struct upload *u, uint64_t began_ms)
{
	work_job_result(job, "snapshot", json_string(u->manifest.id));
	work_job_result(job, "pause_ms", json_real(u->capture->pause_ms));
	work_job_result(job, "read_bytes", json_integer((json_int_t)u->stats.read_bytes));
	work_job_result(job, "disk_read_bytes", json_integer((json_int_t)u->disk_read_bytes));
	work_job_result(job, "new_bytes", json_integer((json_int_t)u->stats.new_bytes));
	work_job_result(job, "stored_bytes", json_integer((json_int_t)u->stats.stored_bytes));
	work_job_result(job, "seconds", json_real((double)(clock_now_ms() - began_ms) / 1000.0));
	work_job_result(job, "full_compare", json_string(u->full_compare));
}

static int capture_once(struct work_job *job, bool memory, bool hold, struct err *err)
{
	uint64_t began_ms = clock_now_ms();
	struct capture capture;
	struct upload upload = { .job = job, .capture = &capture };
	struct err end_err = { 0 };
	const char *committed;
	int r, ended;

	work_job_message(job, "capturing");
	r = capture_begin(&capture,
			  &(struct capture_order){ .hypervisor = job->agent->hypervisor,
						   .desktop = job->desktop,
						   .memory = memory,
						   .hold = hold },
			  err);
	if (r < 0)
		return r;
	r = upload_run(&upload, err);
	if (r == 0) {
		publish(job, &upload, began_ms);
		r = work_job_remember(job, JOURNAL_COMMITTED, err);
	}
	committed = r == 0 ? upload.manifest.id : NULL;
	ended = capture_end(&capture, committed, &end_err);
	if (ended <
	    0) /* the snapshot stands; the next one compares in full if the tracking is gone */
		log_warning("%s", err_text(&end_err));
	if (r == 0 && hold &&
	    ended < 0) /* nobody held the guest to the end: what it wrote since is only here */
		r = err_say(err, EIO,
			    "snapshot %s was taken, but the desktop went on afterwards: %s",
			    upload.manifest.id, err_text(&end_err));
	upload_deinit(&upload);
	return r;
}

/* A hypervisor that was restarted in the middle has undone the capture, and the guest ran on: take a later instant. */
static int capture_and_upload(struct work_job *job, bool memory, bool hold, struct err *err)
{
	struct hypervisor_client *hypervisor = job->agent->hypervisor;
	unsigned tries;
	int r = 0;

	for (tries = 1;; tries++) {
		uint64_t connection = hypervisor_client_connections(hypervisor);
		struct hypervisor_status status;
		struct err ignored;

		r = capture_once(job, memory, hold, err);
		if (r == 0 || job->progress.cancel || tries == CAPTURE_TRIES ||
		    check_here(job, &status, &ignored) < 0 || /* waits for a connection */
		    hypervisor_client_connections(hypervisor) == connection)
			return r;
		log_warning("the hypervisor was restarted, the capture is taken again: %s job=%s",
			    err_text(err), job->job);
		/* Committed, but not held to the end: what we capture now is another instant. */
		if (job->journal.phase == JOURNAL_COMMITTED)
			job->journal.session[0] = '\0';
		*err = (struct err){ 0 };
	}
}

int capture_upload_capture(struct work_job *job, struct err *err)
{
	struct hypervisor_status status;
	json_t *session = NULL;
	bool memory = false;
	const struct json_field fields[] = {
		{ "memory", JSON_KIND_BOOL, false, &memory },
		{ "session", JSON_KIND_ANY, true, &session },
	};
	int r;

	if (job->journal.phase == JOURNAL_COMMITTED)
		return 0; /* the process before us did it */
	r = json_fields(job->args, fields, ARRAY_LEN(fields), "capture", err);
	if (r == 0)
		r = take_session(job, session, err);
	if (r == 0)
		r = check_here(job, &status, err);
	return r < 0 ? r : capture_and_upload(job, memory, false, err);
}

/* The last instant is committed and nothing ran since: the desktop leaves this endpoint. */
static int leave(struct work_job *job, struct err *err)
{
	unsigned tries = 0;
	int r;

	work_job_message(job, "removing the desktop from this endpoint");
	while ((r = hypervisor_client_epoch_op(job->agent->hypervisor, "discard", job->desktop,
					       job->epoch, NULL, err)) < 0 &&
	       r != -ENOENT && ++tries < DISCARD_TRIES) {
		log_warning("%s; it is tried again", err_text(err));
		clock_sleep_ms(DISCARD_RETRY_MS);
	}
	if (r < 0 && r != -ENOENT)
		return r;
	disk_server_end(job->agent->disks, job->desktop, job->epoch);
	return 0;
}

/* An earlier process committed, and the desktop is gone: nothing is left to do. */
static bool left_before(struct work_job *job)
{
	struct hypervisor_status status;

	return job->journal.phase == JOURNAL_COMMITTED &&
	       hypervisor_status_get(job->agent->hypervisor, job->desktop, &status, NULL) ==
		       -ENOENT;
}

int capture_upload_suspend(struct work_job *job, struct err *err)
{
	struct hypervisor_status status;
	json_t *session = NULL;
	bool memory = false;
	const struct json_field fields[] = {
		{ "memory", JSON_KIND_BOOL, false, &memory },
		{ "session", JSON_KIND_ANY, true, &session },
	};
	int r;

	if (left_before(job))
		return 0;
	r = json_fields(job->args, fields, ARRAY_LEN(fields), "suspend", err);
	if (r == 0)
		r = take_session(job, session, err);
	if (r == 0)
		r = check_here(job, &status, err);
	if (r == 0)
		r = capture_and_upload(job, memory, true, err);
	return r < 0 ? r : leave(job, err);
}

static int shut_down(struct work_job *job, uint64_t timeout_ms, struct err *err)
{
	CLEANUP(json_decref)
	json_t *args = json_pack("{s:I}", "timeout_ms", (json_int_t)timeout_ms);
	int r;

	if (!args)
		return err_set(err, ENOMEM, "shut down");
	work_job_message(job, "shutting down");
	r = hypervisor_client_call(job->agent->hypervisor,
				   &(struct hypervisor_call){
					   .op = "shutdown",
					   .desktop = job->desktop,
					   .args = args,
					   .timeout_ms = timeout_ms + SHUTDOWN_SLACK_MS,
				   },
				   err);
	if (r == -ETIMEDOUT)
		return err_say(
			err, ETIMEDOUT,
			"desktop %s did not power off within %ju ms and runs on; stop it with "
			"force to pull the plug",
			job->desktop, (uintmax_t)timeout_ms);
	return r;
}

int capture_upload_stop(struct work_job *job, struct err *err)
{
	struct hypervisor_status status;
	uint64_t timeout_ms = 0;
	json_t *session = NULL;
	bool force = false;
	const struct json_field fields[] = {
		{ "timeout_ms", JSON_KIND_UINT, false, &timeout_ms },
		{ "force", JSON_KIND_BOOL, false, &force },
		{ "session", JSON_KIND_ANY, true, &session },
	};
	int r;

	if (left_before(job))
		return 0;
	r = json_fields(job->args, fields, ARRAY_LEN(fields), "stop", err);
	if (r == 0)
		r = take_session(job, session, err);
	if (r == 0)
		r = check_here(job, &status, err);
	if (r == 0 && !force && !hypervisor_status_is(&status, "off"))
		r = shut_down(job, timeout_ms, err);
	if (r == 0)
		r = capture_and_upload(job, false, true, err);
	return r < 0 ? r : leave(job, err);
}
