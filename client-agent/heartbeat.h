/* heartbeat.h - the sign of life, and with it the renewal of leases.
 *
 * The right to run lasts ttl from when the request was *sent*: the server counts from when it received it, which is
 * later, so the endpoint always stops first. What the hypervisor does not report is not renewed. A lease whose time
 * went by while the answer travelled is not passed on. A failed heartbeat is soon repeated.
 * Source: docs/protocol.md, "Heartbeat"; DESIGN section 8.
 */
#ifndef GODWIT_CLIENT_AGENT_HEARTBEAT_H
#define GODWIT_CLIENT_AGENT_HEARTBEAT_H

#include "client-agent/agent.h"

/* What is left at @now_ms of @ttl_ms that began at @sent_ms; 0: nothing. */
uint64_t heartbeat_ttl_left(uint64_t ttl_ms, uint64_t sent_ms, uint64_t now_ms);

struct heartbeat;
struct heartbeat_right {
	uint64_t
		until_ms; /* clock_now_ms(): its end, counted from when that heartbeat was sent; it may be past */
	bool quarantined; /* the desktop has to begin without its network */
};
/**
 * heartbeat_confirm(heartbeat, desktop, epoch, cancel, right, err):
 * Renew a right that was granted but under which nothing runs yet, with a heartbeat that is sent from now on. A grant does
 * not let us run, for nobody knows how long it travelled (migrate/lease.h). Waits as long as the server does not answer.
 *
 * right  out
 *
 * Return 0; -ESTALE when the right is over; -ECANCELED.
 */
int heartbeat_confirm(struct heartbeat *heartbeat, const char *desktop, uint64_t epoch,
		      const atomic_bool *cancel, struct heartbeat_right *right, struct err *err);

/* Also sets agent->heartbeat. */
int heartbeat_start(struct heartbeat **out, struct agent *agent, struct err *err);
void heartbeat_stop(struct heartbeat *heartbeat); /* agent->stop is set already */
/* After heartbeat_stop() and the end of everybody who may call heartbeat_confirm(); waits for stale desktops that are being
 * put aside. The agent never does: its process ends. */
void heartbeat_free(struct heartbeat *heartbeat);
DEFINE_CLEANUP(struct heartbeat *, heartbeat_stop);

#endif
