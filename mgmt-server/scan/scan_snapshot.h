/* scan_snapshot.h - the disks and the memory of a snapshot as the input of a scan, read straight from the store.
 *
 * The store is opened read-only beside a server that may be writing to it. Every byte is verified against its id on the
 * way; a damaged chunk is a read error, so the scan becomes incomplete. The state of devices is not looked at.
 * The guest's main memory becomes the volume `memory`, by physical address as QEMU's q35 and i440fx lay it out; its other RAM
 * blocks (screen, ROMs) are volumes of their own, `memory/NAME`.
 */
#ifndef GODWIT_SCAN_SCAN_SNAPSHOT_H
#define GODWIT_SCAN_SCAN_SNAPSHOT_H

#include "common/base.h"
#include "mgmt-server/scan/scan_run.h"
#include "snapshot/manifest.h"

struct scan_snapshot;

struct scan_snapshot_order {
	const char *store, *key; /* key NULL: STORE.key */
	const char *id;
	const char *plugin; /* godwit-nbd-store.so, for file systems that need the kernel */
};

/* Return 0; -ENOENT: there is no such snapshot, or no disk in it; or -errno. The order's texts are copied. */
int scan_snapshot_open(struct scan_snapshot **out, const struct scan_snapshot_order *order,
		       struct err *err);
void scan_snapshot_close(struct scan_snapshot *snapshot);
DEFINE_CLEANUP(struct scan_snapshot *, scan_snapshot_close);

/* Its disks, then its memory; they live as long as @snapshot. */
const struct scan_volume *scan_snapshot_volumes(const struct scan_snapshot *snapshot,
						size_t *count);

const struct manifest *scan_snapshot_manifest(const struct scan_snapshot *snapshot);

typedef int scan_snapshot_change_fn(void *arg, const char *volume,
				    const struct volume_extent *extents, size_t count,
				    struct err *err);
/**
 * scan_snapshot_changes(snapshot, base, fn, arg, err):
 * Call @fn for each disk that can be compared with the disk of the same name in snapshot @base, with what differs. When
 * there is no such snapshot any more, or its trees cannot be read, it is not called: all may differ.
 *
 * Return 0 or what @fn returned.
 */
int scan_snapshot_changes(const struct scan_snapshot *snapshot, const char *base,
			  scan_snapshot_change_fn *fn, void *arg, struct err *err);

#endif
