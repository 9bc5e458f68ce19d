/* postcopy_pages.h - which pages of a machine were sent, which chunks were asked for, and which come next.
 *
 * A page is sent once and a chunk is asked for once. One thread only.
 */
#ifndef GODWIT_MIGRATE_POSTCOPY_PAGES_H
#define GODWIT_MIGRATE_POSTCOPY_PAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "snapshot/qemu_stream.h"

/* A grid block of one RAM block's volume. */
struct postcopy_pages_chunk {
	unsigned block;
	uint64_t number;
};

struct postcopy_pages_block {
	uint64_t pages; /* of 4096 bytes */
	uint64_t chunks;
	unsigned chunk_pages; /* pages in a chunk; the last chunk may have fewer */
	uint64_t *sent;       /* a bit for each page */
	uint64_t *asked;      /* a bit for each chunk */
};

struct postcopy_pages {
	size_t block_count;
	struct postcopy_pages_block blocks[QEMU_STREAM_BLOCKS_MAX];
	uint64_t left;                      /* pages not sent */
	struct postcopy_pages_chunk cursor; /* where the background goes on */
	uint64_t unasked;                   /* chunks */
};

int postcopy_pages_add(struct postcopy_pages *p, uint64_t size, uint32_t grid, struct err *err);
void postcopy_pages_deinit(struct postcopy_pages *p);

/* Mark a page as sent. Return false if it was already. */
bool postcopy_pages_send(struct postcopy_pages *p, unsigned block, uint64_t page);
bool postcopy_pages_sent(const struct postcopy_pages *p, unsigned block, uint64_t page);

/* Mark a chunk as asked for. Return false if it was already. */
bool postcopy_pages_ask(struct postcopy_pages *p, struct postcopy_pages_chunk chunk);

/**
 * postcopy_pages_received(p, block, bitmap):
 * The destination has these pages already (recovery): they count as sent, chunks of nothing else as asked for.
 *
 * bitmap  a bit for each page, lowest bit of the first byte first
 */
void postcopy_pages_received(struct postcopy_pages *p, unsigned block, const uint8_t *bitmap);

/* The guest touched this chunk: what lies behind it is likely next. */
void postcopy_pages_touched(struct postcopy_pages *p, struct postcopy_pages_chunk chunk);

/**
 * postcopy_pages_next(p, chunks, max):
 * The background's order: chunks that nobody asked for, marked as asked for. Here, and nowhere else, a recorded working
 * set would come in.
 *
 * Return how many, 0 when all were asked for.
 */
size_t postcopy_pages_next(struct postcopy_pages *p, struct postcopy_pages_chunk *chunks,
			   size_t max);

#endif
