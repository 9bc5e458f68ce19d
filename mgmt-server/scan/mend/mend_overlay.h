/* mend_overlay.h - a volume with local changes: what a mender writes lands here, whole blocks of the store's grid.
 *
 * The file is sparse, as large as the volume, and holds exactly the blocks that differ: together with the list of their
 * extents it is what an incremental put wants (volume_put, godwit-store put --changed). Not durable, not thread-safe.
 */
#ifndef GODWIT_SCAN_MEND_OVERLAY_H
#define GODWIT_SCAN_MEND_OVERLAY_H

#include "common/base.h"
#include "snapshot/volume.h"

struct mend_overlay;

/* @base must live longer; @path is made, and must not exist. */
int mend_overlay_new(struct mend_overlay **out, const struct volume_input *base, const char *path,
		     struct err *err);
void mend_overlay_free(struct mend_overlay *overlay);
DEFINE_CLEANUP(struct mend_overlay *, mend_overlay_free);

/* The changed volume, for reading. */
struct volume_input mend_overlay_input(struct mend_overlay *overlay);

/* Only bytes in [offset, offset + length) may be changed from now on: everything else is answered with -EPERM. */
void mend_overlay_allow(struct mend_overlay *overlay, uint64_t offset, uint64_t length);
/* A volume_channel_write_fn; ctx: the overlay. */
int mend_overlay_write(void *ctx, const uint8_t *buf, size_t len, uint64_t offset, struct err *err);

/* The changed extents, one "OFFSET LENGTH" a line, into the file @path; *bytes: their sum. Return 0 or -errno. */
int mend_overlay_extents(const struct mend_overlay *overlay, const char *path, uint64_t *bytes,
			 struct err *err);

#endif
