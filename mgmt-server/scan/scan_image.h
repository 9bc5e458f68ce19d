/* scan_image.h - an image file as the input of a scan: raw as it lies there, qcow2 through qemu-nbd, read-only. */
#ifndef GODWIT_SCAN_SCAN_IMAGE_H
#define GODWIT_SCAN_SCAN_IMAGE_H

#include "common/base.h"
#include "common/err.h"
#include "snapshot/volume.h"

struct scan_image;

/* Return 0; -ENOTSUP for an image that needs another file (backing file, external data) or a key; or -errno. */
int scan_image_open(struct scan_image **out, const char *path, struct err *err);
void scan_image_close(struct scan_image *image);
DEFINE_CLEANUP(struct scan_image *, scan_image_close);

struct volume_input scan_image_input(struct scan_image *image);

/* For struct scan_volume: a socket with the same bytes; ctx is that of scan_image_input. */
int scan_image_nbd_socket(void *ctx, const char **path, struct err *err);

#endif
