/* journal.h - how far a work item got, for the process that comes after a crash.
 *
 * One file for each item below STATE/jobs, named JOB.STEP.json, from when there is something to remember until the
 * server has taken the final report. Phases only go forward; each change replaces the file durably.
 */
#ifndef GODWIT_CLIENT_AGENT_JOURNAL_H
#define GODWIT_CLIENT_AGENT_JOURNAL_H

#include "common/err.h"
#include "common/json.h"

enum journal_phase {
	JOURNAL_NONE,      /* no file */
	JOURNAL_UPLOADING, /* `session` is open at the server */
	JOURNAL_COMMITTED, /* the snapshot exists; what follows (discard) must still be done */
	JOURNAL_DONE,      /* only the report is missing */
	JOURNAL_FAILED,    /* the same */
};

struct journal {
	enum journal_phase phase;
	char session[128]; /* "": none */
	char message[1024];
	json_t *result; /* owned; an object */
};
void journal_deinit(struct journal *journal);

int journal_load(const char *state_dir, const char *job, const char *step, struct journal *out,
		 struct err *err);
int journal_save(const char *state_dir, const char *job, const char *step,
		 const struct journal *journal, struct err *err);
int journal_remove(const char *state_dir, const char *job, const char *step, struct err *err);

#endif
