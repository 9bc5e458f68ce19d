/* orphan.h - what a desktop wrote under an epoch that is over: never lost, never merged (promise 3).
 *
 * The hypervisor keeps the disks below its `orphans/`; the NBD server of the snapshot that they began from keeps running,
 * because what was never copied is still only there. A mark in STATE/orphans/DESKTOP.EPOCH says that this is so.
 */
#ifndef GODWIT_CLIENT_AGENT_ORPHAN_H
#define GODWIT_CLIENT_AGENT_ORPHAN_H

#include "client-agent/agent.h"

/* Stop that desktop and put its disks aside. Return 0 (also when it is not here any more) or -errno. */
int orphan_begin(struct agent *agent, const char *desktop, uint64_t epoch, struct err *err);

/* Is the NBD server of that epoch needed by an orphan? */
bool orphan_needs(struct agent *agent, const char *desktop, uint64_t epoch);

/* Work on the orphans that are here. */
void orphan_round(struct agent *agent);

#endif
