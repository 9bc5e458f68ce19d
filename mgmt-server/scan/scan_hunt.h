/* scan_hunt.h - what the state says: which desktops held a content and when, and how each snapshot is to be judged.
 *
 * Answers come from the index; no disk is read. Output is one line of JSON.
 */
#ifndef GODWIT_SCAN_SCAN_HUNT_H
#define GODWIT_SCAN_SCAN_HUNT_H

#include <jansson.h>

#include "mgmt-server/scan/scan_state.h"

enum {
	SCAN_HUNT_HITS_MAX = 10000,
	SCAN_HUNT_SNAPSHOTS_MAX = 100,
	/* Of JSON. Paths have up to 64 KiB, and a whole report is held in memory, stored and sent. */
	SCAN_HUNT_HITS_BYTES_MAX = 16 << 20,
	SCAN_HUNT_VERDICTS_BYTES_MAX = 40 << 20,
};

struct scan_hunt_hits {
	json_t *items; /* array, the caller's */
	size_t bytes;  /* of its items as text */
	uint64_t more; /* places that did not fit */
};

/* @hits is added to, as long as both limits allow it. @sha256: 64 lower-case digits. Return 0 or -errno. */
int scan_hunt_hash(struct scan_state *state, const char *sha256, struct scan_hunt_hits *hits,
		   struct err *err);
/* Every content in which @set found something. */
int scan_hunt_set(struct scan_state *state, uint64_t set, struct scan_hunt_hits *hits,
		  struct err *err);

/* One object for each snapshot that is indexed, with verdict, findings and reasons, as @set says. Once there are too many bytes of them,
 * each has one finding and one reason, the begin of either, and the numbers of the others. */
int scan_hunt_verdicts(struct scan_state *state, uint64_t set, json_t *verdicts, struct err *err);

/* One line on stdout for each file of a snapshot, as `list` prints it. Return 0, -ENOENT: it is not indexed; -errno. */
int scan_hunt_files(struct scan_state *state, const char *snapshot, struct err *err);

#endif
