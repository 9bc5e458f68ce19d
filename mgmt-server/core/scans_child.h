/* scans_child.h - one running godwit-scan. Internal to scans. */
#ifndef GODWIT_MGMT_SERVER_SCANS_CHILD_H
#define GODWIT_MGMT_SERVER_SCANS_CHILD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/err.h"
#include "common/json.h"

enum { SCANS_CHILD_REPORT_MAX = 64 << 20, SCANS_CHILD_SAID_MAX = 400 };

struct scans_child {
	pid_t pid;        /* 0: there is none */
	int report, said; /* its stdout and stderr: memfds, -1: none */
	/* It and its own children, a process group, are stopped (SIGSTOP). */
	bool stands;
	uint64_t
		ended_by; /* clock_now_ms() at which it is killed, because it was asked to end; 0: it was not */
};

/* argv[0] is its path; NULL at the end. It dies with this server, also when it stands: the kernel lets a group go on whose
 * parent is gone. nice: 0 to 19, its disk accesses wait for others', too.
 * Return 0 or -errno. */
int scans_child_start(struct scans_child *child, const char *const *argv, int nice,
		      struct err *err);

enum { SCANS_CHILD_RUNS = 1 };
/* Return 0 with its wait @status once it has ended, or SCANS_CHILD_RUNS. */
int scans_child_poll(struct scans_child *child, int *status);

/* Stop it with all its children, or let them go on. */
void scans_child_stand(struct scans_child *child, bool still);

/* Ask it to end; the second time, a while later, it is killed. */
void scans_child_ask_to_end(struct scans_child *child);

/* The last whole line that it printed, as JSON: how far it is, or its report. NULL: there is none. The caller's. */
json_t *scans_child_line(const struct scans_child *child);
/* The last line that it wrote to stderr, "" when there is none. text: char[SCANS_CHILD_SAID_MAX] */
void scans_child_said(const struct scans_child *child, char *text);

/* The same of its stdout. */
void scans_child_printed(const struct scans_child *child, char *text);

/* Kill it if it runs, reap it, close what it wrote to. */
void scans_child_end(struct scans_child *child);

#endif
