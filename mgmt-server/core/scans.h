/* scans.h - offline scans of snapshots: godwit-scan as a child of this server, one step of a job each.
 *
 * The server parses nothing of a guest: godwit-scan does, in sandboxed processes, and prints a report. Its verdict goes
 * into the catalogue with the job's end, in one transaction. A scan that was under way when this server ended begins
 * anew. Everything here needs the fleet's lock.
 */
#ifndef GODWIT_MGMT_SERVER_SCANS_H
#define GODWIT_MGMT_SERVER_SCANS_H

#include "mgmt-server/core/change.h"

struct scans;

int scans_new(struct scans **out, struct server *server, struct err *err);
/* Ends the scans that run; their jobs go on when a server starts again. */
void scans_free(struct scans *scans);

struct scans_order {
	const char *snapshot, *user;
	uint64_t tries; /* that failed before this one */
};

/**
 * scans_order(change, order, id, err):
 * id  out, char[CATALOGUE_ID_LEN] of the job
 *
 * Return 0; -ENOENT: no such snapshot; -EEXIST: it is being scanned; -errno.
 */
int scans_order(struct change *change, const struct scans_order *order, char *id, struct err *err);

/* What a rescan (hunts.h) says of a snapshot: @item of its @report. A snapshot that is gone is passed over. */
int scans_judged(struct change *change, const char *hunt, const json_t *report, const json_t *item,
		 struct err *err);

/* The step of a job (jobs.h). */
int scans_step(struct change *change, struct catalogue_job *job, struct err *err);

/* Stop all that run, or let them go on (make_way.h). Return how many there are. */
size_t scans_stand(struct scans *scans, bool still);

/* End those whose job was cancelled. */
void scans_tick(struct server *server);

/* What the newest scan of a snapshot said, as GET shows it; null: it was never scanned. */
json_t *scans_object(struct db_conn *c, const char *snapshot);

#endif
