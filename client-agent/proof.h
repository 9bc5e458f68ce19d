/* proof.h - proofs of the rights that the server gave this endpoint, one small file per desktop in STATE/proofs.
 *
 * Kept before a desktop starts, shown in every heartbeat: a server whose catalogue came back from an older copy believes
 * them (docs/protocol.md, section 2). Without one nothing is lost but that: such a server would say that the right is over.
 */
#ifndef GODWIT_CLIENT_AGENT_PROOF_H
#define GODWIT_CLIENT_AGENT_PROOF_H

#include "client-agent/agent.h"

enum { PROOF_LEN = 65 };

/* Durable on return. It takes the place of an earlier epoch's. */
int proof_keep(const struct agent *agent, const char *desktop, uint64_t epoch, const char *proof,
	       struct err *err);
/* Return whether there is one of that epoch. */
bool proof_get(const struct agent *agent, const char *desktop, uint64_t epoch,
	       char proof[PROOF_LEN]);

#endif
