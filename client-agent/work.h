/* work.h - what the server wants done here: a long poll, a table of kinds, a thread for each item, reports.
 *
 * An item is known by (job, step). What is worked on already is ignored when it is handed out again; what ended but could
 * not be reported is reported from the journal. Reports go out each second and whenever a result becomes known; the
 * last one is repeated until the server takes it or says that the job is over.
 * Source: docs/protocol.md, "Work".
 */
#ifndef GODWIT_CLIENT_AGENT_WORK_H
#define GODWIT_CLIENT_AGENT_WORK_H

#include <pthread.h>

#include "client-agent/agent.h"
#include "client-agent/journal.h"
#include "snapshot/manifest.h"
#include "snapshot/volume.h"

enum { WORK_ID_MAX = 127 };

struct work_job {
	struct agent *agent;
	char job[WORK_ID_MAX + 1], step[WORK_ID_MAX + 1];
	char desktop[MANIFEST_DESKTOP_MAX + 1];
	const char *kind;
	uint64_t epoch;
	uint64_t received_ms;            /* clock_now_ms() */
	json_t *args;                    /* the item without what stands above; owned */
	struct volume_progress progress; /* its cancel is set when a person cancels */
	struct journal journal;          /* the job's thread only */

	pthread_mutex_t lock; /* all below */
	pthread_cond_t changed;
	json_t *result;    /* known so far */
	char message[256]; /* what happens now, for people */
	bool fresh;        /* a result or message that no report has carried yet */
	bool ended;
	int r;
	struct err err;
	struct work_job *next;
};

/* The item's work. The result is built by work_job_result. Return 0, or -errno with a text for people. */
typedef int work_fn(struct work_job *job, struct err *err);

/* A part of the result became known; takes over @value. */
void work_job_result(struct work_job *job, const char *key, json_t *value);
void work_job_message(struct work_job *job, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* Copy what is known so far into the journal and keep it with @phase. */
int work_job_remember(struct work_job *job, enum journal_phase phase, struct err *err);

/**
 * work_item_parse(agent, item, out, err):
 * Return 0, or -EINVAL. When at least job and step were readable they are in *out even then, so that the failure can be
 * reported.
 */
int work_item_parse(struct agent *agent, const json_t *item, struct work_job **out,
		    struct err *err);
void work_job_free(struct work_job *job);
DEFINE_CLEANUP(struct work_job *, work_job_free);

struct work;
int work_start(struct work **out, struct agent *agent, struct err *err);
/* Does not wait for jobs: they are resumed by the next process. Only before the process ends. */
void work_stop(struct work *work);

/* Is an item of this kind for @desktop being worked on? */
bool work_busy(struct work *work, const char *desktop, const char *kind);

#endif
