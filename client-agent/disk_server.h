/* disk_server.h - one nbdkit process for each restored desktop, that serves its snapshot's disks until all is local.
 *
 * The process is in a session of its own and survives us; STATE/serve/DESKTOP.EPOCH/ says what it serves:
 *   manifest.json, job     of the snapshot; the job whose bytes are counted
 *   nbd.sock, nbd.pid, nbd.log
 * A process that died is started anew on the same socket: QEMU connects again by itself and its guest has only waited.
 * Thread-safe.
 */
#ifndef GODWIT_CLIENT_AGENT_DISK_SERVER_H
#define GODWIT_CLIENT_AGENT_DISK_SERVER_H

#include "client-agent/agent.h"
#include "snapshot/manifest.h"

int disk_server_new(struct disk_server **out, struct agent *agent, struct err *err);
void disk_server_free(struct disk_server *server); /* the processes go on */
DEFINE_CLEANUP(struct disk_server *, disk_server_free);

/* The socket's path, heap; NULL: out of memory. */
char *disk_server_socket(const struct disk_server *server, const char *desktop, uint64_t epoch);

/* Serve the disks of @manifest; returns when they can be read. Repeatable. */
int disk_server_begin(struct disk_server *server, const struct manifest *manifest, uint64_t epoch,
		      const char *job, struct err *err);

/* Start the process again if it died. Return 0, -ENOENT when nothing is served for that desktop, or -errno. */
int disk_server_ensure(struct disk_server *server, const char *desktop, uint64_t epoch,
		       struct err *err);

/* What is served for that desktop, from disk. */
int disk_server_manifest(struct disk_server *server, const char *desktop, uint64_t epoch,
			 struct manifest *out, struct err *err);

/* Stop serving and forget. */
void disk_server_end(struct disk_server *server, const char *desktop, uint64_t epoch);

typedef void disk_server_visit(void *arg, const char *desktop, uint64_t epoch);
/* All that is served. fn may call disk_server_end. */
void disk_server_each(struct disk_server *server, disk_server_visit *fn, void *arg);

#endif
