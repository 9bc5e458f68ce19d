/* chunk.h - chunks: the unit of deduplication, named by their own content.
 *
 * A chunk is 1..CHUNK_MAX bytes of plaintext; its id is the SHA-256 of those bytes. The all-zero id stands for "zeros
 * of whatever length belongs here"; such a chunk is never stored. Encoded means compressed by one of the codecs; a
 * codec never makes a chunk longer, so incompressible data is CHUNK_CODEC_NONE.
 * Source: snapshot/FORMAT.md, "Chunks".
 */
#ifndef GODWIT_SNAPSHOT_CHUNK_H
#define GODWIT_SNAPSHOT_CHUNK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

enum {
	CHUNK_MAX = 1 << 20,
	CHUNK_ID_LEN = 32,
	CHUNK_ID_TEXT_LEN = 2 * CHUNK_ID_LEN + 1,
	CHUNK_GRID_DISK = 64 << 10, /* QEMU's dirty-bitmap granularity and qcow2's cluster size */
	CHUNK_GRID_MEMORY = 16 << 10,
	CHUNK_GRID_BLOB = 64 << 10,
};

enum chunk_codec { CHUNK_CODEC_NONE = 0, CHUNK_CODEC_ZLIB = 1, CHUNK_CODEC_ZSTD = 2 };

struct chunk_id {
	uint8_t bytes[CHUNK_ID_LEN];
};

struct chunk_encoded {
	struct chunk_id id;
	enum chunk_codec codec;
	uint32_t raw_len; /* bytes of plaintext, 1..CHUNK_MAX */
	uint32_t len;     /* bytes at data, 1..raw_len */
	const uint8_t *data;
};

void chunk_id_of(const void *data, size_t len, struct chunk_id *id);
/* The ids of @n chunks: neighbours of equal length are hashed two at a time, for hardly more than the price of one. */
void chunk_ids_of(const uint8_t *const *data, const size_t *len, size_t n, struct chunk_id *ids);
bool chunk_id_is_zero(const struct chunk_id *id);
bool chunk_id_equal(const struct chunk_id *a, const struct chunk_id *b);
bool chunk_is_zero(const void *data, size_t len);

/**
 * chunk_encode(codec, raw, len, buf, out, err):
 * Compress. The id is not computed: out->id is left as it is.
 *
 * buf  uint8_t[len], the caller's; out->data points into it, or at @raw when nothing was gained
 */
int chunk_encode(enum chunk_codec codec, const uint8_t *raw, size_t len, uint8_t *buf,
		 struct chunk_encoded *out, struct err *err);

enum { CHUNK_CORRUPT = 1 }; /* outcome: not a chunk, or bytes that do not match the id */

/**
 * chunk_decode(encoded, raw, err):
 * Decompress and verify against encoded->id. Bounded whatever the bytes say.
 *
 * raw  uint8_t[encoded->raw_len], the caller's
 *
 * Return 0, CHUNK_CORRUPT (with @err's text saying how), or -ENOMEM.
 */
int chunk_decode(const struct chunk_encoded *encoded, uint8_t *raw, struct err *err);

/* The same for two chunks, faster if they are equally long. *bad: which one a CHUNK_CORRUPT is about. */
int chunk_decode_pair(const struct chunk_encoded encoded[2], uint8_t *const raw[2], size_t *bad,
		      struct err *err);

#endif
