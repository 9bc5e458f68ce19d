/* scan_index.h - which desktop's snapshots held which content where: what one scan adds to it, and what it takes from it.
 *
 * A desktop's scans are numbered. A place (partition, inode, stream, path, content) is open from the scan that saw it
 * first until one does not see it any more, so a snapshot that is like the one before costs nothing. The open places
 * are what the next scan need not read, if the tree of the volume says that their blocks are the same, and if their
 * content has a verdict under the signatures of that scan.
 * Nothing is written before scan_index_commit. Thread-safe.
 */
#ifndef GODWIT_SCAN_SCAN_INDEX_H
#define GODWIT_SCAN_SCAN_INDEX_H

#include "mgmt-server/scan/known_files.h"
#include "mgmt-server/scan/scan_state.h"

struct scan_index;
struct scan_index_part;

struct scan_index_wanted { /* ascending */
	uint64_t partition, inode;
};

struct scan_index_order {
	struct scan_state *state;
	uint64_t set;
	const char *desktop, *snapshot;
	uint64_t created_ms;
	/* Read these only and enter nothing: contents are looked for, not a snapshot scanned. NULL: a scan. */
	const struct scan_index_wanted *wanted;
	size_t wanted_count;
};

int scan_index_begin(struct scan_index **out, const struct scan_index_order *order,
		     struct err *err);
void scan_index_end(struct scan_index *index);
DEFINE_CLEANUP(struct scan_index *, scan_index_end);

/* The snapshot whose places are open; "": there is none yet. */
const char *scan_index_head(const struct scan_index *index);

/* What differs of a volume from that snapshot; the extents are copied. Without this all of it does. */
int scan_index_changed(struct scan_index *index, const char *volume,
		       const struct volume_extent *extents, size_t count, struct err *err);

struct scan_index_partition {
	const char *volume, *name, *type;
	uint64_t offset, length; /* bytes, of the volume */
};

/**
 * scan_index_part(index, partition, out, err):
 * *out lives as long as @index.
 *
 * Return 0, SCAN_INDEX_NOT_WANTED, or -errno.
 */
enum { SCAN_INDEX_NOT_WANTED = 1 };
#define SCAN_INDEX_MEMORY "memory" /* the type of what is no partition: its contents are no files */
int scan_index_part(struct scan_index *index, const struct scan_index_partition *partition,
		    struct scan_index_part **out, struct err *err);

/* For a reader: a descriptor (known_files.h), or -errno. */
int scan_index_known(struct scan_index_part *part, struct err *err);

/* For parts that are read in pieces: is inode @piece known, and [offset, offset + len) of the partition unchanged? */
bool scan_index_wants(const struct scan_index_part *part, uint64_t inode);
bool scan_index_same_piece(struct scan_index_part *part, uint64_t piece, uint64_t offset,
			   uint64_t len);

struct scan_index_file {
	uint64_t inode, size;
	const char *path, *stream;
	const uint8_t *sha256; /* SCAN_STATE_SHA256_LEN bytes */
	const uint8_t *digest; /* FILE_DIGEST_LEN bytes; NULL: it must be read the next time */
	const char *signature; /* out, of scan_index_same: what was found in it; NULL: clean */
};

/* A content was read and hashed. Return 0 or -ENOMEM. */
int scan_index_seen(struct scan_index_part *part, const struct scan_index_file *file);
/* Something of this inode could not be read: it must be read again the next time. */
int scan_index_problem(struct scan_index_part *part, uint64_t inode);
/* Why the snapshot is not clean whatever the signatures say. */
int scan_index_reason(struct scan_index *index, const char *text);

typedef void scan_index_same_fn(void *arg, const struct scan_index_file *file);
/**
 * scan_index_same(part, inode, path, fn, arg):
 * The reader says that the inode is as it was, under this path: @fn is called for each of its streams.
 *
 * Return 0, -ENOENT when the reader cannot know that, or -ENOMEM.
 */
int scan_index_same(struct scan_index_part *part, uint64_t inode, const char *path,
		    scan_index_same_fn *fn, void *arg);

struct scan_index_sums {
	uint64_t files, bytes;
};
/* One transaction. Return 0 (also when another scan of the desktop was faster: then nothing is entered) or -errno. */
int scan_index_commit(struct scan_index *index, const struct scan_index_sums *sums,
		      struct err *err);

#endif
