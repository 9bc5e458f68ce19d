/* ext_io.c - see ext_io.h. Source: e2fsprogs 1.47, lib/ext2fs/ext2_io.h and unix_io.c. */
#include "mgmt-server/scan/ext_io.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

/* For io_open(), which libext2fs calls with a name only. */
static const struct ext_io *opening;

static const struct ext_io *volume_of(const struct struct_io_channel *io)
{
	return io->private_data;
}

static errcode_t code(int r)
{
	return r < 0 ? (errcode_t)-r : 0;
}

/* What @count means to libext2fs; below 0: that many bytes. The superblock is read so. */
static size_t bytes_of(const struct struct_io_channel *io, int count)
{
	return count < 0 ? (size_t) - (long)count : (size_t)count * (size_t)io->block_size;
}

/* A block number whose place in bytes fits 64 bits, at any block size. */
static bool in_range(unsigned long long block)
{
	return block <= (UINT64_MAX >> 20);
}

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

static errcode_t io_read_blk64(io_channel io, unsigned long long block, int count, void *data)
{
	const struct ext_io *volume = volume_of(io);
	unsigned blocksize = (unsigned)io->block_size;

	if (!in_range(block))
		return EINVAL;
	if (count >= 0 && volume->read_blocks)
		return code(volume->read_blocks(data, blocksize, block, (unsigned)count));
	return code(volume->read(data, bytes_of(io, count), block * blocksize));
}

static errcode_t write_bytes(io_channel io, const void *data, size_t len, uint64_t offset)
{
	const struct ext_io *volume = volume_of(io);

	return volume->write ? code(volume->write(data, len, offset)) : EROFS;
}

static errcode_t io_write_blk64(io_channel io, unsigned long long block, int count,
				const void *data)
{
	if (!in_range(block))
		return EINVAL;
	return write_bytes(io, data, bytes_of(io, count), block * (unsigned)io->block_size);
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
	return count < 0 ? EINVAL : write_bytes(io, data, (size_t)count, offset);
}

static errcode_t io_flush(io_channel io)
{
	(void)io;
	return 0;
}

static errcode_t io_open(const char *name, int flags, io_channel *out);

static struct struct_io_manager manager = {
	.magic = EXT2_ET_MAGIC_IO_MANAGER,
	.name = "godwit volume channel",
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
	io->private_data = (void *)(uintptr_t)opening;
	io->refcount = 1;
	*out = io;
	return 0;
}

errcode_t ext_io_open(ext2_filsys *fs, const struct ext_io *io, int flags)
{
	initialize_ext2_error_table();
	opening = io;
	return ext2fs_open2("volume", NULL, flags, 0, 0, &manager, fs);
}
