#include "mgmt-server/cli/cli_image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/io.h"
#include "mgmt-server/cli/cli_nbd.h"
#include "snapshot/file_input.h"

enum { SECTOR = 512, START_BYTES = 4096 };

struct cli_image {
	const char *format;
	struct file_input *raw;   /* raw only ... */
	struct volume_input file; /* ... as it is */
	struct cli_nbd *nbd;      /* every other format */
	struct volume_input input;
};

struct signature {
	size_t at, len;
	const char *bytes;
	const char *format; /* NULL: not a disk image */
	const char *advice;
};

static const char unpack_first[] = "is compressed or an archive, not a disk image: unpack it "
				   "first, then import what was in it";

static const struct signature signatures[] = {
	{ 0, 4, "QFI\xfb", "qcow2", NULL },
	{ 0, 4, "KDMV", "vmdk", NULL },
	{ 0, 4, "COWD", "vmdk", NULL },
	{ 0, 21, "# Disk DescriptorFile", "vmdk", NULL },
	{ 0, 8, "vhdxfile", "vhdx", NULL },
	{ 0, 8, "conectix", "vhd", NULL },
	{ 64, 4, "\x7f\x10\xda\xbe", "vdi", NULL },
	{ 0, 2, "\x1f\x8b", NULL, unpack_first },
	{ 0, 6,
	  "\xfd"
	  "7zXZ\0",
	  NULL, unpack_first },
	{ 0, 4, "\x28\xb5\x2f\xfd", NULL, unpack_first },
	{ 0, 3, "BZh", NULL, unpack_first },
	{ 0, 4, "PK\x03\x04", NULL, unpack_first },
	{ 257, 5, "ustar", NULL, unpack_first },
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

/* ---- Raw: the file itself, filled up to a whole sector ---- */

static int raw_read(void *ctx, uint8_t *buf, size_t len, uint64_t offset, struct err *err)
{
	const struct cli_image *image = ctx;
	uint64_t size = image->file.size;
	size_t there = len;

	if (offset >= size)
		there = 0;
	else if (len > size - offset)
		there = (size_t)(size - offset);
	memset(buf + there, 0, len - there);
	return there ? image->file.read(image->file.ctx, buf, there, offset, err) : 0;
}

static int raw_extent(void *ctx, uint64_t offset, uint64_t *len, bool *zero, struct err *err)
{
	const struct cli_image *image = ctx;

	if (offset < image->file.size)
		return image->file.extent(image->file.ctx, offset, len, zero, err);
	*len = image->input.size - offset;
	*zero = true;
	return 0;
}

static int open_raw(struct cli_image *image, const char *path, struct err *err)
{
	int r = file_input_open(&image->raw, path, err);

	if (r < 0)
		return r;
	image->file = file_input_volume(image->raw);
	image->input = (struct volume_input){
		.ctx = image,
		.size = (image->file.size + SECTOR - 1) / SECTOR * SECTOR,
		.read = raw_read,
		.extent = image->file.extent ? raw_extent : NULL,
	};
	return 0;
}

/* ---- Which one is it ---- */

static int open_file(const char *path, int *fd, uint64_t *size, struct err *err)
{
	struct stat st;
	off_t end;

	*fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (*fd < 0 || fstat(*fd, &st) < 0)
		return err_set(err, errno, "open %s", path);
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return err_say(err, EINVAL, "%s is neither a file nor a disk", path);
	end = lseek(*fd, 0, SEEK_END);
	if (end < 0)
		return err_set(err, errno, "find the size of %s", path);
	*size = (uint64_t)end;
	return end > 0 ? 0 : err_say(err, EINVAL, "%s is empty", path);
}

static int recognise(const char *path, const char **format, struct err *err)
{
	uint8_t start[START_BYTES], end[SECTOR];
	const char *advice = NULL;
	CLEANUP_FD int fd = -1;
	bool has_end;
	uint64_t size;
	size_t len;
	int r;

	r = open_file(path, &fd, &size, err);
	if (r < 0 || *format)
		return r;
	has_end = size >= 2 * SECTOR;
	len = size < sizeof(start) ? (size_t)size : sizeof(start);
	if (io_pread_full(fd, start, len, 0) != 0 ||
	    (has_end && io_pread_full(fd, end, SECTOR, size - SECTOR) != 0))
		return err_say(err, EIO, "%s can't be read", path);
	if (cli_image_recognise(start, len, has_end ? end : NULL, format, &advice) != 0)
		return err_say(err, EINVAL, "%s %s", path, advice);
	return 0;
}

int cli_image_open(struct cli_image **out, const struct cli_image_options *options, struct err *err)
{
	CLEANUP(cli_image_close) struct cli_image *image = calloc(1, sizeof(*image));
	int r;

	if (!image)
		return err_set(err, ENOMEM, "open %s", options->path);
	image->format = options->format;
	r = recognise(options->path, &image->format, err);
	if (r < 0)
		return r;
	if (strcmp(image->format, "raw") == 0) {
		r = open_raw(image, options->path, err);
	} else {
		struct cli_nbd_options nbd = {
			.path = options->path,
			.driver = strcmp(image->format, "vhd") == 0 ? "vpc" : image->format,
			.follow_backing = options->follow_backing,
		};

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
	if (image->raw)
		file_input_close(image->raw);
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
