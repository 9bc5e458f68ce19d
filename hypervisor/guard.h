/* guard.h - a strict desktop stands still when its lease ends, whether a hypervisor runs or not.
 *
 * One small process per QEMU, started by the hypervisor and then on its own: it survives the hypervisor's death, holds
 * QEMU's pidfd and reads the desktop's `lease` file, which the hypervisor overwrites at each renewal. When the deadline
 * has passed on CLOCK_BOOTTIME and nobody renewed it, the guard tells QEMU to stop through a control socket of its own;
 * a QEMU that does not answer at once (its main loop waits for a dead disk) gets SIGSTOP, and SIGCONT once the lease is
 * renewed. So the promise to the server does not hang on the hypervisor's threads, none of which the guard shares.
 * It never lets a guest go on that it has not stopped by SIGSTOP: that is the hypervisor's.
 *
 * There is one per desktop: it holds a lock on the lease file. It ends with QEMU. What it does it says in qemu.log.
 */
#ifndef GODWIT_HYPERVISOR_GUARD_H
#define GODWIT_HYPERVISOR_GUARD_H

#include "hypervisor/process.h"

/* Make sure that @folder's QEMU is guarded; returns when it is. Does nothing if it is already, or if QEMU has ended. */
int guard_start(const char *folder, const struct process *qemu, struct err *err);

/* The program: guard FOLDER PID START-TIME. Returns its exit status. */
int guard_main(int argc, char **argv);

#endif
