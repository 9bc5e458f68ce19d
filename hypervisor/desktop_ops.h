/* desktop_ops.h - what can be asked of a desktop that is here. Request threads only.
 *
 * Where an epoch is given and the desktop has another one, the answer is -ESTALE.
 */
#ifndef GODWIT_HYPERVISOR_DESKTOP_OPS_H
#define GODWIT_HYPERVISOR_DESKTOP_OPS_H

#include "hypervisor/desktop.h"

/* The right to run ends @ttl_ms from now; a fenced desktop goes on by itself. */
int desktop_ops_lease(struct desktop *desktop, uint64_t epoch, uint64_t ttl_ms, struct err *err);

/* Stop it until desktop_ops_pause(false), also across restarts. Return when QEMU has done so. */
int desktop_ops_pause(struct desktop *desktop, bool pause, struct err *err);

/* Press the power button; return when the guest has powered off, or -ETIMEDOUT. */
int desktop_ops_shutdown(struct desktop *desktop, uint64_t timeout_ms, struct err *err);

/* The source of its memory died: accept a new one at *socket (a path, the caller's). */
int desktop_ops_recover(struct desktop *desktop, char **socket, struct err *err);

/* Kill QEMU and delete the folder. */
int desktop_ops_discard(struct desktop *desktop, uint64_t epoch, struct err *err);

/* Kill QEMU and move the folder away: *folder (a path, the caller's). */
int desktop_ops_orphan(struct desktop *desktop, uint64_t epoch, char **folder, struct err *err);

#endif
