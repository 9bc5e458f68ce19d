/* cli_watch.h - follow a job to its end. */
#ifndef GODWIT_CLI_WATCH_H
#define GODWIT_CLI_WATCH_H

#include "mgmt-server/cli/cli_server.h"

/**
 * cli_watch_job(server, id, quiet, job, err):
 * Show progress until the job has ended, however it ended.
 *
 * job  out, a new reference: the job as it was last seen
 *
 * Return 0; -ECANCELED after Ctrl-C (the job goes on); or -errno when the server can't be asked any more.
 */
int cli_watch_job(struct cli_server *server, const char *id, bool quiet, json_t **job,
		  struct err *err);

/* Print how the job ended: one line, on stdout if it ended as @wanted ("done", "cancelled"), on stderr if not. */
void cli_watch_outcome(const json_t *job, const char *wanted);

#endif
