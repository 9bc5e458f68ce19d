/* content_identity.h - the name of a content that lies in a snapshot's volume, without reading the content.
 *
 * SHA-256 over its size and, for each of its runs, where it is in the file, its length, the ids of the chunks that hold it
 * and where in the first of them it begins. Ids are hashes of the chunks' bytes, so two contents of the same identity have
 * the same bytes; the same bytes may have several identities. Only godwit-scan makes one, from runs that it would read
 * itself and from the tree of the volume, whose nodes are verified. Source: snapshot/FORMAT.md, "Volumes".
 */
#ifndef GODWIT_SCAN_CONTENT_IDENTITY_H
#define GODWIT_SCAN_CONTENT_IDENTITY_H

#include "mgmt-server/scan/content_runs.h"
#include "snapshot/volume.h"

enum { CONTENT_IDENTITY_LEN = 32 };

/* What a volume is made of. ids NULL: of no chunks, an image file for one. */
struct content_chunks {
	void *ctx;
	uint32_t grid;
	/* As volume_reader_ids(). */
	int (*ids)(void *ctx, uint64_t first, size_t n, struct chunk_id *ids, struct err *err);
};

/**
 * content_identity(chunks, offset, runs, size, out, err):
 * Of the content of @size bytes that has zeros where there are no runs.
 *
 * offset  of the partition that the runs speak of, in the volume
 *
 * Return 0 or -errno: what they name is not in the volume, or a node of its tree cannot be read.
 */
int content_identity(const struct content_chunks *chunks, uint64_t offset,
		     const struct content_runs *runs, uint64_t size,
		     uint8_t out[CONTENT_IDENTITY_LEN], struct err *err);

#endif
