#include "mgmt-server/scan/ext_volume.h"

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mgmt-server/scan/ext_journal.h"

/* libext2fs opens by name; this reader has exactly one volume, so the manager finds it here. */
static struct {
	struct volume_channel *channel;
	const struct ext_journal *overlay;
} volume;

static int read_bytes(uint64_t offset, size_t len, void *buf)
{
	return volume_channel_read(volume.channel, buf, len, offset);
}

/* Blocks of the size that the file system has; the overlay knows only those. */
static int read_blocks(unsigned blocksize, uint64_t block, unsigned count, void *buf)
{
	static const uint32_t magic = 0xC03B3998u;
	uint8_t *to = buf;
	uint64_t at = 0;
	bool escaped = false;

	while (count) {
		unsigned n = 0;
		int r;

		while (n < count && !(volume.overlay &&
				      ext_journal_find(volume.overlay, block + n, &at, &escaped)))
			n++;
		if (n) {
			r = read_bytes(block * blocksize, (size_t)n * blocksize, to);
		} else {
			uint32_t be = htobe32(magic);

			n = 1;
			r = read_bytes(at * blocksize, blocksize, to);
			if (r == 0 && escaped)
				memcpy(to, &be, sizeof(be));
		}
		if (r < 0)
			return r;
		to += (size_t)n * blocksize;
		block += n;
		count -= n;
	}
	return 0;
}

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

/* count < 0: that many bytes. The superblock is read so, at a block size of 1024, before the real size is known. */
static errcode_t io_read_blk64(io_channel io, unsigned long long block, int count, void *data)
{
	unsigned blocksize = (unsigned)io->block_size;
	int r;

	if (block > (UINT64_MAX >> 20))
		return EINVAL;
	if (count < 0)
		r = read_bytes(block * blocksize, (size_t) - (long)count, data);
	else
		r = read_blocks(blocksize, block, (unsigned)count, data);
	return r < 0 ? (errcode_t)-r : 0;
}

static errcode_t io_read_blk(io_channel io, unsigned long block, int count, void *data)
{
	return io_read_blk64(io, block, count, data);
}

static errcode_t io_write_blk64(io_channel io, unsigned long long block, int count,
				const void *data)
{
	(void)io, (void)block, (void)count, (void)data;
	return EROFS;
}

static errcode_t io_write_blk(io_channel io, unsigned long block, int count, const void *data)
{
	return io_write_blk64(io, block, count, data);
}

static errcode_t io_flush(io_channel io)
{
	(void)io;
	return 0;
}

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

static int open_fs(ext2_filsys *fs, struct err *err)
{
	/* Checksums are not enforced: what the guest's kernel would refuse may still be an infected file. */
	errcode_t e = ext2fs_open2("volume", NULL, EXT2_FLAG_64BITS | EXT2_FLAG_IGNORE_CSUM_ERRORS,
				   0, 0, &manager, fs);

	if (e)
		return err_say(err, EINVAL, "open the ext file system: %s", error_message(e));
	return 0;
}

int ext_volume_open(struct ext_volume *v, struct volume_channel *channel, struct err *err)
{
	int r;

	*v = (struct ext_volume){ 0 };
	initialize_ext2_error_table();
	volume.channel = channel;
	volume.overlay = NULL;

	r = open_fs(&v->fs, err);
	if (r < 0)
		return r;
	r = ext_journal_load(&v->overlay, v->fs, &v->unreplayed, err);
	if (r < 0) {
		ext_volume_close(v);
		return r;
	}
	if (!v->overlay)
		return 0;

	/* Group descriptors may have newer versions too: open again, through the overlay. */
	ext2fs_free(v->fs);
	v->fs = NULL;
	volume.overlay = v->overlay;
	r = open_fs(&v->fs, err);
	if (r < 0)
		ext_volume_close(v);
	return r;
}

void ext_volume_close(struct ext_volume *v)
{
	if (v->fs)
		ext2fs_free(v->fs);
	ext_journal_free(v->overlay);
	volume.overlay = NULL;
	*v = (struct ext_volume){ 0 };
}

int ext_volume_read(struct ext_volume *v, uint64_t block, unsigned count, void *buf)
{
	return read_blocks(v->fs->blocksize, block, count, buf);
}

bool ext_volume_replayed(const struct ext_volume *v, uint64_t block, uint64_t count)
{
	uint64_t at;
	bool escaped;

	for (uint64_t i = 0; v->overlay && i < count; i++) {
		if (ext_journal_find(v->overlay, block + i, &at, &escaped))
			return true;
	}
	return false;
}
