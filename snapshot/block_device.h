/* block_device.h - a volume as a block device that may be written to.
 *
 * Reads come from the volume, through a cache of blocks (a guest reads 4 KiB at a time, a block is 64 KiB). With an overlay,
 * writes go into a local file of the same size and stay there: a second file FILE.map says which blocks are local. Data is
 * made durable before the map, so a map never points at blocks that were not written. Thread-safe.
 */
#ifndef GODWIT_SNAPSHOT_BLOCK_DEVICE_H
#define GODWIT_SNAPSHOT_BLOCK_DEVICE_H

#include "common/base.h"
#include "snapshot/volume.h"

struct block_device;

struct block_device_options {
	const struct volume *volume;
	struct chunk_source source;
	const char *overlay; /* a file that is made or taken up again; NULL: read-only */
	size_t cache_bytes;  /* 0: 16 MiB */
};
/* Return 0; -EINVAL when the overlay belongs to another volume; or -errno. */
int block_device_new(struct block_device **out, const struct block_device_options *options,
		     struct err *err);
void block_device_free(struct block_device *plugin);
DEFINE_CLEANUP(struct block_device *, block_device_free);

uint64_t block_device_size(const struct block_device *plugin);
bool block_device_writable(const struct block_device *plugin);

int block_device_read(struct block_device *plugin, void *buf, size_t len, uint64_t offset,
		      struct err *err);
int block_device_write(struct block_device *plugin, const void *buf, size_t len, uint64_t offset,
		       struct err *err);
/* Everything written so far survives a power cut. */
int block_device_flush(struct block_device *plugin, struct err *err);

/* From @offset on, how many bytes are alike (zeros, or data)? At least one, at most @len. */
int block_device_extent(struct block_device *plugin, uint64_t offset, uint64_t len, uint64_t *alike,
			bool *zero, struct err *err);

#endif
