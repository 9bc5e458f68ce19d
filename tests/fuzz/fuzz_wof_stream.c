/* Streams of CompactOS: whatever one says, reading ends, inside of the stream and of the file. An input: u8 algorithm, u8, u16
 * reserved, u32 size of the file, then the stream.
 */
#include <stdlib.h>
#include <string.h>

#include "common/le.h"
#include "mgmt-server/scan/wof_stream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { HEADER = 8, SIZE_MAX_BYTES = 1 << 20, PIECE = 50000 };

struct input {
	const uint8_t *bytes;
	size_t len;
};

static int read_input(void *ctx, void *buf, size_t len, uint64_t offset, struct err *err)
{
	const struct input *in = ctx;

	(void)err;
	if (offset > in->len || len > in->len - offset)
		abort();
	memcpy(buf, in->bytes + offset, len);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP(wof_stream_close) struct wof_stream *s = NULL;
	struct input in;
	struct wof_stream_options options = { .read = read_input, .ctx = &in };
	struct err err = { 0 };
	uint8_t buf[PIECE];

	if (size < HEADER)
		return 0;
	in = (struct input){ data + HEADER, size - HEADER };
	options.algorithm = data[0] % 5;
	options.size = le_get32(data + 4) % SIZE_MAX_BYTES;
	options.stored = in.len;
	if (wof_stream_open(&s, &options, &err) < 0)
		return 0;
	for (uint64_t at = 0; at < options.size; at += PIECE) {
		size_t n = options.size - at < PIECE ? (size_t)(options.size - at) : PIECE;

		/* What cannot be read is told; pieces behind it may be fine. */
		if (wof_stream_read(s, buf, n, at, &err) < 0 && !err.text[0])
			abort();
	}
	return 0;
}
