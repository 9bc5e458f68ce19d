/* capture_memory.h - what a capture tells and asks QEMU about the memory stream, a migration to nobody.
 *
 * Source: QEMU 10.0 qapi/migration.json; DESIGN section 6.
 */
#ifndef GODWIT_HYPERVISOR_CAPTURE_MEMORY_H
#define GODWIT_HYPERVISOR_CAPTURE_MEMORY_H

#include <sys/types.h>

#include "hypervisor/qmp.h"

/* Is there memory on this host to keep the memory of @qemu once more? Return 0 or -ENOMEM. */
int capture_memory_affordable(pid_t qemu, struct err *err);

/* Prepare for `migrate`. live: a background snapshot. Return 0 or as qmp_run. */
int capture_memory_configure(struct qmp *qmp, bool live, struct err *err);

/* The stream has ended: did QEMU mean it? Return 0, -EIO with QEMU's reason, or as qmp_run. */
int capture_memory_completed(struct qmp *qmp, struct err *err);

/*
 * End a migration that still runs; none is success. Its reader may be gone (then it fails by itself) or must go on reading
 * meanwhile. Return 0, -ETIMEDOUT, or as qmp_run.
 */
int capture_memory_cancel(struct qmp *qmp, struct err *err);

#endif
