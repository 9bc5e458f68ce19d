#include "client-agent/work_report.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/clock.h"
#include "common/io.h"
#include "common/log.h"

enum {
	REPORT_EVERY_MS = 1000,
	REPORT_FRESH_MS = 200, /* even fresh results are not reported more often */
	REPORT_DEADLINE_MS = 10 * 1000,
	RETRY_FIRST_MS = 500,
	RETRY_MAX_MS = 10 * 1000,
};

static json_t *report_json(struct work_job *job, const struct work_report *report)
{
	uint64_t total = job->progress.total_bytes, done = job->progress.done_bytes;

	if (done > total) /* what is read twice counts twice */
		done = total;
	return json_pack("{s:s, s:s, s:I, s:I, s:s, s:O}", "step", job->step, "state",
			 report->state, "done_bytes", (json_int_t)done, "total_bytes",
			 (json_int_t)total, "message", report->message, "result", report->result);
}

static int take_answer(const struct http_response *response, bool *cancel, struct err *err)
{
	CLEANUP(json_decref) json_t *reply = NULL;
	const struct json_field fields[] = { { "cancel", JSON_KIND_BOOL, false, cancel } };
	int r;

	r = json_parse(&reply, (const char *)response->body, response->body_len,
		       "the answer to a report", err);
	return r < 0 ? r
		     : json_fields(reply, fields, ARRAY_LEN(fields), "the answer to a report", err);
}

int work_report_send(struct work_job *job, const struct work_report *report, bool *cancel,
		     struct err *err)
{
	CLEANUP(json_decref) json_t *body = report_json(job, report);
	CLEANUP_FREE char *path = io_printf(AGENT_PREFIX "/jobs/%s/report", job->job);
	CLEANUP_FREE char *text = body ? json_text(body) : NULL;
	struct http_response response = { 0 };
	int r;

	if (!path || !text)
		return err_set(err, ENOMEM, "report on job %s", job->job);
	r = http_client_call(job->agent->http,
			     &(struct http_request){
				     .method = "POST",
				     .path = path,
				     .body = text,
				     .body_len = strlen(text),
				     .deadline_ms = REPORT_DEADLINE_MS,
				     .cancel = &job->agent->stop,
			     },
			     &response, err);
	if (r == 0)
		r = http_response_check(&response, path, err);
	if (r == 0)
		r = take_answer(&response, cancel, err);
	if (r == -ENOENT || r == -EEXIST)
		r = WORK_REPORT_OVER;
	http_response_deinit(&response);
	return r;
}

/* ---- While it runs ---------------------------------------------------------------------------------------------- */

/* Wait until a report is due; false: the job has ended. */
static bool wait_due(struct work_job *job, uint64_t last_ms)
{
	bool ended;

	pthread_mutex_lock(&job->lock);
	for (;;) {
		uint64_t due = last_ms + (job->fresh ? REPORT_FRESH_MS : REPORT_EVERY_MS);
		uint64_t now = clock_now_ms();
		struct timespec until;

		if (job->ended || now >= due)
			break;
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec += (time_t)((due - now) / 1000);
		until.tv_nsec += (long)((due - now) % 1000) * 1000000;
		if (until.tv_nsec >= 1000000000) {
			until.tv_sec++;
			until.tv_nsec -= 1000000000;
		}
		pthread_cond_timedwait(&job->changed, &job->lock, &until);
	}
	ended = job->ended;
	pthread_mutex_unlock(&job->lock);
	return !ended;
}

/* What a report says of the moment: a copy, so that no lock is held while it travels. */
static int snapshot_of(struct work_job *job, char message[sizeof(job->message)], json_t **result)
{
	pthread_mutex_lock(&job->lock);
	memcpy(message, job->message, sizeof(job->message));
	*result = json_deep_copy(job->result);
	job->fresh = false;
	pthread_mutex_unlock(&job->lock);
	return *result ? 0 : -ENOMEM;
}

void work_report_running(struct work_job *job)
{
	uint64_t last_ms = 0;
	bool failing = false;

	while (wait_due(job, last_ms)) {
		CLEANUP(json_decref) json_t *result = NULL;
		char message[sizeof(job->message)];
		struct err err = { 0 };
		bool cancel = false;
		int r;

		last_ms = clock_now_ms();
		if (snapshot_of(job, message, &result) < 0)
			continue;
		r = work_report_send(job,
				     &(struct work_report){ .state = "running",
							    .message = message,
							    .result = result },
				     &cancel, &err);
		if (r < 0 && !failing && !job->agent->stop)
			log_warning("report failed: %s job=%s", err_text(&err), job->job);
		failing = r < 0;
		if (r == WORK_REPORT_OVER)
			cancel = true; /* nobody wants it any more */
		if (cancel && !job->progress.cancel) {
			log_info("job cancelled job=%s desktop=%s", job->job, job->desktop);
			job->progress.cancel = true;
		}
	}
}

/* ---- The end ------------------------------------------------------------------------------------------------------ */

bool work_report_end(struct work_job *job)
{
	const struct work_report report = {
		.state = job->r < 0 ? "failed" : "done",
		.message = job->r < 0 ? err_text(&job->err) : "",
		.result = job->result,
	};
	uint64_t wait_ms = RETRY_FIRST_MS, waited;

	while (!job->agent->stop) {
		struct err err = { 0 };
		bool cancel;
		int r = work_report_send(job, &report, &cancel, &err);

		if (r >= 0)
			return true;
		log_debug("report failed: %s job=%s", err_text(&err), job->job);
		for (waited = 0; waited < wait_ms && !job->agent->stop; waited += 50)
			clock_sleep_ms(50);
		wait_ms = wait_ms * 2 < RETRY_MAX_MS ? wait_ms * 2 : RETRY_MAX_MS;
	}
	return false;
}
