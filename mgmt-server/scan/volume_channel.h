/* volume_channel.h - how a reader, which may open nothing, reads the volume it was started for.
 *
 * A socketpair. The reader sends {offset, length}, the parent answers {status, length} and the bytes; one request at a
 * time. The parent serves any struct volume_input: a raw file, an NBD export, a snapshot in the store.
 * Wire, little-endian: request u64 offset, u32 length (1..VOLUME_CHANNEL_MAX), u32 0; reply i32 0 or -errno, u32 length.
 * Or request u64 offset, u32 8, u32 1: from there on, how much is alike? The reply's 8 bytes are a u64: the length, with bit 63 set for zeros.
 * Or u32 2: the bytes follow and are to be written. That is for the menders (mend/mender.h); who serves a scan refuses it.
 */
#ifndef GODWIT_SCAN_VOLUME_CHANNEL_H
#define GODWIT_SCAN_VOLUME_CHANNEL_H

#include <stdbool.h>

#include "common/err.h"
#include "snapshot/volume.h"

enum { VOLUME_CHANNEL_MAX = 4 << 20 };

/* Parent: answer requests on @fd until the reader closes it. Requests outside [0, size) are answered -EINVAL.
 * Return 0 at the end, -EBADMSG for a request that makes no sense, or -errno. */
int volume_channel_serve(int fd, const struct volume_input *input, struct err *err);

/* The same for somebody who may write through @write (ctx: the input's). */
typedef int volume_channel_write_fn(void *ctx, const uint8_t *buf, size_t len, uint64_t offset,
				    struct err *err);
int volume_channel_serve_writable(int fd, const struct volume_input *input,
				  volume_channel_write_fn *write, struct err *err);

/* Reader's side, with a cache of recently read 64 KiB blocks. Not thread-safe. */
struct volume_channel;
int volume_channel_open(struct volume_channel **out, int fd, uint64_t base, uint64_t size,
			struct err *err);
void volume_channel_close(struct volume_channel *channel);
DEFINE_CLEANUP(struct volume_channel *, volume_channel_close);

/* The part of the volume this reader is for: offsets below are relative to it. */
uint64_t volume_channel_size(const struct volume_channel *channel);

/* Exactly @len bytes. -EIO beyond the end, or what the parent answered (a damaged store chunk: -EBADMSG). */
int volume_channel_read(struct volume_channel *channel, void *buf, size_t len, uint64_t offset);

/* The same way round. -EROFS: the parent does not want it. */
int volume_channel_write(struct volume_channel *channel, const void *buf, size_t len,
			 uint64_t offset);

/* From @offset (below the size) on, *len bytes, 1 or more, are alike: zeros that need not be read, or data. */
int volume_channel_extent(struct volume_channel *channel, uint64_t offset, uint64_t *len,
			  bool *zero);

#endif
