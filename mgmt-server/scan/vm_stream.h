/* vm_stream.h - from the frames of the micro-VM (vm_wire.h) to calls of reader.h, believing nothing. Internal to reader_vm. */
#ifndef GODWIT_SCAN_VM_STREAM_H
#define GODWIT_SCAN_VM_STREAM_H

#include <stddef.h>

#include "mgmt-server/scan/reader.h"

struct vm_stream {
	void *ctx;
	/* Read exactly @len bytes. Return 0, a positive number when the stream ends before, or -errno. */
	int (*read)(void *ctx, void *buf, size_t len);
};

/* Take in everything up to the last frame. Return 0, -EPIPE when the stream ends too early, -EBADMSG, or -errno. */
int vm_stream_take(const struct vm_stream *stream, struct reader *reader, struct err *err);

#endif
