/* volume.h - volumes: disks, RAM blocks and blobs as Merkle trees over a fixed grid.
 *
 * Blocks of `grid` bytes (the last may be shorter) are the leaves; each node is a chunk of up to VOLUME_FANOUT child
 * ids; a child that is all zeros has the zero id, and so has an all-zero volume's root. The height follows from size
 * and grid. A changed block rewrites only its path to the root. Source: snapshot/FORMAT.md, "Volumes".
 */
#ifndef GODWIT_SNAPSHOT_VOLUME_H
#define GODWIT_SNAPSHOT_VOLUME_H

#include <stdatomic.h>

#include "common/base.h"
#include "common/task.h"
#include "snapshot/chunk_io.h"

enum { VOLUME_FANOUT = 256, VOLUME_NAME_MAX = 127 };

enum volume_kind { VOLUME_DISK, VOLUME_RAM, VOLUME_BLOB };

struct volume {
	char name[VOLUME_NAME_MAX + 1]; /* disk0, ram/pc.ram, device … */
	enum volume_kind kind;
	uint64_t size; /* bytes */
	uint32_t grid; /* bytes, a power of two, 4 KiB..CHUNK_MAX */
	struct chunk_id root;
};

struct volume_extent {
	uint64_t offset, length; /* bytes */
};

/* What a volume is made from: a file, an NBD export, the pages of a migration stream. */
struct volume_input {
	void *ctx;
	uint64_t size;
	/* Read exactly @len bytes, holes as zeros; called by several threads at once. Return 0 or -errno. */
	int (*read)(void *ctx, uint8_t *buf, size_t len, uint64_t offset, struct err *err);
	/* From @offset on, how many bytes are alike (zeros that need not be read, or data)? *len in 1..size - offset.
	 * NULL: everything is data. */
	int (*extent)(void *ctx, uint64_t offset, uint64_t *len, bool *zero, struct err *err);
};

struct volume_progress {
	atomic_uint_fast64_t done_bytes, total_bytes; /* of reading */
	atomic_bool cancel;           /* set by whoever watches: ends with -ECANCELED */
	uint64_t bytes_per_second;    /* 0: as fast as it goes; constant */
	atomic_uint_fast64_t free_us; /* clock_now_us() from when on more may be read */
};

/* Before @bytes are read: wait until the rate allows it, or somebody cancels. All threads that share @progress share its rate. NULL: no limit. */
void volume_progress_pace(struct volume_progress *progress, uint64_t bytes);

struct volume_put_stats {
	uint64_t read_bytes;   /* taken from the input */
	uint64_t new_bytes;    /* plaintext of chunks that were not there */
	uint64_t stored_bytes; /* the same, encoded */
};

struct volume_put {
	const struct volume_input *input;
	struct chunk_sink sink;
	enum chunk_codec codec;
	/* Incremental: `parent` is the same volume earlier and `changed` covers everything that may differ; blocks
	 * outside are taken over unread. parent without changed: everything is read and compared. parent NULL: full. */
	const struct volume *parent;
	struct chunk_source parent_source;
	const struct volume_extent *changed;
	size_t changed_count;
	unsigned threads;                 /* 0: one per processor */
	struct volume_progress *progress; /* may be NULL */
};

/**
 * volume_put(order, volume, stats, err):
 * Read, hash, dedup, compress and hand over a volume, all processors busy, memory bounded.
 *
 * volume  name, kind and grid are the caller's; size and root are set
 * stats   added to; may be NULL
 *
 * Return 0, -ECANCELED, or -errno.
 */
int volume_put(const struct volume_put *order, struct volume *volume,
	       struct volume_put_stats *stats, struct err *err);

/* A volume being read at any offset. Nodes are cached; chunk data is not. Thread-safe. */
struct volume_reader;

int volume_reader_open(struct volume_reader **out, const struct volume *volume,
		       struct chunk_source source, struct err *err);
void volume_reader_close(struct volume_reader *reader);
DEFINE_CLEANUP(struct volume_reader *, volume_reader_close);

int volume_reader_read(struct volume_reader *reader, uint8_t *buf, size_t len, uint64_t offset,
		       struct err *err);

/* The ids of blocks first..first+n-1 (zero id: zeros). */
int volume_reader_ids(struct volume_reader *reader, uint64_t first, size_t n, struct chunk_id *ids,
		      struct err *err);

/* From @offset on, how many bytes are alike? Grid precision. */
int volume_reader_extent(struct volume_reader *reader, uint64_t offset, uint64_t *len, bool *zero,
			 struct err *err);

/**
 * volume_get_file(volume, source, fd, threads, progress, err):
 * Write the whole volume into @fd, an empty file: sparse, exactly volume->size bytes, durable (fsync) on return.
 */
int volume_get_file(const struct volume *volume, struct chunk_source source, int fd,
		    unsigned threads, struct volume_progress *progress, struct err *err);

typedef int volume_visit(void *arg, const struct chunk_id *id, bool is_node, struct err *err);
/**
 * volume_walk(volume, base, source, fn, arg, err):
 * Visit each non-zero node and leaf id of @volume that is not at the same place of @base (NULL: all of them), parents
 * first. Cost O(different).
 */
int volume_walk(const struct volume *volume, const struct volume *base, struct chunk_source source,
		volume_visit *fn, void *arg, struct err *err);

#endif
