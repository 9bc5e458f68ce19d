/* qemu_stream_index on any bytes; what it accepts must be readable in full. */
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/io.h"
#include "snapshot/qemu_stream.h"

static void read_all(struct volume_input in)
{
	uint8_t buf[16 << 10];
	uint64_t len;
	bool zero;

	for (uint64_t at = 0; at < in.size; at += len) {
		len = in.size - at;
		if (in.extent && (in.extent(in.ctx, at, &len, &zero, NULL) < 0 || len == 0))
			abort();
		if (len > sizeof(buf))
			len = sizeof(buf);
		if (in.read(in.ctx, buf, (size_t)len, at, NULL) < 0)
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct qemu_stream *stream = NULL;
	struct err err;
	int fd = memfd_create("stream", MFD_CLOEXEC);

	if (fd < 0 || io_write_full(fd, data, size) < 0)
		abort();
	qemu_stream_instant_reached(data, size);
	if (qemu_stream_index(&stream, fd, 64 << 20, &err) == 0) {
		for (size_t i = 0; i < stream->block_count; i++)
			read_all(qemu_stream_block_input(stream, i));
		read_all(qemu_stream_head_input(stream));
		read_all(qemu_stream_tail_input(stream));
		qemu_stream_free(stream);
	}
	close(fd);
	return 0;
}
