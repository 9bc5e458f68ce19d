/* mender_ext.c - one file of ext2, ext3 or ext4 gets another content, by libext2fs.
 *
 * The file keeps its inode, so every name of it, its owner, rights and extended attributes stay; its blocks are given
 * back and others taken. Nothing is journalled: the file system must be clean, and is again afterwards.
 * Reading goes through ext_volume, which replays a journal in memory: the clean version may come from a live snapshot.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/io.h"
#include "mgmt-server/scan/entry_channel.h"
#include "mgmt-server/scan/ext_volume.h"
#include "mgmt-server/scan/mend/ext_writer.h"
#include "mgmt-server/scan/mend/mender.h"

enum { PIECE = 1 << 20 };

static const uint32_t kept_as_they_are =
	EXT4_ENCRYPT_FL | EXT4_VERITY_FL | EXT2_IMMUTABLE_FL | EXT4_INLINE_DATA_FL;

static int refuse(struct err *err, const char *why)
{
	return err_say(err, EPERM, "%s", why);
}

static int judge(ext2_filsys fs, struct err *err)
{
	if (ext2fs_has_feature_journal_needs_recovery(fs->super))
		return refuse(
			err,
			"the file system was in use: its journal holds changes that have to be "
			"replayed first; roll back instead");
	if (!(fs->super->s_state & EXT2_VALID_FS) || fs->super->s_state & EXT2_ERROR_FS)
		return refuse(
			err,
			"the file system is marked as damaged or not unmounted; roll back instead");
	return 0;
}

int mender_awake(struct volume_channel *volume, struct err *err)
{
	(void)volume, (void)err;
	return 0; /* a sleeping Linux leaves its file systems in need of recovery, which judge() sees */
}

/* The inode at @path, which may be changed. */
static int find(ext2_filsys fs, const char *path, ext2_ino_t *number, struct ext2_inode *inode,
		struct err *err)
{
	errcode_t e = ext2fs_namei(fs, EXT2_ROOT_INO, EXT2_ROOT_INO, path, number);

	if (!e)
		e = ext2fs_read_inode(fs, *number, inode);
	if (e)
		return err_say(err, ENOENT, "find %s: %s", path, error_message(e));
	if (!LINUX_S_ISREG(inode->i_mode) || *number < EXT2_FIRST_INODE(fs->super))
		return err_say(err, EPERM, "%s is not a regular file", path);
	if (EXT2_I_SIZE(inode) > MENDER_FILE_MAX)
		return err_say(err, EPERM, "%s is too large to be replaced (more than %d MiB)",
			       path, MENDER_FILE_MAX >> 20);
	return 0;
}

static void ext_volume_close_cleanup(struct ext_volume *v)
{
	ext_volume_close(v);
}

int mender_read(struct volume_channel *volume, const char *path, int out, uint64_t *size,
		struct err *err)
{
	CLEANUP_FREE uint8_t *piece = malloc(PIECE);
	CLEANUP(ext_volume_close) struct ext_volume v = { 0 };
	struct ext2_inode inode;
	ext2_ino_t number;
	ext2_file_t file = NULL;
	uint64_t done = 0;
	unsigned got = 0;
	errcode_t e = 0;
	int r = piece ? ext_volume_open(&v, volume, err) : err_set(err, ENOMEM, "read %s", path);

	if (r == 0 && v.unreplayed.why)
		r = err_say(err, EPERM, "%s cannot be read: %s", path, v.unreplayed.why);
	if (r == 0)
		r = find(v.fs, path, &number, &inode, err);
	if (r == 0 && inode.i_flags & EXT4_ENCRYPT_FL)
		r = err_say(err, EPERM, "%s is encrypted", path);
	if (r == 0)
		e = ext2fs_file_open2(v.fs, number, &inode, 0, &file);
	while (r == 0 && !e && done < EXT2_I_SIZE(&inode)) {
		e = ext2fs_file_read(file, piece, PIECE, &got);
		if (e || !got)
			break;
		r = entry_channel_data(out, piece, got, done, err);
		done += got;
	}
	*size = done;
	if (file)
		ext2fs_file_close(file);
	if (r == 0 && (e || done != EXT2_I_SIZE(&inode)))
		r = err_say(err, EIO, "read %s: %s", path, e ? error_message(e) : "it ends early");
	return r;
}

static int write_content(ext2_filsys fs, ext2_ino_t number, int content, uint64_t size,
			 struct err *err)
{
	CLEANUP_FREE uint8_t *piece = malloc(PIECE);
	ext2_file_t file = NULL;
	errcode_t e = piece ? ext2fs_file_open(fs, number, EXT2_FILE_WRITE, &file) : ENOMEM;

	for (uint64_t at = 0; !e && at < size;) {
		size_t n = size - at < PIECE ? (size_t)(size - at) : PIECE;
		unsigned put = 0;

		if (io_pread_full(content, piece, n, at))
			e = EIO;
		else
			e = ext2fs_file_write(file, piece, (unsigned)n, &put);
		if (!e && put != n)
			e = EXT2_ET_BLOCK_ALLOC_FAIL;
		at += n;
	}
	if (file) {
		errcode_t closed = ext2fs_file_close(file);

		e = e ? e : closed;
	}
	return e ? err_say(err, EIO, "write the new content: %s", error_message(e)) : 0;
}

/* Give the blocks back and make the inode one of an empty file. */
static errcode_t empty(ext2_filsys fs, ext2_ino_t number, struct ext2_inode *inode, uint64_t size)
{
	errcode_t e = ext2fs_punch(fs, number, inode, NULL, 0, ~0ULL);

	if (!e)
		e = ext2fs_read_inode(fs, number, inode);
	if (!e)
		e = ext2fs_inode_size_set(fs, inode, (ext2_off64_t)size);
	inode->i_mtime = inode->i_ctime = (uint32_t)time(NULL);
	return e ? e : ext2fs_write_inode(fs, number, inode);
}

int mender_replace(struct volume_channel *volume, const char *path, int content, uint64_t size,
		   struct err *err)
{
	CLEANUP(ext_writer_close) ext2_filsys fs = NULL;
	struct ext2_inode inode;
	ext2_ino_t number;
	errcode_t e;
	int r = ext_writer_open(&fs, volume, err);

	if (r == 0)
		r = judge(fs, err);
	if (r == 0)
		r = find(fs, path, &number, &inode, err);
	if (r < 0)
		return r;
	if (inode.i_flags & kept_as_they_are)
		return err_say(
			err, EPERM,
			"%s is encrypted, sealed (verity), immutable or kept inside its inode; "
			"roll back instead",
			path);
	e = ext2fs_read_bitmaps(fs);
	if (e)
		return err_say(err, EIO, "read the block bitmaps: %s", error_message(e));
	if (size / fs->blocksize + 64 >
	    ext2fs_free_blocks_count(fs->super) + EXT2_I_SIZE(&inode) / fs->blocksize)
		return refuse(err, "the file system has no room for the clean version");
	e = empty(fs, number, &inode, size);
	if (e)
		return err_say(err, EIO, "empty %s: %s", path, error_message(e));
	r = write_content(fs, number, content, size, err);
	return r < 0 ? r : ext_writer_finish(&fs, err);
}
