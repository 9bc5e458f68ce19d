/* postcopy_pages.c - bitmaps and a cursor. */
#include "migrate/postcopy_pages.h"

#include <errno.h>
#include <stdlib.h>

static bool bit(const uint64_t *bits, uint64_t n)
{
	return bits[n / 64] >> n % 64 & 1;
}

static bool set_bit(uint64_t *bits, uint64_t n)
{
	uint64_t mask = 1ull << n % 64;

	if (bits[n / 64] & mask)
		return false;
	bits[n / 64] |= mask;
	return true;
}

int postcopy_pages_add(struct postcopy_pages *p, uint64_t size, uint32_t grid, struct err *err)
{
	struct postcopy_pages_block *b = &p->blocks[p->block_count];

	b->pages = size / QEMU_STREAM_PAGE;
	b->chunks = (size + grid - 1) / grid;
	b->chunk_pages = grid / QEMU_STREAM_PAGE;
	b->sent = calloc(b->pages / 64 + 1, sizeof(*b->sent));
	b->asked = calloc(b->chunks / 64 + 1, sizeof(*b->asked));
	p->block_count++; /* deinit frees what there is */
	if (!b->sent || !b->asked)
		return err_set(err, ENOMEM, "keep track of %llu pages",
			       (unsigned long long)b->pages);
	p->left += b->pages;
	p->unasked += b->chunks;
	return 0;
}

void postcopy_pages_deinit(struct postcopy_pages *p)
{
	for (size_t i = 0; i < p->block_count; i++) {
		free(p->blocks[i].sent);
		free(p->blocks[i].asked);
	}
	*p = (struct postcopy_pages){ 0 };
}

bool postcopy_pages_send(struct postcopy_pages *p, unsigned block, uint64_t page)
{
	if (!set_bit(p->blocks[block].sent, page))
		return false;
	p->left--;
	return true;
}

bool postcopy_pages_sent(const struct postcopy_pages *p, unsigned block, uint64_t page)
{
	return bit(p->blocks[block].sent, page);
}

bool postcopy_pages_ask(struct postcopy_pages *p, struct postcopy_pages_chunk chunk)
{
	if (!set_bit(p->blocks[chunk.block].asked, chunk.number))
		return false;
	p->unasked--;
	return true;
}

static bool all_sent(const struct postcopy_pages_block *b, uint64_t chunk)
{
	uint64_t end = (chunk + 1) * b->chunk_pages;

	for (uint64_t page = chunk * b->chunk_pages; page < end && page < b->pages; page++) {
		if (!bit(b->sent, page))
			return false;
	}
	return true;
}

void postcopy_pages_received(struct postcopy_pages *p, unsigned block, const uint8_t *bitmap)
{
	const struct postcopy_pages_block *b = &p->blocks[block];

	for (uint64_t page = 0; page < b->pages; page++) {
		if (bitmap[page / 8] >> page % 8 & 1)
			postcopy_pages_send(p, block, page);
	}
	for (uint64_t chunk = 0; chunk < b->chunks; chunk++) {
		if (all_sent(b, chunk))
			postcopy_pages_ask(p, (struct postcopy_pages_chunk){ block, chunk });
	}
}

void postcopy_pages_touched(struct postcopy_pages *p, struct postcopy_pages_chunk chunk)
{
	p->cursor = chunk;
}

/* The first chunk at or behind the cursor that nobody asked for; there is one. */
static struct postcopy_pages_chunk seek(struct postcopy_pages *p)
{
	for (;;) {
		const struct postcopy_pages_block *b = &p->blocks[p->cursor.block];

		if (p->cursor.number >= b->chunks) {
			p->cursor.block = (unsigned)((p->cursor.block + 1) % p->block_count);
			p->cursor.number = 0;
		} else if (p->cursor.number % 64 == 0 &&
			   b->asked[p->cursor.number / 64] == UINT64_MAX) {
			p->cursor.number += 64;
		} else if (bit(b->asked, p->cursor.number)) {
			p->cursor.number++;
		} else {
			return p->cursor;
		}
	}
}

size_t postcopy_pages_next(struct postcopy_pages *p, struct postcopy_pages_chunk *chunks,
			   size_t max)
{
	size_t n = 0;

	while (n < max && p->unasked) {
		chunks[n] = seek(p);
		postcopy_pages_ask(p, chunks[n]);
		n++;
	}
	return n;
}
