/* content_cache.h - verdicts by content, so that the same bytes are scanned once however often they occur. Thread-safe. */
#ifndef GODWIT_SCAN_CONTENT_CACHE_H
#define GODWIT_SCAN_CONTENT_CACHE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base.h"
#include "mgmt-server/scan/engine_wire.h"

enum { CONTENT_CACHE_SHA256_LEN = 32 };

struct content_cache;

struct content_cache *content_cache_new(void); /* NULL: out of memory */
void content_cache_free(struct content_cache *cache);
DEFINE_CLEANUP(struct content_cache *, content_cache_free);

/* Is the verdict known? Unfinished ones are not kept: they may come out better the next time. */
bool content_cache_find(struct content_cache *cache, const uint8_t *sha256, uint64_t size,
			struct engine_reply *reply);
void content_cache_add(struct content_cache *cache, const uint8_t *sha256, uint64_t size,
		       const struct engine_reply *reply);

#endif
