/* capture_nodes.h - the block nodes, bitmaps and exports of a capture, by name.
 *
 * Per disk diskN: diskN-fleece takes the old content of blocks that the guest overwrites, diskN-cbw is the filter that
 * copies it there (put between guest and disk at the instant), diskN-snapshot shows the disk of the instant, the export
 * capture-diskN offers it. Bitmap godwit~next records from the instant on.
 */
#ifndef GODWIT_HYPERVISOR_CAPTURE_NODES_H
#define GODWIT_HYPERVISOR_CAPTURE_NODES_H

#include "hypervisor/desktop_record.h"
#include "hypervisor/qmp.h"

#define CAPTURE_NODES_NEXT "godwit~next" /* no snapshot id has a tilde */

struct capture_nodes {
	struct qmp *qmp;
	const struct desktop_record *record;
	const char *folder; /* the desktop's */
	const char *fleece_folder;
	uint64_t cbw_ms;
};

/* Before the instant: fleece, filter, bitmap godwit~next for each disk, and the NBD server. Return 0 or -errno. */
int capture_nodes_prepare(const struct capture_nodes *nodes, struct err *err);

/* The command that puts the filter of disk @i in use: the instant for that disk. */
struct qmp_command capture_nodes_switch(const struct capture_nodes *nodes, size_t i);

/* After the instant: stop the old bitmaps if @tracked, then show and export the frozen disks. Return 0 or -errno. */
int capture_nodes_export(const struct capture_nodes *nodes, bool tracked, struct err *err);

/* Take exports, filters and fleeces away, whichever are there. Return 0 or -errno of the first that resists. */
int capture_nodes_remove(const struct capture_nodes *nodes, struct err *err);

/* The snapshot @id was committed: godwit~next goes on under that name, the old bitmap goes. */
int capture_nodes_commit(const struct capture_nodes *nodes, const char *id, struct err *err);
/* It was not: godwit~next is merged into the old bitmap, which records again. Nothing to do is success. */
int capture_nodes_roll_back(const struct capture_nodes *nodes, struct err *err);

/* Can every disk say what changed since record->snapshot? reason: char[len], why not, or "". Return 0 or as qmp_run. */
int capture_nodes_tracked(const struct capture_nodes *nodes, bool *tracked, char *reason,
			  size_t len, struct err *err);

#endif
