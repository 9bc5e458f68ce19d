/* chunk_wire.h - chunks as records in a request or an answer: what the agent, the server and the CLI send each other.
 *
 * Record: id[32] codec:u8 0 0 0 raw_len:u32 len:u32 payload[len], little-endian. Reading is for untrusted bytes: every
 * length is checked here, the payload against its id by chunk_decode. Source: docs/protocol.md, "Chunk transfer".
 */
#ifndef GODWIT_SNAPSHOT_CHUNK_WIRE_H
#define GODWIT_SNAPSHOT_CHUNK_WIRE_H

#include "snapshot/chunk.h"

enum {
	CHUNK_WIRE_HEADER = 44,
	CHUNK_WIRE_RECORD_MAX = CHUNK_WIRE_HEADER + CHUNK_MAX,
	CHUNK_WIRE_BODY_MAX = 8 << 20, /* bytes of records in one upload request */
};

/* Bytes that chunk_wire_put will write. */
size_t chunk_wire_len(const struct chunk_encoded *chunk);

/* Write one record at @buf, which has room for it. Return its length in bytes. */
size_t chunk_wire_put(uint8_t *buf, const struct chunk_encoded *chunk);

struct chunk_wire_reader {
	const uint8_t *buf; /* borrowed */
	size_t len, at;     /* bytes; at: start of the next record */
	size_t count;       /* records read so far */
};

enum { CHUNK_WIRE_END = 1 };

/**
 * chunk_wire_next(reader, out, err):
 * out  the next record; its data points into the reader's buffer
 *
 * Return 0, CHUNK_WIRE_END after the last record, or -EBADMSG naming the record and what is wrong with it.
 */
int chunk_wire_next(struct chunk_wire_reader *reader, struct chunk_encoded *out, struct err *err);

#endif
