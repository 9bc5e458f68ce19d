/* scan_run.h - one scan: volumes in, a verdict with its reasons out.
 *
 * Source: DESIGN section 9; README.md here.
 */
#ifndef GODWIT_SCAN_SCAN_RUN_H
#define GODWIT_SCAN_SCAN_RUN_H

#include <stdatomic.h>
#include <stdbool.h>

#include "common/err.h"
#include "mgmt-server/scan/content_identity.h"

struct scan_state;
struct scan_state_set;
struct scan_index;
struct engine_client;

enum scan_verdict { SCAN_CLEAN, SCAN_INFECTED, SCAN_INCOMPLETE };

struct scan_volume {
	const char *name; /* disk0 … */
	struct volume_input input;
	struct content_chunks chunks; /* what it is made of, when that is known */
	bool memory; /* of a machine: physical addresses from 0 on, no partitions */
	/* The same bytes as a read-only NBD export on a unix socket (default export name), for file systems that need the
	 * kernel; called with input.ctx, at most once. NULL: those are incomplete. */
	int (*nbd_socket)(void *ctx, const char **path, struct err *err);
};

struct scan_file { /* one file as it was seen; strings live during the call */
	const char *volume, *partition, *path, *stream;
	uint64_t inode, size;
	unsigned flags; /* enum reader_flags */
	bool memory;    /* not a file */
	bool has_sha256;
	uint8_t sha256[32];
};

struct scan_finding {
	const char *volume, *partition, *path, *stream, *signature;
};

struct scan_memo {
	struct scan_state *state;
	struct scan_state_set *set; /* `loaded` is set when an engine has loaded it */
	const char *version;        /* of the signatures (signature_set.h) */
	struct scan_index *index;   /* NULL: verdicts only */
	bool keeps_engine; /* several scans with one: it stays in `engine`, for scan_memo_close */
	struct engine_client *engine;
};

struct scan_order {
	const struct scan_volume *volumes;
	size_t volume_count;
	const char *signatures; /* folder; NULL: list only */
	/* What earlier scans found out, and where this one's goes; NULL: it begins and ends with nothing. */
	struct scan_memo *memo;
	bool deleted;            /* report deleted files too */
	unsigned workers;        /* 0: one per processor */
	uint64_t content_memory; /* bytes of contents at once (content_room.h); 0: its default */
	const char *libexec;     /* where the readers and the engine are */
	void *arg;
	void (*file)(void *arg, const struct scan_file *file); /* may be NULL */
	void (*finding)(void *arg, const struct scan_finding *finding);
	void (*reason)(void *arg, const char *text); /* why not clean */
	const atomic_bool *cancel;
};

struct scan_result {
	enum scan_verdict verdict;
	uint64_t files, bytes, scanned_contents;
	uint64_t reused_files;   /* known to be unchanged: not read */
	uint64_t known_contents; /* known by identity (content_identity.h): not read */
	uint64_t read_bytes;     /* of contents, out of the volumes */
	uint64_t memory_bytes; /* handed over from memory; the same page may count more than once */
	char engine[64], signature_version[64];
	char unwritten[256]; /* why the memo was not written; "": it was */
};

/* Return 0 with a verdict (which may be incomplete), or -errno when the scan could not even start. */
int scan_run(const struct scan_order *order, struct scan_result *result, struct err *err);

#endif
