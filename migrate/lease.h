/* lease.h - the right to run a desktop until a time: the state machine, without clocks, storage or network.
 *
 * The server feeds events with its own monotonic time; what to do comes back as an action. A desktop has at most one
 * holder; `epoch` grows each time the right moves; a lease that was given away can never be renewed under its old epoch.
 * The endpoint stops a `strict` desktop when its lease ends (measured from when it *sent* the renewal), the server fails
 * over only after expiry plus margin, so the two never overlap. A grant alone does not let an endpoint run: nobody
 * knows how long it travelled. It runs from the first renewal that it sent after the grant arrived and that was answered
 * RENEWED. Source: DESIGN section 8; tests/models/lease.pml is the proof.
 */
#ifndef GODWIT_MIGRATE_LEASE_H
#define GODWIT_MIGRATE_LEASE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"

enum { LEASE_HOLDER_MAX = 63 };

enum lease_policy {
	LEASE_STRICT,     /* paused by the endpoint at the end; failover by itself */
	LEASE_OFFLINE_OK, /* runs on without the server; failover is a person's decision */
};

enum lease_state {
	LEASE_FREE,    /* nobody may run the desktop */
	LEASE_HELD,    /* holder may, until `until_ms` */
	LEASE_EXPIRED, /* past the end; strict: within the margin */
	LEASE_LOST, /* strict: past the margin; the holder has stopped, the desktop must go on elsewhere */
};

enum lease_event {
	LEASE_EVENT_GRANT,   /* a job gives the right to a holder; free or lost only */
	LEASE_EVENT_RENEW,   /* heartbeat of a holder */
	LEASE_EVENT_RELEASE, /* the holder stopped the desktop, or lost its QEMU, and says so */
	LEASE_EVENT_TICK,    /* time passes */
	/* A person moves the right although the holder is silent. offline-ok: free at once. strict: its renewals are
	 * refused from now on, and TICK fails over when it has certainly stopped. */
	LEASE_EVENT_REVOKE,
	/* A holder proves a grant that this server forgot: its memory is older than that. The newest proven one counts. */
	LEASE_EVENT_CLAIM,
};

enum lease_action { /* named outcomes, >= 0 */
		    LEASE_ACTION_NONE = 0,
		    LEASE_ACTION_GRANTED, /* tell the holder epoch and ttl */
		    LEASE_ACTION_RENEWED, /* tell the holder ttl */
		    LEASE_ACTION_STALE, /* tell the caller that its epoch is over: stop, its work becomes a branch */
		    LEASE_ACTION_FREED,
		    LEASE_ACTION_SUSPECT,   /* just expired: show it */
		    LEASE_ACTION_FAIL_OVER, /* just lost: start a failover job */
		    LEASE_ACTION_REFUSED,   /* a grant while somebody else may run it */
};

struct lease {
	enum lease_state state;
	enum lease_policy policy;
	uint64_t epoch;    /* of the last grant; 0: never granted */
	uint64_t until_ms; /* HELD: end, in the server's monotonic time */
	uint64_t ttl_ms, margin_ms;
	char holder[LEASE_HOLDER_MAX + 1]; /* endpoint; "" when free */
};

struct lease_input {
	enum lease_event event;
	uint64_t now_ms;
	const char *holder; /* GRANT, RENEW, RELEASE, CLAIM */
	uint64_t epoch;     /* RENEW, RELEASE, CLAIM: the epoch the caller believes in */
};

/* Advance @lease. The transition table is in lease.c; lease_check holds after every call. */
enum lease_action lease_advance(struct lease *lease, const struct lease_input *input);

/* The invariants; false means a bug. Used by tests and asserts. */
bool lease_check(const struct lease *lease);

/* As stored and shown: "held", "offline-ok" … The parsers return 0 or -EINVAL. */
const char *lease_state_name(enum lease_state state);
int lease_state_parse(const char *name, enum lease_state *state);
const char *lease_policy_name(enum lease_policy policy);
int lease_policy_parse(const char *name, enum lease_policy *policy);

#endif
