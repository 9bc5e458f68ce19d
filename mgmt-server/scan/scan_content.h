/* scan_content.h - one content from a reader: hashed, looked up, scanned, reported. Internal to scan_run. */
#ifndef GODWIT_SCAN_SCAN_CONTENT_H
#define GODWIT_SCAN_SCAN_CONTENT_H

#include <pthread.h>

#include "common/task.h"
#include "mgmt-server/scan/file_digest.h"
#include "mgmt-server/scan/content_cache.h"
#include "mgmt-server/scan/content_room.h"
#include "mgmt-server/scan/identity_memo.h"
#include "mgmt-server/scan/engine_client.h"
#include "mgmt-server/scan/scan_run.h"

/* A scan under way. The callbacks of the order are called under `lock`, one at a time. */
struct scan {
	const struct scan_order *order;
	struct scan_result *result; /* under lock */
	pthread_mutex_t lock;
	bool infected, incomplete; /* under lock */
	struct task_pool *pool;
	struct content_room room;     /* for what is in the pool and what a reader sends */
	struct engine_client *engine; /* scan_engine() */
	struct content_cache *cache;
	struct identity_memo *identities; /* NULL: as the index */
	struct scan_index *index;         /* NULL: nothing is remembered */
	pthread_mutex_t engine_lock;
	bool engine_tried; /* under engine_lock */
};

/* The engine, started when it is needed first. NULL: list only, or it did not start, which was said. */
struct engine_client *scan_engine(struct scan *scan);

struct scan_content {
	struct scan *scan;
	char *volume, *partition, *path,
		*stream; /* heap, terminated; a NUL in a name became a newline before */
	uint64_t inode, size;
	unsigned flags;
	struct scan_index_part *part; /* where it is remembered; NULL: it is not */
	bool has_digest;
	uint8_t digest[FILE_DIGEST_LEN];
	bool memory; /* a piece of memory, not a file; as the order says, never as a reader does */
	bool has_identity;
	uint8_t identity[CONTENT_IDENTITY_LEN]; /* of what was read into @fd */
	int fd;                                 /* sealed memfd, owned */
	uint64_t received;                      /* bytes of it that came out of the volume */
	uint64_t held;                          /* of scan->room; given back with the content */
};

void scan_content_free(struct scan_content *content);

/* For scan_file_seen: without a hash; its strings are the content's. */
struct scan_file scan_content_file(const struct scan_content *content);

/* So that a worker of the engine, which gets @fd, a memfd, can neither change it nor fill memory with it. 0 or -errno. */
int scan_content_seal(int fd);

/* Takes @arg, a struct scan_content; a task_fn. Never fails: what goes wrong makes the scan incomplete. */
int scan_content_task(void *arg, struct err *err);

/* Takes @content, which was not read: its hash and its verdict are known. */
void scan_content_known(struct scan_content *content, const uint8_t *sha256,
			const struct engine_reply *reply);

/* Report under the lock. scan_incomplete: "WHAT: volume V partition P path: detail". */
void scan_file_seen(struct scan *scan, const struct scan_file *file);
void scan_incomplete(struct scan *scan, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* The same for what depends on the signatures or the engine: it is not remembered of the snapshot. */
void scan_unfinished(struct scan *scan, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
struct scan_index_part;
struct scan_index_file;
/* A file that is as an earlier scan saw it. */
void scan_content_same(struct scan *scan, const char *volume, const char *partition,
		       const struct scan_index_file *file);

#endif
