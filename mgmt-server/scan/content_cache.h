/* content_cache.h - verdicts by content, so that the same bytes are scanned once however often they occur.
 *
 * In memory for one scan, and behind it, when there is one, the state that all scans share (scan_state.h): what is new
 * goes there in batches. Thread-safe.
 */
#ifndef GODWIT_SCAN_CONTENT_CACHE_H
#define GODWIT_SCAN_CONTENT_CACHE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base.h"
#include "mgmt-server/scan/engine_wire.h"

enum { CONTENT_CACHE_SHA256_LEN = 32 };

struct content_cache;
struct scan_state;

struct content_cache *content_cache_new(void); /* NULL: out of memory */
void content_cache_free(struct content_cache *cache);
DEFINE_CLEANUP(struct content_cache *, content_cache_free);

/* Verdicts of @set come from @state, and go there. */
void content_cache_share(struct content_cache *cache, struct scan_state *state, uint64_t set);
/* Not any more: what is not written down yet is forgotten. */
void content_cache_unshare(struct content_cache *cache);
/* Write down what is new. Return 0 or -errno: then nobody but this scan knows it. */
int content_cache_flush(struct content_cache *cache, struct err *err);

/* Is the verdict known? Unfinished ones are not kept: they may come out better the next time. */
bool content_cache_find(struct content_cache *cache, const uint8_t *sha256, uint64_t size,
			struct engine_reply *reply);
void content_cache_add(struct content_cache *cache, const uint8_t *sha256, uint64_t size,
		       const struct engine_reply *reply);

#endif
