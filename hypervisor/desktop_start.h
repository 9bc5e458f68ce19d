/* desktop_start.h - bringing a desktop up: a new one, and one that an earlier hypervisor left running. */
#ifndef GODWIT_HYPERVISOR_DESKTOP_START_H
#define GODWIT_HYPERVISOR_DESKTOP_START_H

#include "hypervisor/desktop.h"

struct desktop_start_disk {
	struct machine_disk disk;
	const char *socket; /* of its NBD server */
};

struct desktop_start {
	const char *desktop, *snapshot;
	uint64_t epoch, ttl_ms;
	struct machine machine; /* type and cpu may be "" */
	struct desktop_start_disk disks[MACHINE_DISKS_MAX];
	size_t disk_count;
	bool incoming, strict, quarantined;
};

/**
 * desktop_start(hypervisor, order, out, err):
 * Make the folder, start QEMU, let it run (or wait for its memory), put the desktop on the list.
 *
 * out  a new reference
 *
 * Return 0; -EEXIST when it is here under this epoch, -ESTALE under another; or -errno: then nothing is left of it.
 */
int desktop_start(struct hypervisor *hypervisor, const struct desktop_start *order,
		  struct desktop **out, struct err *err);

/* Take hold of the desktop whose folder an earlier run left, and put it on the list. Return 0 or -errno. */
int desktop_start_attach(struct hypervisor *hypervisor, const char *name, struct err *err);

/* Guard the QEMU of that folder if its desktop is strict; the desktop isn't taken hold of. Return 0 or -errno. */
int desktop_start_guard(struct hypervisor *hypervisor, const char *name, struct err *err);

/* Delete a folder of ours and what is in it. Return 0 or -errno. */
int desktop_start_delete_folder(const char *folder, struct err *err);

#endif
