/* chunk_cache.h - a bounded cache in memory around any chunk source, and the joining of equal requests.
 *
 * A guest reads 4 KiB at a time of chunks of 64 KiB; without a cache each read would cross the network again. Of several
 * threads that want the same chunk one fetches it, the others wait. Least recently used chunks go first. Thread-safe.
 */
#ifndef GODWIT_CLIENT_AGENT_CHUNK_CACHE_H
#define GODWIT_CLIENT_AGENT_CHUNK_CACHE_H

#include "common/base.h"
#include "snapshot/chunk_io.h"

struct chunk_cache;

/* max_bytes: of plaintext. @origin must outlive the cache. */
int chunk_cache_new(struct chunk_cache **out, struct chunk_source origin, size_t max_bytes,
		    struct err *err);
void chunk_cache_free(struct chunk_cache *cache);
DEFINE_CLEANUP(struct chunk_cache *, chunk_cache_free);

struct chunk_source chunk_cache_source(struct chunk_cache *cache);

struct chunk_cache_stats {
	uint64_t hits, misses;
	size_t bytes; /* held now */
};
void chunk_cache_stats(struct chunk_cache *cache, struct chunk_cache_stats *out);

#endif
