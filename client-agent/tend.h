/* tend.h - looks after what no job looks after: desktops that are not local yet after a restart of the agent or after
 * their job ended early, NBD servers that died, and those that nobody needs any more.
 */
#ifndef GODWIT_CLIENT_AGENT_TEND_H
#define GODWIT_CLIENT_AGENT_TEND_H

#include "client-agent/work.h"

/* One round. Failures are logged: the next round tries again. */
void tend_round(struct agent *agent, struct work *work);

#endif
