#include "mgmt-server/scan/content_source.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Blocks as a disk's chunks: a chunk is fetched and verified as a whole anyway. */
enum { BLOCK = CHUNK_GRID_DISK, CACHE_SLOTS = 128 };

struct content_source {
	const struct volume_input *input;
	uint64_t offset, length;      /* the partition; it may end beyond the input */
	uint64_t taken;               /* <= length */
	uint64_t cached[CACHE_SLOTS]; /* block number + 1; 0: empty. Slot = number % CACHE_SLOTS */
	uint8_t *blocks;              /* CACHE_SLOTS * BLOCK, touched as used */
	uint8_t *piece;               /* CONTENT_SOURCE_PIECE */
};

int content_source_open(struct content_source **out, const struct volume_input *input,
			uint64_t offset, uint64_t length, struct err *err)
{
	CLEANUP(content_source_close) struct content_source *s = calloc(1, sizeof(*s));

	if (!s)
		return err_set(err, ENOMEM, "open a partition");
	s->input = input;
	s->offset = offset;
	s->length = length;
	s->blocks = malloc((size_t)CACHE_SLOTS * BLOCK);
	s->piece = malloc(CONTENT_SOURCE_PIECE);
	if (!s->blocks || !s->piece)
		return err_set(err, ENOMEM, "open a partition");
	*out = TAKE(s);
	return 0;
}

void content_source_close(struct content_source *s)
{
	if (!s)
		return;
	free(s->blocks);
	free(s->piece);
	free(s);
}

int content_source_take(struct content_source *s, const struct content_run *run, struct err *err)
{
	uint64_t cost = content_run_cost(run->length);

	if (run->at > s->length || run->length > s->length - run->at)
		return err_say(err, EBADMSG, "a reader named bytes outside of its partition");
	if (cost > s->length - s->taken)
		return err_say(
			err, EBADMSG,
			"a reader named more bytes than its partition has, some of them twice");
	s->taken += cost;
	return 0;
}

static int read_cached(struct content_source *s, uint64_t place, size_t len, const uint8_t **bytes,
		       struct err *err)
{
	uint64_t block = place / BLOCK, start = block * BLOCK;
	size_t slot = block % CACHE_SLOTS;
	uint8_t *data = s->blocks + slot * BLOCK;

	if (s->cached[slot] != block + 1) {
		uint64_t left = s->input->size - start;
		int r;

		s->cached[slot] = 0;
		r = s->input->read(s->input->ctx, data, left < BLOCK ? (size_t)left : BLOCK, start,
				   err);
		if (r < 0)
			return r;
		s->cached[slot] = block + 1;
	}
	*bytes = data + (place - start);
	return (int)len;
}

ssize_t content_source_read(struct content_source *s, uint64_t at, uint64_t len,
			    const uint8_t **bytes, struct err *err)
{
	uint64_t place = s->offset + at;
	size_t in_block = (size_t)(place % BLOCK), n = BLOCK - in_block;
	uint64_t size = s->input->size;
	int r;

	if (s->offset > size || at > size - s->offset || len > size - s->offset - at)
		return err_say(err, EIO, "a partition ends beyond its volume");
	if (in_block || len < BLOCK)
		return read_cached(s, place, len < n ? (size_t)len : n, bytes, err);
	n = len < CONTENT_SOURCE_PIECE ? (size_t)(len / BLOCK * BLOCK) : CONTENT_SOURCE_PIECE;
	r = s->input->read(s->input->ctx, s->piece, n, place, err);
	*bytes = s->piece;
	return r < 0 ? r : (ssize_t)n;
}
