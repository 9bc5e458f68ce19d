/* restore.h - a desktop begins to run here before its memory and disks have arrived.
 *
 * The rest comes in this order: memory, then the disks (`fill`); after a plain boot the disks wait a little, so that the
 * boot has the network for itself. An agent that was restarted half-way joins in where the desktop stands.
 * When the start fails before the guest ran, nothing of that epoch is left here (docs/protocol.md, "Work").
 */
#ifndef GODWIT_CLIENT_AGENT_RESTORE_H
#define GODWIT_CLIENT_AGENT_RESTORE_H

#include "client-agent/hypervisor_status.h"
#include "client-agent/work.h"

work_fn restore_run;

/**
 * restore_mend(agent, status, job, err):
 * Bring back what a desktop needs that is not local yet: its NBD server, its page source. Repeatable.
 */
int restore_mend(struct agent *agent, const struct hypervisor_status *status, const char *job,
		 struct err *err);

#endif
