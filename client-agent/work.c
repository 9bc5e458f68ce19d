#include "client-agent/work.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client-agent/capture_upload.h"
#include "client-agent/restore.h"
#include "client-agent/work_report.h"
#include "client-agent/work_simple.h"
#include "common/clock.h"
#include "common/io.h"
#include "common/log.h"
#include "snapshot/store_client_path.h"

enum { POLL_RETRY_MS = 1000, JOBS_MAX = 256 };

static const struct work_kind {
	const char *name;
	work_fn *fn;
} kinds[] = {
	{ "run", restore_run },
	{ "capture", capture_upload_capture },
	{ "suspend", capture_upload_suspend },
	{ "stop", capture_upload_stop },
	{ "pause", work_simple_pause },
	{ "unpause", work_simple_unpause },
	{ "discard", work_simple_discard },
};

/* jobs: what is worked on, each in exactly one thread of supervise(). */
struct work {
	struct agent *agent;
	pthread_t thread;
	pthread_mutex_t lock;
	struct work_job *jobs;
	size_t count;
};

static const struct work_kind *kind_of(const char *name)
{
	size_t i;

	for (i = 0; i < ARRAY_LEN(kinds); i++) {
		if (strcmp(kinds[i].name, name) == 0)
			return &kinds[i];
	}
	return NULL;
}

/* ---- A job ------------------------------------------------------------------------------------------------------ */

void work_job_result(struct work_job *job, const char *key, json_t *value)
{
	pthread_mutex_lock(&job->lock);
	json_object_set_new(job->result, key, value);
	job->fresh = true;
	pthread_cond_broadcast(&job->changed);
	pthread_mutex_unlock(&job->lock);
}

void work_job_message(struct work_job *job, const char *format, ...)
{
	va_list ap;

	pthread_mutex_lock(&job->lock);
	va_start(ap, format);
	vsnprintf(job->message, sizeof(job->message), format, ap);
	va_end(ap);
	job->fresh = true;
	pthread_cond_broadcast(&job->changed);
	pthread_mutex_unlock(&job->lock);
}

int work_job_remember(struct work_job *job, enum journal_phase phase, struct err *err)
{
	json_t *result;

	pthread_mutex_lock(&job->lock);
	result = json_deep_copy(job->result);
	pthread_mutex_unlock(&job->lock);
	if (!result)
		return err_set(err, ENOMEM, "remember job %s", job->job);
	json_decref(job->journal.result);
	job->journal.result = result;
	job->journal.phase = phase;
	return journal_save(job->agent->state_dir, job->job, job->step, &job->journal, err);
}

/* Move a string member of @item into @to. */
static int take_word(json_t *item, const char *key, char *to, size_t room, struct err *err)
{
	const char *text = json_string_value(json_object_get(item, key));

	if (!text || strlen(text) >= room || !store_client_path_word_valid(text))
		return err_say(err, EINVAL, "a work item's '%s' must be a short word", key);
	memcpy(to, text, strlen(text) + 1);
	json_object_del(item, key);
	return 0;
}

int work_item_parse(struct agent *agent, const json_t *item, struct work_job **out, struct err *err)
{
	struct work_job *job = calloc(1, sizeof(*job));
	const struct work_kind *kind;
	const json_t *epoch;
	char name[32];
	int r;

	*out = NULL;
	if (!job)
		return err_set(err, ENOMEM, "take a work item");
	*job = (struct work_job){
		.agent = agent,
		.kind = "",
		.received_ms = clock_now_ms(),
		.args = json_is_object(item) ? json_copy((json_t *)item) : NULL,
		.result = json_object(),
	};
	pthread_mutex_init(&job->lock, NULL);
	pthread_cond_init(&job->changed, NULL);
	if (!job->args || !job->result) {
		work_job_free(job);
		return err_say(err, EINVAL, "a work item is no object");
	}
	r = take_word(job->args, "job", job->job, sizeof(job->job), err);
	if (r == 0)
		r = take_word(job->args, "step", job->step, sizeof(job->step), err);
	if (r < 0) {
		work_job_free(job);
		return r;
	}
	*out = job; /* from here on a failure can be reported */

	r = take_word(job->args, "kind", name, sizeof(name), err);
	if (r < 0)
		return r;
	kind = kind_of(name);
	if (!kind)
		return err_say(err, EINVAL, "this agent does not know work of kind '%s'", name);
	job->kind = kind->name;
	r = take_word(job->args, "desktop", job->desktop, sizeof(job->desktop), err);
	if (r < 0)
		return r;
	if (!manifest_desktop_valid(job->desktop))
		return err_say(err, EINVAL, "'%s' is no name for a desktop", job->desktop);
	epoch = json_object_get(job->args, "epoch");
	if (!json_is_integer(epoch) || json_integer_value(epoch) < 0)
		return err_say(err, EINVAL, "a work item's 'epoch' must be a number from 0 on");
	job->epoch = (uint64_t)json_integer_value(epoch);
	json_object_del(job->args, "epoch");
	return 0;
}

void work_job_free(struct work_job *job)
{
	if (!job)
		return;
	journal_deinit(&job->journal);
	json_decref(job->args);
	json_decref(job->result);
	pthread_cond_destroy(&job->changed);
	pthread_mutex_destroy(&job->lock);
	free(job);
}

/* ---- Its two threads ---------------------------------------------------------------------------------------------- */

static void end(struct work_job *job, int r, const struct err *err)
{
	struct err forgot = { 0 };

	if (r < 0)
		snprintf(job->journal.message, sizeof(job->journal.message), "%s", err_text(err));
	if (r == 0)
		job->journal.message[0] = '\0';
	if (work_job_remember(job, r < 0 ? JOURNAL_FAILED : JOURNAL_DONE, &forgot) < 0)
		log_warning("%s job=%s", err_text(&forgot), job->job);

	pthread_mutex_lock(&job->lock);
	job->r = r;
	job->err = *err;
	job->ended = true;
	pthread_cond_broadcast(&job->changed);
	pthread_mutex_unlock(&job->lock);
}

static void *perform(void *arg)
{
	struct work_job *job = arg;
	struct err err = { 0 };
	int r;

	log_info("job begins kind=%s job=%s desktop=%s epoch=%ju", job->kind, job->job,
		 job->desktop, (uintmax_t)job->epoch);
	r = kind_of(job->kind)->fn(job, &err);
	if (r < 0)
		log_warning("job failed: %s job=%s desktop=%s", err_text(&err), job->job,
			    job->desktop);
	else
		log_info("job done job=%s desktop=%s ms=%ju", job->job, job->desktop,
			 (uintmax_t)(clock_now_ms() - job->received_ms));
	end(job, r, &err);
	return NULL;
}

/* Did an earlier process end this item? Then only its report is missing. */
static bool ended_before(struct work_job *job)
{
	struct err err = { 0 };

	if (journal_load(job->agent->state_dir, job->job, job->step, &job->journal, &err) < 0)
		log_warning("%s job=%s", err_text(&err), job->job);
	if (job->journal.result)
		json_object_update(job->result, job->journal.result);
	else
		job->journal.result = json_object();
	job->r = job->journal.phase == JOURNAL_FAILED ? -EIO : 0;
	if (job->r < 0)
		err_say(&job->err, EIO, "%s", job->journal.message);
	return job->journal.phase == JOURNAL_DONE || job->journal.phase == JOURNAL_FAILED;
}

struct supervised {
	struct work *work;
	struct work_job *job;
};

static void forget(struct work *work, struct work_job *job)
{
	struct work_job **at;

	pthread_mutex_lock(&work->lock);
	for (at = &work->jobs; *at && *at != job;)
		at = &(*at)->next;
	if (*at) {
		*at = job->next;
		work->count--;
	}
	pthread_mutex_unlock(&work->lock);
	work_job_free(job);
}

static void *supervise(void *arg)
{
	struct supervised *s = arg;
	struct work_job *job = s->job;
	struct err err = { 0 };
	pthread_t thread;
	int r;

	if (job->r == 0 && !ended_before(job)) {
		r = pthread_create(&thread, NULL, perform, job);
		if (r == 0) {
			work_report_running(job);
			pthread_join(thread, NULL);
		} else {
			job->r = err_set(&job->err, r, "start a thread");
		}
	}
	if (work_report_end(job) &&
	    journal_remove(job->agent->state_dir, job->job, job->step, &err) < 0)
		log_warning("%s job=%s", err_text(&err), job->job);
	forget(s->work, job);
	free(s);
	return NULL;
}

/* ---- The table of jobs -------------------------------------------------------------------------------------------- */

static bool known(struct work *work, const struct work_job *job)
{
	const struct work_job *other;

	for (other = work->jobs; other; other = other->next) {
		if (strcmp(other->job, job->job) == 0 && strcmp(other->step, job->step) == 0)
			return true;
	}
	return false;
}

/* Takes over @job. */
static void begin(struct work *work, struct work_job *job)
{
	struct supervised *s = malloc(sizeof(*s));
	pthread_attr_t attr;
	pthread_t thread;
	bool taken = false;

	if (!s) {
		work_job_free(job);
		return;
	}
	*s = (struct supervised){ .work = work, .job = job };
	pthread_mutex_lock(&work->lock);
	if (!known(work, job) && work->count < JOBS_MAX) {
		job->next = work->jobs;
		work->jobs = job;
		work->count++;
		taken = true;
	}
	pthread_mutex_unlock(&work->lock);
	if (!taken) { /* handed out again, by now or later */
		free(s);
		work_job_free(job);
		return;
	}
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	if (pthread_create(&thread, &attr, supervise, s) != 0) {
		log_error("no thread for a job job=%s", job->job);
		forget(work, job);
		free(s);
	}
	pthread_attr_destroy(&attr);
}

bool work_busy(struct work *work, const char *desktop, const char *kind)
{
	const struct work_job *job;
	bool busy = false;

	pthread_mutex_lock(&work->lock);
	for (job = work->jobs; job; job = job->next) {
		if (strcmp(job->desktop, desktop) == 0 && strcmp(job->kind, kind) == 0)
			busy = true;
	}
	pthread_mutex_unlock(&work->lock);
	return busy;
}

/* ---- The poll ------------------------------------------------------------------------------------------------------ */

static int take_items(struct work *work, const json_t *reply, struct err *err)
{
	json_t *items = NULL;
	const struct json_field fields[] = { { "work", JSON_KIND_ARRAY, false, &items } };
	const json_t *item;
	size_t i;
	int r;

	r = json_fields(reply, fields, ARRAY_LEN(fields), "the answer to a poll for work", err);
	if (r < 0)
		return r;
	json_array_foreach (items, i, item) {
		struct err refused = { 0 };
		struct work_job *job = NULL;

		r = work_item_parse(work->agent, item, &job, &refused);
		if (r < 0)
			log_error("work refused: %s", err_text(&refused));
		if (r < 0 && job) {
			job->r = r;
			job->err = refused;
		}
		if (job)
			begin(work, job);
	}
	return 0;
}

static int poll_once(struct work *work, struct err *err)
{
	struct agent *agent = work->agent;
	CLEANUP_FREE char *path = io_printf(AGENT_PREFIX "/work?wait_ms=%ju&instance=%s",
					    (uintmax_t)agent->config.poll_ms, agent->instance);
	CLEANUP(json_decref) json_t *reply = NULL;
	struct http_response response = { 0 };
	int r;

	if (!path)
		return err_set(err, ENOMEM, "poll for work");
	r = http_client_call(agent->http,
			     &(struct http_request){
				     .path = path,
				     .deadline_ms = agent->config.poll_ms + 15000,
				     .cancel = &agent->stop,
			     },
			     &response, err);
	if (r == 0)
		r = http_response_check(&response, AGENT_PREFIX "/work", err);
	if (r == 0)
		r = json_parse(&reply, (const char *)response.body, response.body_len,
			       "the answer to a poll for work", err);
	http_response_deinit(&response);
	return r < 0 ? r : take_items(work, reply, err);
}

static void *poll_for_work(void *arg)
{
	struct work *work = arg;
	bool failing = false;
	uint64_t waited;

	while (!work->agent->stop) {
		struct err err = { 0 };
		int r = poll_once(work, &err);

		if (r < 0 && !failing && !work->agent->stop)
			log_warning("poll for work failed: %s", err_text(&err));
		failing = r < 0;
		for (waited = 0; r < 0 && waited < POLL_RETRY_MS && !work->agent->stop;
		     waited += 50)
			clock_sleep_ms(50);
	}
	return NULL;
}

int work_start(struct work **out, struct agent *agent, struct err *err)
{
	struct work *work = calloc(1, sizeof(*work));
	int r;

	if (!work)
		return err_set(err, ENOMEM, "poll for work");
	work->agent = agent;
	pthread_mutex_init(&work->lock, NULL);
	r = pthread_create(&work->thread, NULL, poll_for_work, work);
	if (r != 0) {
		free(work);
		return err_set(err, r, "poll for work");
	}
	*out = work;
	return 0;
}

void work_stop(struct work *work)
{
	if (work)
		pthread_join(work->thread, NULL);
}
