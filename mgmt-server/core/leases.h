/* leases.h - migrate/lease.h's state machine over the catalogue and the clock: who may run which desktop.
 *
 * Grants, releases, revocations and losses are durable before anybody hears of them; renewals are not written at all
 * (a restarted server gives every holder a full ttl).
 */
#ifndef GODWIT_MGMT_SERVER_LEASES_H
#define GODWIT_MGMT_SERVER_LEASES_H

#include "mgmt-server/core/change.h"

enum { LEASES_STALE = 1 };
/* An endpoint proved a grant that the catalogue forgot. Return 0, LEASES_STALE: not a newer one; -errno. */
int leases_claim(struct change *change, struct fleet_desktop *d, const char *endpoint,
		 uint64_t epoch, struct err *err);
/* At start, when the catalogue came back from an older copy: no epoch that may have been given out since is given again,
 * and a time of doubt begins (doubt.h), in which endpoints say what they run. */
int leases_forgotten(struct server *s, struct err *err);

/**
 * leases_grant(change, desktop, endpoint, err):
 * Return 0 (the new epoch is in the desktop's lease), -EBUSY while somebody else may run it, -errno.
 */
int leases_grant(struct change *change, struct fleet_desktop *d, const char *endpoint,
		 struct err *err);
/* The holder says that it stopped. Return 0 also when the lease is not his any more. */
int leases_release(struct change *change, struct fleet_desktop *d, const char *endpoint,
		   uint64_t epoch, struct err *err);
/* A person takes the right away. */
int leases_revoke(struct change *change, struct fleet_desktop *d, struct err *err);
/* A desktop's first row. */
int leases_new(struct change *change, const char *desktop, enum lease_policy policy,
	       struct err *err);

/* Time passes: detects lost leases and starts their failover, finds endpoints that went silent, answers polls that
 * waited long enough, goes on with jobs that wait. Called every 100 ms by one thread. */
void leases_tick(struct server *s);

#endif
