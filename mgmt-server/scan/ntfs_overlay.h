/* ntfs_overlay.h - files whose contents libfsntfs does not give as Windows shows them.
 *
 * CompactOS: decoded by wof_stream, for libfsntfs undoes LZX's translation of x86 calls where it never was done, and does not
 * ask who provides the contents. Contents that are not in the file at all (ntfs_reparse.h) are libfsntfs's zeros: what
 * is there is given, and the scan is incomplete.
 */
#ifndef GODWIT_SCAN_NTFS_OVERLAY_H
#define GODWIT_SCAN_NTFS_OVERLAY_H

#include "mgmt-server/scan/ntfs_value.h"
#include "mgmt-server/scan/ntfs_volume.h"
#include "mgmt-server/scan/wof_stream.h"

/* Of one volume. */
struct ntfs_overlay;

/* Return 0 or -errno. @volume and @channel must outlive it. */
int ntfs_overlay_new(struct ntfs_overlay **out, libfsntfs_volume_t *volume,
		     struct volume_channel *channel, struct err *err);
void ntfs_overlay_free(struct ntfs_overlay *overlay);
DEFINE_CLEANUP(struct ntfs_overlay *, ntfs_overlay_free);

/* Of a file's main data. */
struct ntfs_overlay_file {
	struct wof_stream *decoded; /* to be read instead of libfsntfs's; NULL: that is right */
	unsigned flags;             /* READER_UNREADABLE or READER_TRUNCATED, then why: */
	char reason[512];
	struct ntfs_value *stored; /* what decoded reads */
};

/* *out NULL: libfsntfs is right. Return 0 or -errno. */
int ntfs_overlay_look(struct ntfs_overlay_file **out, struct ntfs_overlay *overlay, uint64_t record,
		      libfsntfs_file_entry_t *entry, struct err *err);
void ntfs_overlay_file_free(struct ntfs_overlay_file *file);
DEFINE_CLEANUP(struct ntfs_overlay_file *, ntfs_overlay_file_free);

#endif
