/* catalogue_jobs.c - see catalogue_jobs.h. */
#include "mgmt-server/catalogue/catalogue_jobs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void catalogue_job_deinit(struct catalogue_job *job)
{
	json_decref(job->arguments);
	json_decref(job->result);
	job->arguments = job->result = NULL;
}

static int texts(const struct catalogue_job *job, char **arguments, char **result, struct err *err)
{
	*arguments = json_text(job->arguments);
	*result = json_text(job->result);
	return *arguments && *result ? 0 : err_set(err, ENOMEM, "job %s", job->id);
}

static struct db_value time_value(uint64_t ms)
{
	return ms ? db_i(ms) : db_null();
}

static int conflict(const struct catalogue_job *job, int r, struct err *err)
{
	if (r == -EEXIST)
		return err_say(err, EEXIST,
			       "desktop %s has a job that is not finished; wait or cancel it",
			       job->desktop);
	return r < 0 ? r : 0;
}

int catalogue_job_add(struct db_conn *c, struct catalogue_job *job, struct err *err)
{
	CLEANUP_FREE char *arguments = NULL;
	CLEANUP_FREE char *result = NULL;
	int r;

	r = texts(job, &arguments, &result, err);
	if (r == 0)
		r = db_number(c, &job->seq, "SELECT COALESCE(MAX(seq), 0) + 1 FROM jobs",
			      DB_NO_VALUES, err);
	if (r < 0)
		return r;
	r = db_run(
		c,
		"INSERT INTO jobs (id, seq, kind, desktop, endpoint, state, step, blocking, "
		"arguments, done_bytes, total_bytes, message, error, result, username, created, "
		"started, ended, cancel, attempts, instance, reported, sent_bytes) VALUES "
		"($1, $2, $3, $4, $5, $6, $7, $8, $9, 0, 0, $10, NULL, $11, $12, $13, NULL, NULL, "
		"0, 0, '', 0, 0)",
		DB_VALUES(db_t(job->id), db_i(job->seq), db_t(job->kind), db_t(job->desktop),
			  db_t(job->endpoint), db_t(job->state), db_t(job->step),
			  db_i(job->blocking), db_t(arguments), db_t(job->message), db_t(result),
			  db_t(job->user), db_i(job->created_ms)),
		err);
	return conflict(job, r, err);
}

int catalogue_job_put(struct db_conn *c, const struct catalogue_job *job, struct err *err)
{
	CLEANUP_FREE char *arguments = NULL;
	CLEANUP_FREE char *result = NULL;
	int r;

	r = texts(job, &arguments, &result, err);
	if (r < 0)
		return r;
	r = db_run(c,
		   "UPDATE jobs SET endpoint = $1, state = $2, step = $3, blocking = $4, "
		   "arguments = $5, done_bytes = $6, total_bytes = $7, message = $8, error = $9, "
		   "result = $10, started = $11, ended = $12, cancel = $13, attempts = $14, "
		   "instance = $15, reported = $16, sent_bytes = $17 WHERE id = $18",
		   DB_VALUES(db_t(job->endpoint), db_t(job->state), db_t(job->step),
			     db_i(job->blocking), db_t(arguments), db_i(job->done_bytes),
			     db_i(job->total_bytes), db_t(job->message),
			     db_t(job->error[0] ? job->error : NULL), db_t(result),
			     time_value(job->started_ms), time_value(job->ended_ms),
			     db_i(job->cancel), db_i(job->attempts), db_t(job->instance),
			     db_i(job->touched_ms), db_i(job->sent_bytes), db_t(job->id)),
		   err);
	return conflict(job, r, err);
}

#define JOB_COLUMNS                                                                                \
	"SELECT id, seq, kind, desktop, endpoint, state, step, blocking, arguments, done_bytes, "  \
	"total_bytes, message, error, result, username, created, started, ended, cancel, "         \
	"attempts, instance, reported, sent_bytes FROM jobs "

static int read_job(const struct db_row *row, struct catalogue_job *job, struct err *err)
{
	const char *text;
	int r;

	db_column_copy(row, 0, job->id, sizeof(job->id));
	job->seq = db_column_int(row, 1);
	db_column_copy(row, 2, job->kind, sizeof(job->kind));
	db_column_copy(row, 3, job->desktop, sizeof(job->desktop));
	db_column_copy(row, 4, job->endpoint, sizeof(job->endpoint));
	db_column_copy(row, 5, job->state, sizeof(job->state));
	db_column_copy(row, 6, job->step, sizeof(job->step));
	job->blocking = db_column_int(row, 7) != 0;
	job->done_bytes = db_column_int(row, 9);
	job->total_bytes = db_column_int(row, 10);
	db_column_copy(row, 11, job->message, sizeof(job->message));
	db_column_copy(row, 12, job->error, sizeof(job->error));
	db_column_copy(row, 14, job->user, sizeof(job->user));
	job->created_ms = db_column_int(row, 15);
	job->started_ms = db_column_int(row, 16);
	job->ended_ms = db_column_int(row, 17);
	job->cancel = db_column_int(row, 18) != 0;
	job->attempts = db_column_int(row, 19);
	db_column_copy(row, 20, job->instance, sizeof(job->instance));
	job->touched_ms = db_column_int(row, 21);
	job->sent_bytes = db_column_int(row, 22);
	job->arguments = job->result = NULL;
	text = db_column_text(row, 8);
	r = json_parse(&job->arguments, text, strlen(text), "a job's arguments", err);
	text = db_column_text(row, 13);
	if (r == 0)
		r = json_parse(&job->result, text, strlen(text), "a job's result", err);
	if (r < 0)
		catalogue_job_deinit(job);
	return r;
}

static int take_job(void *arg, const struct db_row *row, struct err *err)
{
	int r = read_job(row, arg, err);

	return r < 0 ? r : DB_STOP;
}

int catalogue_job_get(struct db_conn *c, const char *id, struct catalogue_job *out, struct err *err)
{
	int r = db_each(c, take_job, out, JOB_COLUMNS "WHERE id = $1", DB_VALUES(db_t(id)), err);

	return r == 0 ? CATALOGUE_NONE : r < 0 ? r : 0;
}

struct job_each {
	const struct catalogue_job_filter *filter;
	catalogue_job_fn *fn;
	void *arg;
};

static int each_job(void *arg, const struct db_row *row, struct err *err)
{
	struct job_each *each = arg;
	const struct catalogue_job_filter *f = each->filter;
	struct catalogue_job job;
	int r;

	/* The filters that have no index of their own are applied here: one statement instead of eight. */
	if ((f->endpoint && strcmp(f->endpoint, db_column_text(row, 4)) != 0) ||
	    (f->state && strcmp(f->state, db_column_text(row, 5)) != 0))
		return 0;
	r = read_job(row, &job, err);
	if (r < 0)
		return r;
	r = each->fn(each->arg, &job, err);
	catalogue_job_deinit(&job);
	return r;
}

int catalogue_job_each(struct db_conn *c, const struct catalogue_job_filter *filter,
		       catalogue_job_fn *fn, void *arg, struct err *err)
{
	struct job_each each = { filter, fn, arg };
	uint64_t before = filter->before ? filter->before : INT64_MAX;
	int r;

	if (filter->active)
		r = db_each(c, each_job, &each,
			    JOB_COLUMNS "WHERE state IN ('queued', 'running') AND seq < $1 "
					"AND desktop = COALESCE($2, desktop) ORDER BY seq DESC",
			    DB_VALUES(db_i(before), db_t(filter->desktop)), err);
	else if (filter->desktop)
		r = db_each(c, each_job, &each,
			    JOB_COLUMNS "WHERE desktop = $1 AND seq < $2 ORDER BY seq DESC",
			    DB_VALUES(db_t(filter->desktop), db_i(before)), err);
	else
		r = db_each(c, each_job, &each, JOB_COLUMNS "WHERE seq < $1 ORDER BY seq DESC",
			    DB_VALUES(db_i(before)), err);
	return r < 0 ? r : 0;
}

static int take_id(void *arg, const struct db_row *row, struct err *err)
{
	(void)err;
	db_column_copy(row, 0, arg, CATALOGUE_ID_LEN);
	return DB_STOP;
}

int catalogue_job_active(struct db_conn *c, const char *desktop, char *id, struct err *err)
{
	int r;

	id[0] = '\0';
	r = db_each(c, take_id, id,
		    "SELECT id FROM jobs WHERE desktop = $1 AND state IN ('queued', 'running') "
		    "ORDER BY blocking DESC, seq DESC LIMIT 1",
		    DB_VALUES(db_t(desktop)), err);
	return r < 0 ? r : 0;
}
