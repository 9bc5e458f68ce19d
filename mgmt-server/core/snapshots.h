/* snapshots.h - snapshots enter the catalogue: after a commit, or at start when a crash left one in the store alone. */
#ifndef GODWIT_MGMT_SERVER_SNAPSHOTS_H
#define GODWIT_MGMT_SERVER_SNAPSHOTS_H

#include "mgmt-server/core/change.h"

struct snapshots_figures {
	int64_t new_bytes, stored_bytes; /* -1: not known */
};

/**
 * snapshots_enter(change, manifest, figures, branch, err):
 * branch  out: it is off the main line, because the manifest says so or its epoch is over
 *
 * Return 0, also when it was there already; -errno.
 */
int snapshots_enter(struct change *change, const struct manifest *m,
		    const struct snapshots_figures *figures, bool *branch, struct err *err);

/* At start: what is in the store and not in the catalogue. Desktops that nobody knows are made. */
int snapshots_adopt(struct server *s, struct err *err);

#endif
