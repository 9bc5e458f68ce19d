/* desktop_capture.h - disks and memory of a desktop at one instant, while it runs.
 *
 * capture_begin freezes them; the disks can then be read through NBD exports until capture_end. Nothing here may hurt the
 * desktop: every stage has a limit, and whatever fails, everything is undone by node name, which also clears up after a
 * hypervisor that died in the middle. Change tracking: NEW records from before the instant, OLD stops after it, so both
 * are supersets; success renames NEW to the snapshot's id and drops OLD, anything else merges NEW back into OLD.
 * Source: DESIGN section 6; QEMU docs/interop/live-block-operations.rst.
 */
#ifndef GODWIT_HYPERVISOR_DESKTOP_CAPTURE_H
#define GODWIT_HYPERVISOR_DESKTOP_CAPTURE_H

#include "hypervisor/desktop.h"

struct desktop_capture_order {
	bool memory, hold;
	const void *owner; /* whose end ends the capture: see desktop_capture_abandon */
};

/**
 * desktop_capture_begin(desktop, order, reply, memfd, err):
 * reply  out: what docs/protocol.md says, a new reference
 * memfd  out: the sealed memory stream, the caller's; -1 without memory
 *
 * Return 0; -EBUSY; -EINVAL when the desktop's state does not allow it; or -errno: then the desktop runs on as before.
 */
int desktop_capture_begin(struct desktop *desktop, const struct desktop_capture_order *order,
			  json_t **reply, int *memfd, struct err *err);

/* snapshot: what was committed; NULL: nothing was. Return 0, -EINVAL when no capture is open, or -errno. */
int desktop_capture_end(struct desktop *desktop, const char *snapshot, struct err *err);

/* @owner is gone: end its captures without success. */
void desktop_capture_abandon(struct hypervisor *hypervisor, const void *owner);

/* Undo whatever of a capture QEMU still has; also for a QEMU that was just attached. Return 0 or as qmp_run. */
int desktop_capture_clean_up(struct desktop *desktop, struct err *err);

#endif
