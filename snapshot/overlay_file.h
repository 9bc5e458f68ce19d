/* overlay_file.h - local changes to a volume: a sparse file of its size, and FILE.map that says which blocks are in it.
 *
 * A flush makes data durable first and then the map, so that after a crash the map only names blocks whose data is
 * there; writes after the last flush may be gone, as on any disk. Thread-safe, but for two writers of one block.
 * Map: 64 bytes "GODWOVL1", grid u32, zero u32, size u64, root[32], zeros; then a bit for each block, lowest first.
 */
#ifndef GODWIT_SNAPSHOT_OVERLAY_FILE_H
#define GODWIT_SNAPSHOT_OVERLAY_FILE_H

#include "common/base.h"
#include "snapshot/volume.h"

struct overlay_file;

/* Made when absent. Return 0; -EINVAL when it belongs to another volume; -EBUSY when it is in use; or -errno. */
int overlay_file_open(struct overlay_file **out, const char *path, const struct volume *volume,
		      struct err *err);
/* Flushes; call overlay_file_flush before to learn whether that worked. */
void overlay_file_close(struct overlay_file *overlay);
DEFINE_CLEANUP(struct overlay_file *, overlay_file_close);

bool overlay_file_has(const struct overlay_file *overlay, uint64_t block);
void overlay_file_mark(struct overlay_file *overlay, uint64_t block);
int overlay_file_read(struct overlay_file *overlay, void *buf, size_t len, uint64_t offset,
		      struct err *err);
int overlay_file_write(struct overlay_file *overlay, const void *buf, size_t len, uint64_t offset,
		       struct err *err);
int overlay_file_flush(struct overlay_file *overlay, struct err *err);

#endif
