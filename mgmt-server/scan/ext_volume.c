#include "mgmt-server/scan/ext_volume.h"

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mgmt-server/scan/ext_io.h"
#include "mgmt-server/scan/ext_journal.h"

/* This reader has exactly one volume (ext_io.h). */
static struct {
	struct volume_channel *channel;
	const struct ext_journal *overlay;
} volume;

static int read_bytes(void *buf, size_t len, uint64_t offset)
{
	return volume_channel_read(volume.channel, buf, len, offset);
}

/* Blocks of the size that the file system has; the overlay knows only those. */
static int read_blocks(void *buf, unsigned blocksize, uint64_t block, unsigned count)
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
			r = read_bytes(to, (size_t)n * blocksize, block * blocksize);
		} else {
			uint32_t be = htobe32(magic);

			n = 1;
			r = read_bytes(to, blocksize, at * blocksize);
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

static const struct ext_io io = { .read = read_bytes, .read_blocks = read_blocks };

static int open_fs(ext2_filsys *fs, struct err *err)
{
	/* Checksums are not enforced: what the guest's kernel would refuse may still be an infected file. */
	errcode_t e = ext_io_open(fs, &io, EXT2_FLAG_64BITS | EXT2_FLAG_IGNORE_CSUM_ERRORS);

	if (e)
		return err_say(err, e == EXT2_ET_UNSUPP_FEATURE ? ENOTSUP : EINVAL,
			       "open the ext file system: %s", error_message(e));
	return 0;
}

int ext_volume_open(struct ext_volume *v, struct volume_channel *channel, struct err *err)
{
	int r;

	*v = (struct ext_volume){ 0 };
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
	return read_blocks(buf, v->fs->blocksize, block, count);
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
