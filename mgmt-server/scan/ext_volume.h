/* ext_volume.h - an ext2/3/4 file system as it would be after its journal was replayed, without writing a byte.
 *
 * Blocks that committed transactions hold are read from the journal instead of from their place; libext2fs sees one
 * consistent file system. A file that was fsynced a moment before the snapshot is invisible without this.
 * Source: kernel Documentation/filesystems/ext4/journal.rst; fs/jbd2/recovery.c for the meaning of revokes.
 */
#ifndef GODWIT_SCAN_EXT_VOLUME_H
#define GODWIT_SCAN_EXT_VOLUME_H

#include <ext2fs/ext2fs.h>

#include "common/base.h"
#include "common/err.h"
#include "mgmt-server/scan/ext_journal.h"
#include "mgmt-server/scan/volume_channel.h"

struct ext_volume {
	ext2_filsys fs;
	struct ext_journal *overlay; /* NULL: nothing to replay */
	struct ext_journal_lack unreplayed;
};

/* One at a time. Return 0, -ENOTSUP when libext2fs does not know a feature that it has, -EINVAL when this is no readable ext
 * file system (both with libext2fs's reason), or -errno. */
int ext_volume_open(struct ext_volume *v, struct volume_channel *channel, struct err *err);
void ext_volume_close(struct ext_volume *v);

/* @count blocks from @block on, the journal's version where there is one. Return 0 or -errno. */
int ext_volume_read(struct ext_volume *v, uint64_t block, unsigned count, void *buf);

/* Does the journal hold a newer version of any of these blocks? Then what the volume has there is not what counts. */
bool ext_volume_replayed(const struct ext_volume *volume, uint64_t block, uint64_t count);

#endif
