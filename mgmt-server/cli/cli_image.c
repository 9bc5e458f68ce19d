#include "mgmt-server/cli/cli_image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/io.h"
#include "mgmt-server/cli/cli_nbd.h"

enum { SECTOR = 512, START_BYTES = 4096 };

struct cli_image {
	const char *format;
	int fd;              /* raw only, else -1 */
	uint64_t file_size;  /* raw only */
	struct cli_nbd *nbd; /* every other format */
	struct volume_input input;
};

struct signature {
	size_t at, len;
	const char *bytes;
	const char *format; /* NULL: not a disk image */
	const char *advice;
};

static const char unpack_first[] =
    "is compressed or an archive, not a disk image: unpack it first, then import what was in it";

static const struct signature signatures[] = {
    {0, 4, "QFI\xfb", "qcow2", NULL},
    {0, 4, "KDMV", "vmdk", NULL},
    {0, 4, "COWD", "vmdk", NULL},
    {0, 21, "# Disk DescriptorFile", "vmdk", NULL},
    {0, 8, "vhdxfile", "vhdx", NULL},
    {0, 8, "conectix", "vhd", NULL},
    {64, 4, "\x7f\x10\xda\xbe", "vdi", NULL},
    {0, 2, "\x1f\x8b", NULL, unpack_first},
    {0, 6,
     "\xfd"
     "7zXZ\0",
     NULL, unpack_first},
    {0, 4, "\x28\xb5\x2f\xfd", NULL, unpack_first},
    {0, 3, "BZh", NULL, unpack_first},
    {0, 4, "PK\x03\x04", NULL, unpack_first},
    {257, 5, "ustar", NULL, unpack_first},
};

int cli_image_recognise(const uint8_t *start, size_t len, const uint8_t *end, const char **format,
			const char **advice)
{
	size_t i;

	for (i = 0; i < ARRAY_LEN(signatures); i++) {
		const struct signature *s = &signatures[i];

		if (s->at + s->len > len || memcmp(start + s->at, s->bytes, s->len) != 0)
			continue;
		*format = s->format;
		*advice = s->advice;
		return s->format ? 0 : CLI_IMAGE_NOT_ONE;
	}
	/* A VHD of fixed size has its mark in the footer only. */
	*format = end && memcmp(end, "conectix", 8) == 0 ? "vhd" : "raw";
	return 0;
}

/* ---- Raw: the file itself ---- */

static int raw_read(void *ctx, uint8_t *buf, size_t len, uint64_t offset, struct err *err)
{
	const struct cli_image *image = ctx;
	size_t there = offset >= image->file_size        ? 0
		       : len > image->file_size - offset ? (size_t)(image->file_size - offset)
							 : len;
	int r = there ? io_pread_full(image->fd, buf, there, offset) : 0;

	if (r == IO_SHORT)
		return err_say(err, EIO, "the image became shorter while it was read");
	if (r < 0)
		return err_set(err, -r, "read the image at byte %llu", (unsigned long long)offset);
	memset(buf + there, 0, len - there);
	return 0;
}

static int raw_extent(void *ctx, uint64_t offset, uint64_t *len, bool *zero, struct err *err)
{
	const struct cli_image *image = ctx;
	off_t at = (off_t)offset, next;

	(void)err;
	*len = image->input.size - offset;
	*zero = offset >= image->file_size;
	if (*zero)
		return 0;
	next = lseek(image->fd, at, SEEK_DATA);
	if (next < 0 && errno == ENXIO) {
		*zero = true; /* a hole up to the end */
		return 0;
	}
	if (next > at) {
		*zero = true;
	} else {
		next = next < 0 ? -1 : lseek(image->fd, at, SEEK_HOLE);
		if (next < 0)
			next = (off_t)image->file_size; /* no holes on this file system */
	}
	if ((uint64_t)next > offset && (uint64_t)next - offset < *len)
		*len = (uint64_t)next - offset;
	return 0;
}

static int open_raw(struct cli_image *image)
{
	image->input = (struct volume_input){
	    .ctx = image,
	    .size = (image->file_size + SECTOR - 1) / SECTOR * SECTOR,
	    .read = raw_read,
	    .extent = raw_extent,
	};
	return 0;
}

/* ---- Which one is it ---- */

static int open_file(struct cli_image *image, const char *path, struct err *err)
{
	struct stat st;
	off_t end;

	image->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (image->fd < 0 || fstat(image->fd, &st) < 0)
		return err_set(err, errno, "open %s", path);
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return err_say(err, EINVAL, "%s is neither a file nor a disk", path);
	end = lseek(image->fd, 0, SEEK_END);
	if (end < 0)
		return err_set(err, errno, "find the size of %s", path);
	if (end == 0)
		return err_say(err, EINVAL, "%s is empty", path);
	image->file_size = (uint64_t)end;
	return 0;
}

static int recognise(struct cli_image *image, const char *path, struct err *err)
{
	uint8_t start[START_BYTES], end[SECTOR];
	bool has_end = image->file_size >= 2 * SECTOR;
	size_t len = image->file_size < sizeof(start) ? (size_t)image->file_size : sizeof(start);
	const char *advice = NULL;

	if (io_pread_full(image->fd, start, len, 0) != 0 ||
	    (has_end && io_pread_full(image->fd, end, SECTOR, image->file_size - SECTOR) != 0))
		return err_say(err, EIO, "%s can't be read", path);
	if (cli_image_recognise(start, len, has_end ? end : NULL, &image->format, &advice) != 0)
		return err_say(err, EINVAL, "%s %s", path, advice);
	return 0;
}

int cli_image_open(struct cli_image **out, const struct cli_image_options *options, struct err *err)
{
	CLEANUP(cli_image_close) struct cli_image *image = calloc(1, sizeof(*image));
	int r;

	if (!image)
		return err_set(err, ENOMEM, "open %s", options->path);
	image->fd = -1;
	image->format = options->format;
	r = open_file(image, options->path, err);
	if (r == 0 && !image->format)
		r = recognise(image, options->path, err);
	if (r < 0)
		return r;
	if (strcmp(image->format, "raw") == 0) {
		r = open_raw(image);
	} else {
		struct cli_nbd_options nbd = {
		    .path = options->path,
		    .driver = strcmp(image->format, "vhd") == 0 ? "vpc" : image->format,
		    .follow_backing = options->follow_backing,
		};

		base_close(TAKE_FD(image->fd));
		r = cli_nbd_open(&image->nbd, &nbd, err);
		if (r == 0)
			image->input = cli_nbd_input(image->nbd);
	}
	if (r == 0)
		*out = TAKE(image);
	return r;
}

void cli_image_close(struct cli_image *image)
{
	if (!image)
		return;
	cli_nbd_close(image->nbd);
	base_close(image->fd);
	free(image);
}

struct volume_input cli_image_input(struct cli_image *image)
{
	return image->input;
}

const char *cli_image_format(const struct cli_image *image)
{
	return image->format;
}
