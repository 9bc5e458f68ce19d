/* Frames from the micro-VM: whatever they say, files are opened and closed in order and no byte beyond a frame is used. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mgmt-server/scan/vm_stream.h"
#include "tests/lib/reader_sink.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
	const uint8_t *data;
	size_t left;
};

static int take(void *ctx, void *buf, size_t len)
{
	struct input *in = ctx;

	if (len > in->left)
		return 1;
	memcpy(buf, in->data, len);
	in->data += len;
	in->left -= len;
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	struct vm_stream stream = { .ctx = &in, .read = take };
	struct reader *reader = reader_sink_new(NULL, 0, 16 << 20);
	struct err err = { 0 };
	int r = vm_stream_take(&stream, reader, &err);

	/* A failure is always explained: it becomes the reason of an incomplete scan. */
	if (r > 0 || (r < 0 && !err.text[0]))
		abort();
	reader_sink_end(reader);
	return 0;
}
