/* heartbeat.h - the sign of life, and with it the renewal of leases.
 *
 * The right to run lasts ttl from when the request was *sent*: the server counts from when it received it, which is
 * later, so the endpoint always stops first. What the hypervisor does not report is not renewed. A lease whose time
 * went by while the answer travelled is not passed on.
 * Source: docs/protocol.md, "Heartbeat"; DESIGN section 8.
 */
#ifndef GODWIT_CLIENT_AGENT_HEARTBEAT_H
#define GODWIT_CLIENT_AGENT_HEARTBEAT_H

#include "client-agent/agent.h"

/* What is left at @now_ms of @ttl_ms that began at @sent_ms; 0: nothing. */
uint64_t heartbeat_ttl_left(uint64_t ttl_ms, uint64_t sent_ms, uint64_t now_ms);

struct heartbeat;
int heartbeat_start(struct heartbeat **out, struct agent *agent, struct err *err);
void heartbeat_stop(struct heartbeat *heartbeat); /* agent->stop is set already */
DEFINE_CLEANUP(struct heartbeat *, heartbeat_stop);

#endif
