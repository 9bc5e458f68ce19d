#include "mgmt-server/scan/watch_blocks.h"

#include <errno.h>
#include <stdlib.h>

#include "mgmt-server/scan/file_measure.h"
#include "snapshot/chunk.h"

enum { BLOCK = 64 << 10, PIECE = FILE_MEASURE_PIECE, PIECES = BLOCK / PIECE };

#define LOOK_MAX (2ULL << 30)

struct look {
	const struct volume_input *before, *after;
	uint8_t *now, *then; /* BLOCK each */
	uint64_t random, became;
};

static int look_at(struct look *l, uint64_t offset, size_t len, struct err *err)
{
	bool random[PIECES] = { false }, any = false;
	size_t old_len = offset >= l->before->size        ? 0
			 : l->before->size - offset < len ? (size_t)(l->before->size - offset)
							  : len;
	int r = l->after->read(l->after->ctx, l->now, len, offset, err);

	for (size_t i = 0; r == 0 && i + PIECE <= len; i += PIECE) {
		random[i / PIECE] = file_measure_random(l->now + i, PIECE);
		any |= random[i / PIECE];
		l->random += random[i / PIECE] ? PIECE : 0;
	}
	if (r < 0 || !any || !old_len)
		return r;
	r = l->before->read(l->before->ctx, l->then, old_len, offset, err);
	for (size_t i = 0; r == 0 && i + PIECE <= old_len; i += PIECE) {
		if (random[i / PIECE] && !chunk_is_zero(l->then + i, PIECE) &&
		    !file_measure_random(l->then + i, PIECE))
			l->became += PIECE;
	}
	return r;
}

int watch_blocks(const struct volume_input *before, const struct volume_input *after,
		 const struct volume_extent *changed, size_t count, const atomic_bool *cancel,
		 struct watch_blocks_result *result, struct err *err)
{
	CLEANUP_FREE uint8_t *now = malloc(BLOCK), *then = malloc(BLOCK);
	struct look l = { .before = before, .after = after, .now = now, .then = then };
	uint64_t total = 0, every, number = 0;
	int r = now && then ? 0 : err_set(err, ENOMEM, "compare blocks");

	for (size_t i = 0; i < count; i++)
		total += changed[i].length;
	every = total / LOOK_MAX + 1;
	for (size_t i = 0; r == 0 && i < count; i++) {
		uint64_t end = changed[i].offset + changed[i].length;

		for (uint64_t at = changed[i].offset; r == 0 && at < end; at += BLOCK) {
			if (number++ % every)
				continue;
			r = look_at(&l, at, end - at < BLOCK ? (size_t)(end - at) : BLOCK, err);
			if (r == 0 && cancel && atomic_load(cancel))
				r = -ECANCELED;
		}
	}
	result->changed += total;
	result->random += l.random * every;
	result->became_random += l.became * every;
	return r;
}
