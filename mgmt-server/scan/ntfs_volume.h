/* ntfs_volume.h - libfsntfs reading through a volume channel. Source: libbfio's and libfsntfs's headers, version 2020. */
#ifndef GODWIT_SCAN_NTFS_VOLUME_H
#define GODWIT_SCAN_NTFS_VOLUME_H

#include <libbfio.h>
#include <libfsntfs.h>

#include "common/err.h"
#include "mgmt-server/scan/volume_channel.h"

/* Return 0, or -EINVAL with libfsntfs's reason. @channel must outlive the volume. */
int ntfs_volume_open(libfsntfs_volume_t **out, struct volume_channel *channel, struct err *err);
void ntfs_volume_close(libfsntfs_volume_t *volume);

/* The first line of what libfsntfs says of @error (which is freed) into @text. */
void ntfs_volume_reason(libfsntfs_error_t **error, char *text, size_t cap);

#endif
