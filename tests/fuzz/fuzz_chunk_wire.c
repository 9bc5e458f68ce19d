/* Records from the network: no bytes make the reader leave the buffer, and what it accepts can be decoded or refused. */
#include <stdlib.h>

#include "snapshot/chunk_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct chunk_wire_reader reader = { .buf = data, .len = size };
	static uint8_t raw[CHUNK_MAX];
	struct chunk_encoded chunk;
	struct err err = { 0 };

	while (chunk_wire_next(&reader, &chunk, &err) == 0) {
		if (chunk.data < data || chunk.data + chunk.len > data + size)
			abort();
		if (chunk_decode(&chunk, raw, &err) == 0 && chunk.codec == CHUNK_CODEC_NONE &&
		    chunk.raw_len != chunk.len)
			abort();
	}
	return 0;
}
