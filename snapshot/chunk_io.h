/* chunk_io.h - where chunks come from and go to: a local store, or a server across the network.
 *
 * Volumes are written and read through these two interfaces only, so capture, import, restore and the NBD plugin run
 * the same code on an endpoint and beside the packs. All functions are thread-safe.
 */
#ifndef GODWIT_SNAPSHOT_CHUNK_IO_H
#define GODWIT_SNAPSHOT_CHUNK_IO_H

#include "snapshot/chunk.h"

/* One chunk of a chunk_source.get: @i is its place in the request, @data its verified plaintext, valid during the call. */
typedef int chunk_arrived(void *arg, size_t i, const uint8_t *data, size_t len, struct err *err);

enum { CHUNK_IO_BATCH = 1024 }; /* ids in one get or query, at most */

struct chunk_source {
	void *ctx;
	/* Fetch @n chunks, none of them the zero id; @fn is called once for each, in any order, from any thread but
	 * never twice at the same time. Return 0; -ENOENT naming the first chunk that is not there; -EBADMSG for a
	 * damaged one; what @fn returned if negative; or -errno. */
	int (*get)(void *ctx, const struct chunk_id *ids, size_t n, chunk_arrived *fn, void *arg,
		   struct err *err);
	/* NULL where it would save nothing. As get(), but chunk @i is written to to[i] without a copy on the way; one that does
	 * not have len[i] bytes is -EBADMSG. Unless 0 is returned, what lies at to[] was not verified. */
	int (*get_to)(void *ctx, const struct chunk_id *ids, size_t n, uint8_t *const *to,
		      const size_t *len, struct err *err);
};

struct chunk_sink {
	void *ctx;
	/* Which are there already? present[i / 8] >> (i % 8) & 1. The answer holds until the session ends. */
	int (*query)(void *ctx, const struct chunk_id *ids, size_t n, uint8_t *present,
		     struct err *err);
	/* Take @n chunks (borrowed during the call). They are durable only after the session's commit. */
	int (*put)(void *ctx, const struct chunk_encoded *chunks, size_t n, struct err *err);
};

#endif
