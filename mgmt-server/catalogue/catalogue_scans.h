/* catalogue_scans.h - what the offline scan said of a snapshot: the newest answer, and its verdict beside the snapshot. */
#ifndef GODWIT_MGMT_SERVER_CATALOGUE_SCANS_H
#define GODWIT_MGMT_SERVER_CATALOGUE_SCANS_H

#include "mgmt-server/catalogue/catalogue_access.h"
#include "mgmt-server/catalogue/catalogue_desktops.h"

struct catalogue_scan {
	char snapshot[CATALOGUE_ID_LEN], job[CATALOGUE_ID_LEN];
	char verdict[12]; /* clean, infected, incomplete */
	uint64_t ended_ms, files, bytes, contents;
	uint64_t more_reasons, more_findings; /* how many were not kept */
	const char *reasons, *findings;       /* JSON arrays; borrowed */
	const char *engine, *signature_version;
};

/* Replaces what an earlier scan of that snapshot said. Return 0 or -errno. */
int catalogue_scan_put(struct db_conn *c, const struct catalogue_scan *scan, struct err *err);

typedef int catalogue_scan_fn(void *arg, const struct catalogue_scan *scan, struct err *err);
/* Return 0, CATALOGUE_NONE when it was never scanned, -errno. */
int catalogue_scan_get(struct db_conn *c, const char *snapshot, catalogue_scan_fn *fn, void *arg,
		       struct err *err);

/* The newest snapshot on the main line that is neither infected nor held. Return 0, CATALOGUE_NONE, -errno. */
int catalogue_scan_newest_good(struct db_conn *c, const char *desktop, catalogue_snapshot_fn *fn,
			       void *arg, struct err *err);

/* The newest clean one of its desktop before @snapshot into char[CATALOGUE_ID_LEN]. Return 0, CATALOGUE_NONE, -errno. */
int catalogue_scan_last_clean(struct db_conn *c, const char *snapshot, char *id, struct err *err);

#endif
