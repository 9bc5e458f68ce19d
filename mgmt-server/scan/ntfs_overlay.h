/* ntfs_overlay.h - files whose contents libfsntfs does not give as Windows shows them.
 *
 * CompactOS: decoded by wof_stream, for libfsntfs undoes LZX's translation of x86 calls where it never was done, and does not
 * ask who provides the contents. Contents that are not in the file at all (ntfs_reparse.h) are libfsntfs's zeros: what
 * is there is given, and the scan is incomplete. Streams that say themselves that they are encrypted, and compressed ones that were
 * never written, are as they lie on disk to libfsntfs.
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

struct ntfs_overlay_file {
	bool encrypted;  /* its data or a stream: what clusters hold is not what Windows shows */
	bool compressed; /* ask ntfs_overlay_is_unwritten */

	/* Of the main data: */
	struct wof_stream *decoded; /* to be read instead of libfsntfs's; NULL: that is right */
	unsigned flags;             /* READER_UNREADABLE or READER_TRUNCATED, then why: */
	char reason[512];
	struct ntfs_value *stored; /* what decoded reads */
};

/* A compressed stream ("": the main data) of which nothing was ever written: zeros, where libfsntfs gives what lay in its
 * clusters before. False, too, for streams whose names are not ASCII: then more is scanned than Windows shows. */
bool ntfs_overlay_is_unwritten(const struct ntfs_overlay *overlay, uint64_t record,
			       const char *stream);

/* *out NULL: libfsntfs is right. Return 0 or -errno. */
int ntfs_overlay_look(struct ntfs_overlay_file **out, struct ntfs_overlay *overlay, uint64_t record,
		      libfsntfs_file_entry_t *entry, struct err *err);
void ntfs_overlay_file_free(struct ntfs_overlay_file *file);
DEFINE_CLEANUP(struct ntfs_overlay_file *, ntfs_overlay_file_free);

#endif
