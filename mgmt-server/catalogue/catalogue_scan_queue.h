/* catalogue_scan_queue.h - snapshots that wait for a scan: new ones, and those whose last scan must be tried again. */
#ifndef GODWIT_MGMT_SERVER_CATALOGUE_SCAN_QUEUE_H
#define GODWIT_MGMT_SERVER_CATALOGUE_SCAN_QUEUE_H

#include "mgmt-server/catalogue/catalogue_access.h"

struct catalogue_waiting_scan {
	char snapshot[CATALOGUE_ID_LEN];
	uint64_t due_ms; /* wall */
	uint64_t tries;  /* that failed so far */
	char why[256];   /* of the last one, or who wants it */
};

/* Replaces what waited for that snapshot. Return 0 or -errno. */
int catalogue_scan_queue_put(struct db_conn *c, const struct catalogue_waiting_scan *waiting,
			     struct err *err);
int catalogue_scan_queue_drop(struct db_conn *c, const char *snapshot, struct err *err);
/* Return 0, CATALOGUE_NONE, -errno. */
int catalogue_scan_queue_get(struct db_conn *c, const char *snapshot,
			     struct catalogue_waiting_scan *out, struct err *err);
/* The one that is due for longest. Return 0, CATALOGUE_NONE, -errno. */
int catalogue_scan_queue_due(struct db_conn *c, uint64_t now_ms, struct catalogue_waiting_scan *out,
			     struct err *err);
/* Those that were tried before are due now: what stood in their way may be gone. */
int catalogue_scan_queue_hurry(struct db_conn *c, uint64_t now_ms, struct err *err);
/* Every snapshot that was never scanned waits; those that do already stay as they are. Return how many are new, -errno. */
int catalogue_scan_queue_unscanned(struct db_conn *c, uint64_t now_ms, const char *why,
				   struct err *err);
int catalogue_scan_queue_count(struct db_conn *c, uint64_t *count, struct err *err);

#endif
