#include "snapshot/chunk_wire.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <string.h>

enum { AT_CODEC = CHUNK_ID_LEN, AT_RAW_LEN = CHUNK_ID_LEN + 4, AT_LEN = CHUNK_ID_LEN + 8 };

static void put_u32(uint8_t *at, uint32_t value)
{
	value = htole32(value);
	memcpy(at, &value, sizeof(value));
}

static uint32_t get_u32(const uint8_t *at)
{
	uint32_t value;

	memcpy(&value, at, sizeof(value));
	return le32toh(value);
}

size_t chunk_wire_len(const struct chunk_encoded *chunk)
{
	return CHUNK_WIRE_HEADER + (size_t)chunk->len;
}

size_t chunk_wire_put(uint8_t *buf, const struct chunk_encoded *chunk)
{
	assert(chunk->len >= 1 && chunk->len <= chunk->raw_len && chunk->raw_len <= CHUNK_MAX);

	memcpy(buf, chunk->id.bytes, CHUNK_ID_LEN);
	put_u32(buf + AT_CODEC, (uint32_t)chunk->codec); /* codec and three zero bytes */
	put_u32(buf + AT_RAW_LEN, chunk->raw_len);
	put_u32(buf + AT_LEN, chunk->len);
	memcpy(buf + CHUNK_WIRE_HEADER, chunk->data, chunk->len);
	return chunk_wire_len(chunk);
}

static int bad(const struct chunk_wire_reader *r, const char *what, struct err *err)
{
	return err_say(err, EBADMSG, "record %zu at byte %zu: %s", r->count, r->at, what);
}

int chunk_wire_next(struct chunk_wire_reader *r, struct chunk_encoded *out, struct err *err)
{
	const uint8_t *head = r->buf + r->at;
	size_t left = r->len - r->at;
	uint32_t codec, raw_len, len;

	if (left == 0)
		return CHUNK_WIRE_END;
	if (left < CHUNK_WIRE_HEADER)
		return bad(r, "the body ends within its header", err);

	codec = get_u32(head + AT_CODEC);
	raw_len = get_u32(head + AT_RAW_LEN);
	len = get_u32(head + AT_LEN);
	if (codec > CHUNK_CODEC_ZSTD)
		return bad(r, "unknown codec, or padding that is not zero", err);
	if (raw_len < 1 || raw_len > CHUNK_MAX)
		return bad(r, "a chunk has 1 byte to 1 MiB", err);
	if (len < 1 || len > raw_len)
		return bad(r, "the payload must have 1 byte to the chunk's length", err);
	if (codec == CHUNK_CODEC_NONE && len != raw_len)
		return bad(r, "without a codec both lengths must be equal", err);
	if (len > left - CHUNK_WIRE_HEADER)
		return bad(r, "the body ends within its payload", err);

	*out = (struct chunk_encoded){
		.codec = (enum chunk_codec)codec,
		.raw_len = raw_len,
		.len = len,
		.data = head + CHUNK_WIRE_HEADER,
	};
	memcpy(out->id.bytes, head, CHUNK_ID_LEN);
	r->at += CHUNK_WIRE_HEADER + (size_t)len;
	r->count++;
	return 0;
}
