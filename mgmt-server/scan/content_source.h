/* content_source.h - the parent's own way to the bytes of a partition whose files a reader describes.
 *
 * What a reader makes the parent read is bounded: all runs together are no longer than the partition, because the files of a sound
 * file system share nothing. A reader that needs more (a damaged file system, deleted files) sends bytes.
 * Small pieces go through a cache of blocks, as small files lie side by side. Not thread-safe; what it reads from is.
 */
#ifndef GODWIT_SCAN_CONTENT_SOURCE_H
#define GODWIT_SCAN_CONTENT_SOURCE_H

#include <sys/types.h>

#include "common/base.h"
#include "mgmt-server/scan/content_runs.h"
#include "snapshot/volume.h"

enum { CONTENT_SOURCE_PIECE = 1 << 20 };

struct content_source;

/* @length bytes at @offset of @input, which must outlive it; a partition may end beyond the volume's end. */
int content_source_open(struct content_source **out, const struct volume_input *input,
			uint64_t offset, uint64_t length, struct err *err);
void content_source_close(struct content_source *source);
DEFINE_CLEANUP(struct content_source *, content_source_close);

/* May it be read, after all that was taken before? Return 0, or -EBADMSG with the reason. */
int content_source_take(struct content_source *source, const struct content_run *run,
			struct err *err);

/**
 * content_source_read(source, at, len, bytes, err):
 * Read the beginning of [at, at + len), which content_source_take allowed.
 *
 * bytes  out: valid until the next call
 *
 * Return how many bytes that are, 1..CONTENT_SOURCE_PIECE, or -errno.
 */
ssize_t content_source_read(struct content_source *source, uint64_t at, uint64_t len,
			    const uint8_t **bytes, struct err *err);

#endif
