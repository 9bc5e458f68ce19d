/* quarantines.h - desktops that run without their network until a person gives it back.
 *
 * Wanted here, done by whoever holds the desktop: each heartbeat's answer names the quarantined ones, and a start asks for
 * it before the guest runs. So it survives restarts of everybody, moves and failover. A person may begin one; with
 * [scan] quarantine so does a scan that finds the newest snapshot of a running desktop infected. Only a person ends it.
 */
#ifndef GODWIT_MGMT_SERVER_QUARANTINES_H
#define GODWIT_MGMT_SERVER_QUARANTINES_H

#include "mgmt-server/core/change.h"

struct quarantines_order {
	const char *desktop;
	bool on;
	const char *why;            /* one line for people; "" */
	const char *user, *address; /* for the audit trail */
	const char *snapshot;       /* the infected one; NULL: a person asks */
};

/* Again is no change. Return 0, -ENOENT: there is no such desktop; -errno. */
int quarantines_set(struct change *change, const struct quarantines_order *order, struct err *err);

/* @snapshot of @desktop was just found infected. Return 0 or -errno. */
int quarantines_infected(struct change *change, const char *desktop, const char *snapshot,
			 struct err *err);

#endif
