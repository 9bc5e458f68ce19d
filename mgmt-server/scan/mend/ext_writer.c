#include "mgmt-server/scan/mend/ext_writer.h"

#include <errno.h>

#include "mgmt-server/scan/ext_io.h"

/* What is written to: one file system at a time. */
static struct volume_channel *channel;

static int read_bytes(void *buf, size_t len, uint64_t offset)
{
	return volume_channel_read(channel, buf, len, offset);
}

static int write_bytes(const void *buf, size_t len, uint64_t offset)
{
	return volume_channel_write(channel, buf, len, offset);
}

static const struct ext_io io = { .read = read_bytes, .write = write_bytes };

int ext_writer_open(ext2_filsys *fs, struct volume_channel *volume, struct err *err)
{
	errcode_t e;

	channel = volume;
	e = ext_io_open(fs, &io, EXT2_FLAG_64BITS | EXT2_FLAG_RW | EXT2_FLAG_MASTER_SB_ONLY);
	if (e)
		return err_say(err, EPERM, "the file system cannot be changed: %s",
			       error_message(e));
	if (ext2fs_blocks_count((*fs)->super) * (*fs)->blocksize > volume_channel_size(volume))
		return err_say(err, EPERM, "the file system is larger than its partition");
	return 0;
}

void ext_writer_close(ext2_filsys fs)
{
	if (fs)
		ext2fs_free(fs);
}

int ext_writer_finish(ext2_filsys *fs, struct err *err)
{
	errcode_t e = ext2fs_flush2(*fs, 0);

	if (e)
		return err_say(err, EIO, "write the file system: %s", error_message(e));
	ext2fs_free(*fs);
	*fs = NULL;
	return 0;
}
