/* mends.h - one infected file of a snapshot gets its last clean version back, in a new snapshot.
 *
 * godwit-scan-mend, a child of this server, does the work in sandboxed processes and leaves the blocks that differ in a
 * folder; they are put into the store as a snapshot whose parent is the infected one, disks only. One at a time. A mend
 * that was under way when this server ended begins anew. Everything here needs the fleet's lock, but the putting, which
 * has a thread of its own.
 */
#ifndef GODWIT_MGMT_SERVER_MENDS_H
#define GODWIT_MGMT_SERVER_MENDS_H

#include "mgmt-server/core/change.h"

struct mends;

int mends_new(struct mends **out, struct server *server, struct err *err);
void mends_free(struct mends *mends);

struct mends_order {
	const char *snapshot, *user;
	const char *file; /* VOLUME:PARTITION:PATH */
	const char *from; /* the snapshot with the clean version; "": the last clean one before */
};

/* id: out, char[CATALOGUE_ID_LEN] of the job. Return 0; -ENOENT: no such snapshot, or none that is clean; -EINVAL; -errno. */
int mends_order(struct change *change, const struct mends_order *order, char *id, struct err *err);

/* The step of a job (jobs.h). */
int mends_step(struct change *change, struct catalogue_job *job, struct err *err);

/* End the one whose job was cancelled. */
void mends_tick(struct server *server);

#endif
