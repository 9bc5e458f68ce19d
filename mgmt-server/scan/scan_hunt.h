/* scan_hunt.h - what the state says: which desktops held a content and when, and how each snapshot is to be judged.
 *
 * Answers come from the index; no disk is read. Output is one line of JSON.
 */
#ifndef GODWIT_SCAN_SCAN_HUNT_H
#define GODWIT_SCAN_SCAN_HUNT_H

#include <jansson.h>

#include "mgmt-server/scan/scan_state.h"

enum { SCAN_HUNT_HITS_MAX = 10000, SCAN_HUNT_SNAPSHOTS_MAX = 100 };

/* hits: an array that is added to; @more counts what did not fit. @sha256: 64 lower-case digits. Return 0 or -errno. */
int scan_hunt_hash(struct scan_state *state, const char *sha256, json_t *hits, uint64_t *more,
		   struct err *err);
/* Every content in which @set found something. */
int scan_hunt_set(struct scan_state *state, uint64_t set, json_t *hits, uint64_t *more,
		  struct err *err);

/* One object for each snapshot that is indexed, with verdict, findings and reasons, as @set says. */
int scan_hunt_verdicts(struct scan_state *state, uint64_t set, json_t *verdicts, struct err *err);

/* One line on stdout for each file of a snapshot, as `list` prints it. Return 0, -ENOENT: it is not indexed; -errno. */
int scan_hunt_files(struct scan_state *state, const char *snapshot, struct err *err);

#endif
