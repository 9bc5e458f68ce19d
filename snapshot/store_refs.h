/* store_refs.h - how often is each chunk referenced? By the nodes and roots of the snapshots that are listed.
 *
 * A node that is referenced, however often, references each of its children once. So a snapshot that comes adds one to its roots,
 * and only nodes that were not referenced before are read; one that goes takes one from its roots, and only nodes that nobody
 * references any more are read. The cost is that of what came and what went, never that of what is stored.
 *
 * The counts are kept in index/refs between runs: derived, with a checksum, and complete in themselves: which snapshots are counted,
 * and for each pack, by its name, the counts of its records. They hold as long as every pack with a count is there as it was;
 * otherwise, and after any doubt, all is counted anew. Manifests and notes are not counted.
 *
 * Memory: a byte for each record (more than 254 references are kept in a table), 16 to 32 bytes for each node, and a fixed cache of 56 MiB. Not
 * thread-safe.
 */
#ifndef GODWIT_SNAPSHOT_STORE_REFS_H
#define GODWIT_SNAPSHOT_STORE_REFS_H

#include "snapshot/store_internal.h"
#include "snapshot/volume.h"

struct store_refs;

/* Nothing is counted yet. */
int store_refs_new(struct store_refs **out, struct store *store, struct err *err);
void store_refs_free(struct store_refs *refs);
DEFINE_CLEANUP(struct store_refs *, store_refs_free);

enum { STORE_REFS_DOUBT = 1 }; /* the counts do not fit what is stored: begin with new ones */

/* What the last GC counted. Return 0, STORE_REFS_DOUBT when that cannot be used (there is none, it is damaged, a pack is missing), or -errno. */
int store_refs_load(struct store_refs *refs, struct err *err);
/* Durable on return. What is on disk stays right whatever happens next: it says itself what it is about. */
int store_refs_save(struct store_refs *refs, struct err *err);
/**
 * store_refs_add(refs, progress, err) / store_refs_drop(refs, progress, err):
 * Count the snapshots that are listed and were not counted / take back those that were counted and are not listed any more.
 *
 * progress  may be NULL; bytes of tree nodes are added
 *
 * add: return 0; -ENOENT, -EBADMSG for a damaged snapshot; -ECANCELED; or -errno. drop: also STORE_REFS_DOUBT. After anything but 0
 * the counts are of no use.
 */
int store_refs_add(struct store_refs *refs, struct volume_progress *progress, struct err *err);
int store_refs_drop(struct store_refs *refs, struct volume_progress *progress, struct err *err);

/**
 * store_refs_move(refs, pack, err):
 * The chunks of @pack, which is condemned, were copied: their counts go where they are found now.
 *
 * Return 0, STORE_REFS_DOUBT (a chunk is not found elsewhere), or -errno; then the counts are of no use.
 */
int store_refs_move(struct store_refs *refs, uint32_t pack, struct err *err);

bool store_refs_has(const struct store_refs *refs, uint32_t pack, uint32_t record);

/* What is known of a pack. */
struct store_refs_summary {
	uint32_t chunks, live_chunks; /* records that are chunks; those that are referenced */
	uint64_t bytes, live_bytes;   /* of all records; of chunks that are referenced */
};
/* Reads the pack's footer once, when it is new. */
int store_refs_summary(struct store_refs *refs, uint32_t pack, struct store_refs_summary *out,
		       struct err *err);

/* Bytes of tree nodes and manifests that were read so far, and how many snapshots were counted or taken back. */
uint64_t store_refs_bytes_read(const struct store_refs *refs);
uint64_t store_refs_snapshots_walked(const struct store_refs *refs);

#endif
