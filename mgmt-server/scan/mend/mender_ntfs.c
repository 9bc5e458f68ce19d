/* mender_ntfs.c - one file or stream of NTFS gets another content, by libntfs-3g.
 *
 * libntfs-3g refuses a volume whose log was not written back, and one that a sleeping Windows still has mounted; the
 * dirty mark is looked at here. The file keeps its record: names, streams and rights stay.
 * Source: libntfs-3g's volume.h, attrib.h; [MS-FSCC] for the file attributes.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h> /* not after ntfs-3g, which gives time() another meaning */

#include <ntfs-3g/types.h>

#include <ntfs-3g/attrib.h>
#include <ntfs-3g/device.h>
#include <ntfs-3g/dir.h>
#include <ntfs-3g/inode.h>
#include <ntfs-3g/logging.h>
#include <ntfs-3g/unistr.h>
#include <ntfs-3g/volume.h>

#include "common/base.h"
#include "common/io.h"
#include "mgmt-server/scan/entry_channel.h"
#include "mgmt-server/scan/mend/mender.h"

enum { PIECE = 1 << 20 };

/* ---- The device: the volume channel, and a position for seek ---- */

static s64 position;

static int device_open(struct ntfs_device *dev, int flags)
{
	(void)flags;
	NDevSetOpen(dev);
	return 0;
}

static int device_close(struct ntfs_device *dev)
{
	dev->d_state &= ~(1UL << ND_Open);
	return 0;
}

static s64 device_seek(struct ntfs_device *dev, s64 offset, int whence)
{
	s64 base = whence == SEEK_CUR   ? position
		   : whence == SEEK_END ? (s64)volume_channel_size(dev->d_private)
					: 0;

	if (base + offset < 0) {
		errno = EINVAL;
		return -1;
	}
	position = base + offset;
	return position;
}

/* As many bytes of [offset, offset + count) as the volume has. */
static s64 inside(const struct ntfs_device *dev, s64 count, s64 offset)
{
	s64 size = (s64)volume_channel_size(dev->d_private);

	if (offset < 0 || count < 0 || offset >= size)
		return 0;
	return count < size - offset ? count : size - offset;
}

static s64 device_pread(struct ntfs_device *dev, void *buf, s64 count, s64 offset)
{
	s64 n = inside(dev, count, offset);
	int r = n ? volume_channel_read(dev->d_private, buf, (size_t)n, (uint64_t)offset) : 0;

	errno = r < 0 ? -r : errno;
	return r < 0 ? -1 : n;
}

static s64 device_pwrite(struct ntfs_device *dev, const void *buf, s64 count, s64 offset)
{
	s64 n = inside(dev, count, offset);
	int r = n ? volume_channel_write(dev->d_private, buf, (size_t)n, (uint64_t)offset) : 0;

	errno = r < 0 ? -r : errno;
	return r < 0 ? -1 : n;
}

static s64 device_read(struct ntfs_device *dev, void *buf, s64 count)
{
	s64 n = device_pread(dev, buf, count, position);

	position += n > 0 ? n : 0;
	return n;
}

static s64 device_write(struct ntfs_device *dev, const void *buf, s64 count)
{
	s64 n = device_pwrite(dev, buf, count, position);

	position += n > 0 ? n : 0;
	return n;
}

static int device_sync(struct ntfs_device *dev)
{
	(void)dev;
	return 0;
}

static int device_stat(struct ntfs_device *dev, struct stat *st)
{
	*st = (struct stat){ .st_mode = S_IFREG | 0600,
			     .st_size = (off_t)volume_channel_size(dev->d_private) };
	return 0;
}

static int device_ioctl(struct ntfs_device *dev, unsigned long request, void *arg)
{
	(void)dev, (void)request, (void)arg;
	errno = EOPNOTSUPP;
	return -1;
}

static struct ntfs_device_operations operations = {
	.open = device_open,
	.close = device_close,
	.seek = device_seek,
	.read = device_read,
	.write = device_write,
	.pread = device_pread,
	.pwrite = device_pwrite,
	.sync = device_sync,
	.stat = device_stat,
	.ioctl = device_ioctl,
};

/* ---- The volume ---- */

static const struct {
	int error;
	const char *why;
} refusals[] = {
	{ EPERM, "Windows only sleeps (hibernation or fast start): shut it down fully or roll back "
		 "instead" },
	{ EOPNOTSUPP,
	  "the file system was in use: its log was not written back; roll back instead" },
	{ EINVAL, "it is not an NTFS that can be changed" },
	{ EIO, "the file system is damaged" },
};

static int refused(int error, struct err *err)
{
	for (size_t i = 0; i < ARRAY_LEN(refusals); i++) {
		if (refusals[i].error == error)
			return err_say(err, EPERM, "%s", refusals[i].why);
	}
	return err_set(err, error ? error : EIO, "open the NTFS file system");
}

static int open_volume(ntfs_volume **out, struct volume_channel *volume, unsigned long flags,
		       struct err *err)
{
	struct ntfs_device *dev;

	ntfs_log_set_handler(ntfs_log_handler_null);
	ntfs_set_char_encoding("utf8");
	position = 0;
	errno = 0;
	dev = ntfs_device_alloc("volume", 0, &operations, volume);
	*out = dev ? ntfs_device_mount(dev, (ntfs_mount_flags)flags) : NULL;
	return *out ? 0 : refused(errno, err);
}

static void close_volume(ntfs_volume *volume)
{
	if (volume)
		ntfs_umount(volume, FALSE);
}
DEFINE_CLEANUP(ntfs_volume *, close_volume);

/* Opened for writing: only then libntfs-3g looks at the log and hiberfil.sys. */
static int open_clean(ntfs_volume **out, struct volume_channel *volume, struct err *err)
{
	int r = open_volume(out, volume, NTFS_MNT_NONE, err);

	if (r == 0 && (*out)->flags & VOLUME_IS_DIRTY)
		return err_say(
			err, EPERM,
			"the file system is marked as dirty: let Windows check it, or roll back "
			"instead");
	return r;
}

int mender_awake(struct volume_channel *volume, struct err *err)
{
	CLEANUP(close_volume) ntfs_volume *v = NULL;
	struct err unread = { 0 };

	if (open_volume(&v, volume, NTFS_MNT_RDONLY, &unread) < 0)
		return 0; /* damaged, or no NTFS: nobody sleeps on it */
	if (ntfs_volume_check_hiberfile(v, 0) < 0 && errno == EPERM)
		return refused(EPERM, err);
	return 0;
}

/* ---- One file ---- */

struct file {
	ntfs_inode *inode;
	ntfs_attr *data;
};

static void file_close_cleanup(struct file *f)
{
	if (f->data)
		ntfs_attr_close(f->data);
	if (f->inode)
		ntfs_inode_close(f->inode);
}

/* PATH or PATH:STREAM; no name can hold a colon. */
static int file_open(struct file *f, ntfs_volume *volume, const char *path, struct err *err)
{
	const char *colon = strchr(path, ':');
	CLEANUP_FREE char *name = strndup(path, colon ? (size_t)(colon - path) : strlen(path));
	ntfschar *stream = NULL;
	int len = 0;

	*f = (struct file){ 0 };
	if (!name)
		return err_set(err, ENOMEM, "find %s", path);
	f->inode = ntfs_pathname_to_inode(volume, NULL, name);
	if (!f->inode)
		return err_say(err, ENOENT, "there is no file %s", name);
	if (f->inode->mft_no < FILE_first_user)
		return err_say(err, EPERM, "%s belongs to the file system itself", name);
	if (colon)
		len = ntfs_mbstoucs(colon + 1, &stream);
	if (len >= 0)
		f->data = ntfs_attr_open(f->inode, AT_DATA, colon ? stream : AT_UNNAMED, (u32)len);
	free(stream);
	if (!f->data)
		return err_say(err, ENOENT, "%s has no such data", path);
	if (f->data->data_size > MENDER_FILE_MAX)
		return err_say(err, EPERM, "%s is too large to be replaced (more than %d MiB)",
			       path, MENDER_FILE_MAX >> 20);
	if (NAttrEncrypted(f->data) || f->inode->flags & FILE_ATTR_ENCRYPTED)
		return err_say(err, EPERM, "%s is encrypted by EFS; roll back instead", path);
	if (!colon && f->inode->flags & FILE_ATTR_REPARSE_POINT)
		return err_say(
			err, EPERM,
			"%s is compressed by the system or lies elsewhere (a reparse point); "
			"roll back instead",
			path);
	return 0;
}

int mender_read(struct volume_channel *volume, const char *path, int out, uint64_t *size,
		struct err *err)
{
	CLEANUP(close_volume) ntfs_volume *v = NULL;
	CLEANUP(file_close) struct file f = { 0 };
	CLEANUP_FREE uint8_t *piece = malloc(PIECE);
	int r = piece ? open_volume(&v, volume, NTFS_MNT_RDONLY, err)
		      : err_set(err, ENOMEM, "read %s", path);

	if (r == 0)
		r = file_open(&f, v, path, err);
	for (s64 at = 0; r == 0 && at < f.data->data_size;) {
		s64 n = ntfs_attr_pread(f.data, at, PIECE, piece);

		if (n <= 0)
			return err_set(err, n < 0 ? errno : EIO, "read %s", path);
		r = entry_channel_data(out, piece, (size_t)n, (uint64_t)at, err);
		at += n;
		*size = (uint64_t)at;
	}
	return r;
}

static int write_content(ntfs_attr *data, int content, uint64_t size, struct err *err)
{
	CLEANUP_FREE uint8_t *piece = malloc(PIECE);

	if (!piece)
		return err_set(err, ENOMEM, "write the new content");
	for (uint64_t at = 0; at < size;) {
		size_t n = size - at < PIECE ? (size_t)(size - at) : PIECE;

		if (io_pread_full(content, piece, n, at))
			return err_say(err, EIO, "read the new content");
		if (ntfs_attr_pwrite(data, (s64)at, (s64)n, piece) != (s64)n)
			return err_set(err, errno ? errno : EIO, "write the new content");
		at += n;
	}
	if (NAttrCompressed(data) && ntfs_attr_pclose(data) < 0)
		return err_set(err, errno, "write the new content");
	return 0;
}

int mender_replace(struct volume_channel *volume, const char *path, int content, uint64_t size,
		   struct err *err)
{
	CLEANUP(close_volume) ntfs_volume *v = NULL;
	CLEANUP(file_close) struct file f = { 0 };
	int r = open_clean(&v, volume, err);

	if (r == 0)
		r = file_open(&f, v, path, err);
	if (r < 0)
		return r;
	if ((s64)size > v->free_clusters * v->cluster_size + f.data->allocated_size)
		return err_say(err, EPERM, "the file system has no room for the clean version");
	if (ntfs_attr_truncate(f.data, 0))
		return err_set(err, errno, "empty %s", path);
	r = write_content(f.data, content, size, err);
	if (r < 0)
		return r;
	ntfs_inode_update_times(f.inode, NTFS_UPDATE_MCTIME);
	ntfs_attr_close(f.data);
	f.data = NULL;
	if (ntfs_inode_close(f.inode))
		return err_set(err, errno, "write the record of %s", path);
	f.inode = NULL;
	if (ntfs_umount(TAKE(v), FALSE))
		return err_set(err, errno, "write the file system");
	return 0;
}
