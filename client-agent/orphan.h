/* orphan.h - what a desktop wrote under an epoch that is over: never lost, never merged (promise 3).
 *
 * The hypervisor puts its disks aside (op `orphan`). Here they become a branch snapshot: what the overlay holds, on top
 * of the snapshot that its change tracking was based on, under the old epoch. Only when that is committed are they deleted.
 * The overlay is read by qemu-img and qemu-nbd, as processes without privileges. Crash rule: the hypervisor's list of
 * orphans is all the state there is; an upload that was cut begins anew and finds its chunks at the server.
 */
#ifndef GODWIT_CLIENT_AGENT_ORPHAN_H
#define GODWIT_CLIENT_AGENT_ORPHAN_H

#include "client-agent/agent.h"
#include "snapshot/volume.h"

/* Stop that desktop and put its disks aside. Return 0 (also when it is not here any more) or -errno. */
int orphan_begin(struct agent *agent, const char *desktop, uint64_t epoch, struct err *err);

/* The thread that saves orphans, one after the other; looks for them now and then. */
int orphan_start(struct agent *agent, struct err *err);

/**
 * orphan_extents(map, size, out, count, err):
 * What an overlay holds itself, out of `qemu-img map --output=json`.
 *
 * size  of the disk, bytes: extents must lie within
 * out   heap, the caller's
 */
int orphan_extents(const json_t *map, uint64_t size, struct volume_extent **out, size_t *count,
		   struct err *err);

#endif
