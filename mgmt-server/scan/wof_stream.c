#include "mgmt-server/scan/wof_stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <wimlib.h>

#include "common/le.h"

enum {
	CHUNK_MAX = 32 << 10,
	TABLE_PIECE = 512, /* offsets that are read at once */
};

/* By the number in the reparse point. Source: [MS-FSCC] 2.1.2, FILE_PROVIDER_EXTERNAL_INFO_V1. */
static const struct {
	enum wimlib_compression_type type;
	uint32_t chunk;
} algorithms[] = {
	{ WIMLIB_COMPRESSION_TYPE_XPRESS, 4 << 10 },
	{ WIMLIB_COMPRESSION_TYPE_LZX, 32 << 10 },
	{ WIMLIB_COMPRESSION_TYPE_XPRESS, 8 << 10 },
	{ WIMLIB_COMPRESSION_TYPE_XPRESS, 16 << 10 },
};

/* plain holds piece number `held`, if that is one; table holds the offsets of chunks [first, first + known). */
struct wof_stream {
	struct wof_stream_options options;
	struct wimlib_decompressor *decompressor;
	uint64_t pieces, table_len, chunks_len; /* bytes of the table, and behind it */
	uint32_t piece_len, entry_len;
	uint64_t first, known;
	uint64_t held; /* UINT64_MAX: none */
	uint8_t table[TABLE_PIECE * 8];
	uint8_t plain[CHUNK_MAX], packed[CHUNK_MAX];
};

bool wof_stream_knows(uint32_t algorithm)
{
	return algorithm < ARRAY_LEN(algorithms);
}

void wof_stream_close(struct wof_stream *s)
{
	if (!s)
		return;
	wimlib_free_decompressor(s->decompressor);
	free(s);
}

int wof_stream_open(struct wof_stream **out, const struct wof_stream_options *o, struct err *err)
{
	CLEANUP(wof_stream_close) struct wof_stream *s = calloc(1, sizeof(*s));

	if (!s)
		return err_set(err, ENOMEM, "decompress a file of CompactOS");
	if (!wof_stream_knows(o->algorithm))
		return err_say(err, EBADMSG, "CompactOS knows no algorithm %u", o->algorithm);
	s->options = *o;
	s->held = UINT64_MAX;
	s->piece_len = algorithms[o->algorithm].chunk;
	s->entry_len = o->size > UINT32_MAX ? 8 : 4;
	s->pieces = o->size / s->piece_len + (o->size % s->piece_len != 0);
	s->table_len = s->pieces ? (s->pieces - 1) * s->entry_len : 0;
	if (s->table_len > o->stored || (s->pieces && s->table_len == o->stored))
		return err_say(err, EBADMSG,
			       "its compressed stream of %llu bytes is too short for %llu chunks",
			       (unsigned long long)o->stored, (unsigned long long)s->pieces);
	s->chunks_len = o->stored - s->table_len;
	if (wimlib_create_decompressor(algorithms[o->algorithm].type, s->piece_len,
				       &s->decompressor) != 0)
		return err_set(err, ENOMEM, "make a decompressor");
	*out = TAKE(s);
	return 0;
}

/* Where chunk @i begins, or for i == pieces the last one ends; from the table's end on. Chunk 0 has no entry. */
static int offset_of(struct wof_stream *s, uint64_t i, uint64_t *offset, struct err *err)
{
	const uint8_t *entry;

	if (i == 0 || i == s->pieces) {
		*offset = i ? s->chunks_len : 0;
		return 0;
	}
	if (i < s->first || i - s->first >= s->known) {
		uint64_t left = s->pieces - i;
		uint64_t count = left < TABLE_PIECE ? left : TABLE_PIECE;
		int r;

		s->known = 0;
		r = s->options.read(s->options.ctx, s->table, (size_t)count * s->entry_len,
				    (i - 1) * s->entry_len, err);
		if (r < 0)
			return r;
		s->first = i;
		s->known = count;
	}
	entry = s->table + (i - s->first) * s->entry_len;
	*offset = s->entry_len == 8 ? le_get64(entry) : le_get32(entry);
	return 0;
}

static int damaged(const struct wof_stream *s, uint64_t i, const char *how, struct err *err)
{
	return err_say(err, EBADMSG, "chunk %llu of %llu of its compressed stream %s",
		       (unsigned long long)i, (unsigned long long)s->pieces, how);
}

static uint32_t len_of(const struct wof_stream *s, uint64_t i)
{
	uint64_t left = s->options.size - i * s->piece_len;

	return left < s->piece_len ? (uint32_t)left : s->piece_len;
}

static int decode(struct wof_stream *s, uint64_t i, struct err *err)
{
	uint32_t len = len_of(s, i);
	uint64_t from, to;
	int r;

	s->held = UINT64_MAX;
	r = offset_of(s, i, &from, err);
	if (r == 0)
		r = offset_of(s, i + 1, &to, err);
	if (r < 0)
		return r;
	if (from >= to || to > s->chunks_len || to - from > len)
		return damaged(s, i, "lies where none can be", err);
	r = s->options.read(s->options.ctx, to - from == len ? s->plain : s->packed,
			    (size_t)(to - from), s->table_len + from, err);
	if (r < 0)
		return r;
	if (to - from < len &&
	    wimlib_decompress(s->packed, (size_t)(to - from), s->plain, len, s->decompressor) != 0)
		return damaged(s, i, "cannot be decompressed", err);
	s->held = i;
	return 0;
}

int wof_stream_read(struct wof_stream *s, void *buf, size_t len, uint64_t offset, struct err *err)
{
	uint8_t *to = buf;

	if (offset > s->options.size || len > s->options.size - offset)
		return err_say(err, EINVAL, "it ends before byte %llu",
			       (unsigned long long)(offset + len));
	while (len) {
		uint64_t i = offset / s->piece_len;
		uint32_t at = (uint32_t)(offset % s->piece_len);
		size_t left, n;
		int r = i == s->held ? 0 : decode(s, i, err);

		if (r < 0)
			return r;
		left = len_of(s, i) - at;
		n = len < left ? len : left;
		memcpy(to, s->plain + at, n);
		to += n;
		offset += n;
		len -= n;
	}
	return 0;
}
