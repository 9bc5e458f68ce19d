#include "mgmt-server/scan/mend/ext_writer.h"

#include <errno.h>
#include <string.h>

/* libext2fs opens by name; this process has exactly one volume. */
static struct volume_channel *channel;

static errcode_t io_open(const char *name, int flags, io_channel *out);

static errcode_t io_close(io_channel io)
{
	ext2fs_free_mem(&io->name);
	ext2fs_free_mem(&io);
	return 0;
}

static errcode_t io_set_blksize(io_channel io, int blksize)
{
	if (blksize < 1024 || blksize > 65536)
		return EINVAL;
	io->block_size = blksize;
	return 0;
}

/* count < 0: that many bytes. */
static size_t bytes_of(const struct struct_io_channel *io, int count)
{
	return count < 0 ? (size_t) - (long)count : (size_t)count * (size_t)io->block_size;
}

static errcode_t io_read_blk64(io_channel io, unsigned long long block, int count, void *data)
{
	int r;

	if (block > (UINT64_MAX >> 20))
		return EINVAL;
	r = volume_channel_read(channel, data, bytes_of(io, count),
				block * (unsigned)io->block_size);
	return r < 0 ? (errcode_t)-r : 0;
}

static errcode_t io_write_blk64(io_channel io, unsigned long long block, int count,
				const void *data)
{
	int r;

	if (block > (UINT64_MAX >> 20))
		return EINVAL;
	r = volume_channel_write(channel, data, bytes_of(io, count),
				 block * (unsigned)io->block_size);
	return r < 0 ? (errcode_t)-r : 0;
}

static errcode_t io_read_blk(io_channel io, unsigned long block, int count, void *data)
{
	return io_read_blk64(io, block, count, data);
}

static errcode_t io_write_blk(io_channel io, unsigned long block, int count, const void *data)
{
	return io_write_blk64(io, block, count, data);
}

static errcode_t io_write_byte(io_channel io, unsigned long offset, int count, const void *data)
{
	int r;

	(void)io;
	if (count < 0)
		return EINVAL;
	r = volume_channel_write(channel, data, (size_t)count, offset);
	return r < 0 ? (errcode_t)-r : 0;
}

static errcode_t io_flush(io_channel io)
{
	(void)io;
	return 0;
}

static struct struct_io_manager manager = {
	.magic = EXT2_ET_MAGIC_IO_MANAGER,
	.name = "godwit overlay",
	.open = io_open,
	.close = io_close,
	.set_blksize = io_set_blksize,
	.read_blk = io_read_blk,
	.read_blk64 = io_read_blk64,
	.write_blk = io_write_blk,
	.write_blk64 = io_write_blk64,
	.write_byte = io_write_byte,
	.flush = io_flush,
};

static errcode_t io_open(const char *name, int flags, io_channel *out)
{
	io_channel io;
	errcode_t e = ext2fs_get_memzero(sizeof(*io), &io);

	(void)flags;
	if (e)
		return e;
	e = ext2fs_get_mem(strlen(name) + 1, &io->name);
	if (e) {
		ext2fs_free_mem(&io);
		return e;
	}
	strcpy(io->name, name);
	io->magic = EXT2_ET_MAGIC_IO_CHANNEL;
	io->manager = &manager;
	io->block_size = 1024;
	io->refcount = 1;
	*out = io;
	return 0;
}

int ext_writer_open(ext2_filsys *fs, struct volume_channel *volume, struct err *err)
{
	errcode_t e;

	initialize_ext2_error_table();
	channel = volume;
	e = ext2fs_open2("volume", NULL, EXT2_FLAG_64BITS | EXT2_FLAG_RW | EXT2_FLAG_MASTER_SB_ONLY,
			 0, 0, &manager, fs);
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
