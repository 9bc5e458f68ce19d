/* nbd_input.h - an NBD export as the input of volume_put, with block status and dirty bitmaps.
 *
 * Many requests are in flight at once (one in flight gives 135 MiB/s where sixteen give 900). Source: libnbd(3), the NBD
 * protocol's "Metadata querying", QEMU docs/interop/bitmaps.
 */
#ifndef GODWIT_SNAPSHOT_NBD_INPUT_H
#define GODWIT_SNAPSHOT_NBD_INPUT_H

#include "common/base.h"
#include "snapshot/volume.h"

struct nbd_input;

struct nbd_input_options {
	const char *socket_path, *export_name;
	const char *bitmap;   /* QEMU dirty bitmap that the export offers; NULL: none wanted */
	unsigned connections; /* 0: 2 */
};
/* Return 0; -ENODATA when the export does not offer that bitmap; or -errno. */
int nbd_input_open(struct nbd_input **out, const struct nbd_input_options *options,
		   struct err *err);
void nbd_input_close(struct nbd_input *input);
DEFINE_CLEANUP(struct nbd_input *, nbd_input_close);

/* Does an NBD server greet whoever connects there? It is told that this was all, so that it does not complain. */
bool nbd_input_answers(const char *socket_path);

struct volume_input nbd_input_volume(struct nbd_input *input);

/* The extents that the bitmap marks, merged and in order; heap. */
int nbd_input_dirty(struct nbd_input *input, struct volume_extent **out, size_t *count,
		    struct err *err);

#endif
