/* scan_queue.h - scans by policy: new snapshots are scanned, and what could not be finished is tried again.
 *
 * A snapshot waits in the catalogue until a place is free and it is due; then it becomes a job (scans.h) and leaves the
 * queue. It comes back when the job failed, or ended `incomplete` for a reason that may pass (no signatures, a full temp
 * folder, a process that was killed, a damaged chunk): later each time. A cancelled job does not come back.
 */
#ifndef GODWIT_MGMT_SERVER_SCAN_QUEUE_H
#define GODWIT_MGMT_SERVER_SCAN_QUEUE_H

#include "mgmt-server/core/change.h"

/* A snapshot was committed. */
int scan_queue_new(struct change *change, const char *snapshot, struct err *err);

/* @job could not finish, because @why. Return 0 or -errno. */
int scan_queue_again(struct change *change, const struct catalogue_job *job, const char *why,
		     struct err *err);

/* Is that reason of an incomplete scan one that may pass? */
bool scan_queue_may_pass(const char *reason);

/* The next one that is due becomes a job; the caller has a free place for it. */
void scan_queue_tick(struct server *server);

/* "scan_due" and "scan_tries" of a snapshot into @object: null and 0 when it does not wait. */
void scan_queue_show(struct db_conn *c, const char *snapshot, json_t *object);

#endif
