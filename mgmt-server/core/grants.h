/* grants.h - proofs that this server gave an endpoint the right to run a desktop under an epoch.
 *
 * The catalogue remembers who has which epoch. When it comes back from an older copy it has forgotten the newest ones;
 * then an endpoint that runs a desktop shows the proof it got with the right, and keeps it. A proof is an HMAC-SHA256
 * under a key made from the CA's, so nobody else can make one, and one endpoint's is of no use to another.
 */
#ifndef GODWIT_MGMT_SERVER_GRANTS_H
#define GODWIT_MGMT_SERVER_GRANTS_H

#include "mgmt-server/core/server.h"

enum { GRANTS_PROOF_LEN = 65 };

/* Lower-case hex into @proof. */
void grants_proof(const struct server *s, const char *desktop, const char *endpoint, uint64_t epoch,
		  char proof[GRANTS_PROOF_LEN]);
/* In time that does not depend on where they differ. */
bool grants_check(const struct server *s, const char *desktop, const char *endpoint, uint64_t epoch,
		  const char *proof);

#endif
