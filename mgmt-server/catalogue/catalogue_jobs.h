/* catalogue_jobs.h - units of long work, as they survive a restart of the server. What they mean is core/jobs.c's. */
#ifndef GODWIT_MGMT_SERVER_CATALOGUE_JOBS_H
#define GODWIT_MGMT_SERVER_CATALOGUE_JOBS_H

#include "mgmt-server/catalogue/catalogue_access.h"

struct catalogue_job {
	char id[CATALOGUE_ID_LEN];
	uint64_t seq; /* order of creation */
	char kind[16], step[16];
	char state[16]; /* queued, running, done, failed, cancelled */
	char desktop[CATALOGUE_NAME_LEN], endpoint[CATALOGUE_NAME_LEN], user[CATALOGUE_NAME_LEN];
	bool blocking; /* no other blocking job of this desktop beside it */
	bool cancel;   /* asked for */
	uint64_t done_bytes, total_bytes, sent_bytes;
	char message[512], error[512];             /* error "": none */
	json_t *arguments, *result;                /* objects; owned */
	uint64_t created_ms, started_ms, ended_ms; /* wall; 0: not yet */
	uint64_t attempts;
	char instance[72];   /* of the agent that got the current step; "": not handed out */
	uint64_t touched_ms; /* wall: handed out or reported on */
};

void catalogue_job_deinit(struct catalogue_job *job);

/* seq is chosen. Return 0, -EEXIST when the desktop has a blocking job already, -errno. */
int catalogue_job_add(struct db_conn *c, struct catalogue_job *job, struct err *err);
/* Write everything but id, seq, kind, desktop, user, created. -EEXIST as above. */
int catalogue_job_put(struct db_conn *c, const struct catalogue_job *job, struct err *err);
/* Return 0 (@out is to be deinited), CATALOGUE_NONE, -errno. */
int catalogue_job_get(struct db_conn *c, const char *id, struct catalogue_job *out,
		      struct err *err);

struct catalogue_job_filter {
	const char *desktop, *endpoint, *state; /* NULL: any */
	bool active;                            /* queued and running only */
	uint64_t before;                        /* seq; 0: from the newest on */
};
typedef int catalogue_job_fn(void *arg, const struct catalogue_job *job, struct err *err);
/* Newest first. */
int catalogue_job_each(struct db_conn *c, const struct catalogue_job_filter *filter,
		       catalogue_job_fn *fn, void *arg, struct err *err);
/* The id of the job that blocks a desktop, or of its newest active one, into char[CATALOGUE_ID_LEN]; "": none. */
int catalogue_job_active(struct db_conn *c, const char *desktop, char *id, struct err *err);

#endif
