/* jobs.h - units of long work: what a kind of job consists of, and how it goes on.
 *
 * A job is a row of steps (jobs_kinds.c). A step is done by this server (place, fence) or by the agent of the job's
 * endpoint, which gets it as a work item and reports. Every transition is a change (change.h): after kill -9 of
 * anybody each job stands before or after a step, and a step that was handed out is handed out again to whoever did
 * not finish it. All functions need a change, that is the fleet's lock.
 */
#ifndef GODWIT_MGMT_SERVER_JOBS_H
#define GODWIT_MGMT_SERVER_JOBS_H

#include "mgmt-server/core/change.h"

enum jobs_needs {
	JOBS_NEEDS_FREE,   /* nobody holds the lease */
	JOBS_NEEDS_HOLDER, /* somebody holds it: he gets the work */
	JOBS_NEEDS_NOTHING,
};

enum { /* what a server step says */
       JOBS_NEXT = 0,
       JOBS_WAIT, /* job->message says for what; tried again every second */
       JOBS_FAIL, /* job->error says why */
};

struct jobs_step {
	const char *name;
	/* A step of this server; NULL: the agent's. Return one of the above or -errno (nothing happened). */
	int (*act)(struct change *change, struct catalogue_job *job, struct err *err);
	/* The agent's: further arguments into @item, which has job, step, kind, desktop, epoch. */
	int (*item)(struct change *change, const struct catalogue_job *job, json_t *item,
		    struct err *err);
	/* The agent has done it; its result is merged into job->result already. NULL: nothing to do. */
	int (*done)(struct change *change, struct catalogue_job *job, struct err *err);
	/* It failed, or was taken back before it was handed out. Return 0, JOBS_WAIT when the job goes on (with another
	 * step or endpoint), -errno. NULL: nothing to do. */
	int (*failed)(struct change *change, struct catalogue_job *job, struct err *err);
};

enum { JOBS_STEPS_MAX = 4 };

struct jobs_kind {
	const char *name;
	enum jobs_needs needs;
	bool beside; /* it touches neither the desktop nor its lease: other jobs go on beside it */
	const struct jobs_step *steps[JOBS_STEPS_MAX]; /* NULL-terminated */
};

const struct jobs_kind *jobs_kind(const char *name); /* jobs_kinds.c; NULL: no such kind */

struct jobs_order {
	const char *kind, *desktop, *user;
	const char *endpoint; /* who gets the work, when the lease does not say; NULL */
	json_t *arguments;    /* object; the reference is taken */
	json_t *result;       /* what is known already, or NULL; taken */
};

/**
 * jobs_create(change, order, id, err):
 * id  out, char[CATALOGUE_ID_LEN]
 *
 * Return 0; -ENOENT: no such desktop; -EEXIST: it has a job; -EBUSY: its lease is not as the kind needs it; -errno.
 */
int jobs_create(struct change *change, struct jobs_order *order, char *id, struct err *err);

struct jobs_report {
	const char *step, *state, *message;
	uint64_t done_bytes, total_bytes;
	json_t *result; /* object or NULL; borrowed */
};
enum { JOBS_OVER = 1 /* the job, or that step of it, is over */ };
/* cancel: out. Return 0, JOBS_OVER, -ENOENT (no such job of this endpoint), -EINVAL, -errno. */
int jobs_report(struct change *change, const char *endpoint, const char *id,
		const struct jobs_report *report, bool *cancel, struct err *err);

/* Return 0, -ENOENT, -EEXIST: it is over; -errno. */
int jobs_cancel(struct change *change, const char *id, struct err *err);

/* Every active job of @desktop fails, because @why; but not those that are beside it. */
int jobs_fail_all(struct change *change, const char *desktop, const char *why, struct err *err);

/* Append to @items what @endpoint must do and this instance of its agent does not know yet. */
int jobs_hand_out(struct change *change, struct fleet_endpoint *endpoint, const char *instance,
		  json_t *items, struct err *err);

/* Go on with jobs that wait for something. */
void jobs_tick(struct server *s);

/* Read an argument; absent: "", 0, false. */
const char *jobs_text(const struct catalogue_job *job, const char *name);
uint64_t jobs_number(const struct catalogue_job *job, const char *name);
bool jobs_flag(const struct catalogue_job *job, const char *name);

#endif
