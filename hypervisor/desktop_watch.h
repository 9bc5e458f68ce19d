/* desktop_watch.h - the thread that keeps a desktop's QEMU and what is known about it in step.
 *
 * It sleeps until QEMU says something, dies, prints on its console, a lease ends or a request changed a fact. Then it asks
 * QEMU for its state, tells it to stop or go on if the facts ask for that, and sends events about what changed.
 */
#ifndef GODWIT_HYPERVISOR_DESKTOP_WATCH_H
#define GODWIT_HYPERVISOR_DESKTOP_WATCH_H

#include "hypervisor/desktop.h"

/* Connect to the QEMU whose pidfd the desktop has. Return 0 or -errno. */
int desktop_watch_connect(struct desktop *desktop, int timeout_ms, struct err *err);

/* Start the thread. The desktop must be connected or have no QEMU. Return 0 or -errno. */
int desktop_watch_start(struct desktop *desktop, struct err *err);

/* End the thread; QEMU stays as it is. */
void desktop_watch_stop(struct desktop *desktop);

#endif
