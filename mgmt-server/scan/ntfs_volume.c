#include "mgmt-server/scan/ntfs_volume.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The io handle of libbfio: a position in the channel. libfsntfs clones it, so each clone has a position of its own. */
struct position {
	struct volume_channel *channel;
	uint64_t at;
};

static int io_free(intptr_t **handle, libbfio_error_t **error)
{
	(void)error;
	free(*handle);
	*handle = NULL;
	return 1;
}

static int io_clone(intptr_t **to, intptr_t *from, libbfio_error_t **error)
{
	struct position *p = malloc(sizeof(*p));

	(void)error;
	if (!p)
		return -1;
	memcpy(p, from, sizeof(*p));
	*to = (intptr_t *)p;
	return 1;
}

static int io_open(intptr_t *handle, int flags, libbfio_error_t **error)
{
	(void)handle, (void)error;
	return flags & LIBBFIO_ACCESS_FLAG_WRITE ? -1 : 1;
}

static int io_close(intptr_t *handle, libbfio_error_t **error)
{
	(void)handle, (void)error;
	return 0;
}

static ssize_t io_read(intptr_t *handle, uint8_t *buf, size_t len, libbfio_error_t **error)
{
	struct position *p = (struct position *)handle;
	uint64_t size = volume_channel_size(p->channel);

	(void)error;
	if (p->at >= size)
		return 0;
	if (len > size - p->at)
		len = (size_t)(size - p->at);
	if (volume_channel_read(p->channel, buf, len, p->at) < 0)
		return -1;
	p->at += len;
	return (ssize_t)len;
}

static ssize_t io_write(intptr_t *handle, const uint8_t *buf, size_t len, libbfio_error_t **error)
{
	(void)handle, (void)buf, (void)len, (void)error;
	return -1;
}

static off64_t io_seek(intptr_t *handle, off64_t offset, int whence, libbfio_error_t **error)
{
	struct position *p = (struct position *)handle;

	(void)error;
	if (whence == SEEK_CUR)
		offset += (off64_t)p->at;
	else if (whence == SEEK_END)
		offset += (off64_t)volume_channel_size(p->channel);
	if (offset < 0)
		return -1;
	p->at = (uint64_t)offset;
	return offset;
}

static int io_yes(intptr_t *handle, libbfio_error_t **error)
{
	(void)handle, (void)error;
	return 1;
}

static int io_size(intptr_t *handle, size64_t *size, libbfio_error_t **error)
{
	(void)error;
	*size = volume_channel_size(((struct position *)handle)->channel);
	return 1;
}

void ntfs_volume_reason(libfsntfs_error_t **error, char *text, size_t cap)
{
	char all[4096] = "";

	if (*error)
		libfsntfs_error_sprint(*error, all, sizeof(all));
	libfsntfs_error_free(error);
	all[strcspn(all, "\n")] = 0;
	snprintf(text, cap, "%s", all[0] ? all : "libfsntfs gives no reason");
}

static int open_through(libfsntfs_volume_t **volume, libbfio_handle_t **io,
			struct volume_channel *channel, libfsntfs_error_t **error)
{
	struct position *p = calloc(1, sizeof(*p));

	if (!p)
		return -1;
	p->channel = channel;
	if (libbfio_handle_initialize(io, (intptr_t *)p, io_free, io_clone, io_open, io_close,
				      io_read, io_write, io_seek, io_yes, io_yes, io_size,
				      LIBBFIO_FLAG_IO_HANDLE_MANAGED, NULL) != 1) {
		free(p);
		return -1;
	}
	if (libfsntfs_volume_initialize(volume, error) != 1)
		return -1;
	return libfsntfs_volume_open_file_io_handle(*volume, *io, LIBFSNTFS_OPEN_READ, error);
}

int ntfs_volume_open(libfsntfs_volume_t **out, struct volume_channel *channel, struct err *err)
{
	/* One volume a process: libfsntfs borrows the handle for as long as the volume is open. */
	static libbfio_handle_t *io;
	libfsntfs_volume_t *volume = NULL;
	libfsntfs_error_t *error = NULL;
	char reason[512];

	if (open_through(&volume, &io, channel, &error) != 1) {
		ntfs_volume_reason(&error, reason, sizeof(reason));
		libfsntfs_volume_free(&volume, NULL);
		return err_say(err, EINVAL, "open the NTFS file system: %s", reason);
	}
	*out = volume;
	return 0;
}

void ntfs_volume_close(libfsntfs_volume_t *volume)
{
	libfsntfs_volume_close(volume, NULL);
	libfsntfs_volume_free(&volume, NULL);
}
