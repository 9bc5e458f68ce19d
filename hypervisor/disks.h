/* disks.h - a desktop's disks: the local overlay files, and the dirty bitmaps that say what changed since a snapshot.
 *
 * A disk is a qcow2 overlay (block node diskN) above the snapshot that an NBD server offers (node diskN-backing, socket
 * diskN.nbd: a link to the agent's socket, so its path may be of any length). Bitmaps live in QEMU's memory: they die with
 * it, and then the disk is compared in full; a persistent one would only be inconsistent after a crash.
 * Source: QEMU docs/interop/bitmaps.rst; DESIGN section 6.
 */
#ifndef GODWIT_HYPERVISOR_DISKS_H
#define GODWIT_HYPERVISOR_DISKS_H

#include "hypervisor/desktop_record.h"
#include "hypervisor/qmp.h"

enum { DISKS_GRANULARITY = 65536 }; /* bytes; the snapshot's grid and qcow2's cluster */

/* Make the empty overlay of @disk in @folder and link its NBD socket. Return 0 or -errno. */
int disks_create(const struct machine_disk *disk, const char *folder, const char *nbd_socket,
		 const char *qemu_img, struct err *err);

/* Start recording writes to @disk under @name. Return 0 or as qmp_run. */
int disks_add_bitmap(struct qmp *qmp, const char *disk, const char *name, struct err *err);

struct disks_node {
	bool found; /* there is a block node of that name */
	bool has_backing;
	bool has_bitmap;    /* the bitmap asked for is there … */
	bool bitmap_usable; /* … consistent and not in use by somebody else */
};
/* Look at block node @node, and at its bitmap @name (may be NULL). Return 0 or as qmp_run. */
int disks_look(struct qmp *qmp, const char *node, const char *bitmap, struct disks_node *out,
	       struct err *err);

#endif
