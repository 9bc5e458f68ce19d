/* orphan.h - what a desktop wrote under an epoch that is over: never lost, never merged. */
#ifndef GODWIT_CLIENT_AGENT_ORPHAN_H
#define GODWIT_CLIENT_AGENT_ORPHAN_H

#include "client-agent/agent.h"

/* Stop that desktop and put its disks aside. Return 0 (also when it is not here any more) or -errno. */
int orphan_begin(struct agent *agent, const char *desktop, uint64_t epoch, struct err *err);

#endif
