/* upload.h - a captured instant becomes a snapshot at the server.
 *
 * Disks are read through NBD: blocks that the dirty bitmap marks when it can be trusted, else everything, compared with
 * the newest snapshot (promise 4: the network carries only what differs, and the reason is told). Memory comes out of
 * the migration stream. A cut upload is tried again in the same session until `upload_retry` is over.
 */
#ifndef GODWIT_CLIENT_AGENT_UPLOAD_H
#define GODWIT_CLIENT_AGENT_UPLOAD_H

#include "client-agent/capture.h"
#include "client-agent/work.h"
#include "snapshot/qemu_stream.h"

enum { UPLOAD_REASON_MAX = 256 };

struct upload {
	struct work_job *job;
	struct capture *capture;
	struct manifest manifest; /* out: as committed */
	struct volume_put_stats stats;
	uint64_t disk_read_bytes; /* out: of stats.read_bytes, what was read of the disks */
	char full_compare[UPLOAD_REASON_MAX]; /* out: "" when all disks were incremental */
	atomic_bool unreadable;               /* out: an export failed */
};

/* Return 0 with upload->manifest.id set; -EBADMSG for a memory stream that is not whole; or -errno. */
int upload_run(struct upload *upload, struct err *err);
void upload_deinit(struct upload *upload);

#endif
