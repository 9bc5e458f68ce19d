/* work_report.h - telling the server how a work item goes, and hearing whether somebody cancelled it. */
#ifndef GODWIT_CLIENT_AGENT_WORK_REPORT_H
#define GODWIT_CLIENT_AGENT_WORK_REPORT_H

#include "client-agent/work.h"

enum { WORK_REPORT_OVER = 1 }; /* outcome: the server does not know the job (any more) */

struct work_report {
	const char *state; /* running, done, failed */
	const char *message;
	const json_t *result;
};
/* *cancel: whether the job was cancelled. Return 0, WORK_REPORT_OVER, or -errno. */
int work_report_send(struct work_job *job, const struct work_report *report, bool *cancel,
		     struct err *err);

/* Report while the job's thread runs, until it has ended. */
void work_report_running(struct work_job *job);

/* Report the end, again and again until the server took it or the agent stops. True: it is off our hands. */
bool work_report_end(struct work_job *job);

#endif
