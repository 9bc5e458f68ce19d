/* wof_stream.h - the contents of a file that Windows' CompactOS compressed.
 *
 * The stream WofCompressedData: a table of the offsets of all chunks but the first, counted from the table's end, 32 bits
 * each (64 in files of 4 GiB and more); then the chunks, one behind the other. Each becomes one piece of the file, of 4, 8, 16
 * (Xpress) or 32 KiB (LZX), the last one of what is left; a chunk that is as long as its piece holds it as it is. Decoded by
 * wimlib. Table and chunks are the guest's: what does not fit together is an error, never other bytes.
 * Source: wimlib's headers, and the comments of ntfs-3g-system-compression, which read the same files.
 */
#ifndef GODWIT_SCAN_WOF_STREAM_H
#define GODWIT_SCAN_WOF_STREAM_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base.h"
#include "common/err.h"

/* Exactly @len bytes of the stream. Return 0, or -errno with @err set. */
typedef int wof_stream_read_fn(void *ctx, void *buf, size_t len, uint64_t offset, struct err *err);

struct wof_stream_options {
	uint32_t algorithm; /* as in the reparse point */
	uint64_t size;      /* bytes of the file */
	uint64_t stored;    /* bytes of the stream */
	wof_stream_read_fn *read;
	void *ctx;
};

struct wof_stream;

/* Is there such an algorithm? */
bool wof_stream_knows(uint32_t algorithm);

/* Return 0, or -errno with @err set: -EBADMSG for a stream that is too short for the table. */
int wof_stream_open(struct wof_stream **out, const struct wof_stream_options *options,
		    struct err *err);
void wof_stream_close(struct wof_stream *stream);
DEFINE_CLEANUP(struct wof_stream *, wof_stream_close);

/* Exactly @len bytes of the file, which must lie below its size. Return 0, or -errno with @err set: -EBADMSG for a chunk that is damaged. */
int wof_stream_read(struct wof_stream *stream, void *buf, size_t len, uint64_t offset,
		    struct err *err);

#endif
