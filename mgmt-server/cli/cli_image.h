/* cli_image.h - a disk image as the input of volume_put, whatever its format.
 *
 * Raw files and block devices are read directly, holes unread. Everything else goes through a `qemu-nbd --read-only` of
 * our own on a socket in a private folder; it dies with us. The format is recognised here, from the first bytes, and
 * QEMU never guesses: a raw disk whose guest wrote a qcow2 header into it stays a raw disk if --format says so.
 * Source: QEMU docs/interop/qcow2; VMware "Virtual Disk Format 5.0"; [MS-VHDX] 2.2; qemu-nbd(8).
 */
#ifndef GODWIT_CLI_IMAGE_H
#define GODWIT_CLI_IMAGE_H

#include "common/base.h"
#include "snapshot/volume.h"

struct cli_image;

struct cli_image_options {
	const char *path;
	const char *format; /* one of CLI_IMAGE_FORMATS; NULL: recognise it */
	bool follow_backing; /* read the other files that the image refers to; without it they are an error */
};
#define CLI_IMAGE_FORMATS "raw|qcow2|vmdk|vhdx|vhd|vdi"

/**
 * cli_image_open(out, options, err):
 * Return 0; -EINVAL for compressed files and archives, and for images that refer to other files (the text says what to
 * do); -ENOENT also when qemu-nbd is not installed; or -errno.
 */
int cli_image_open(struct cli_image **out, const struct cli_image_options *options,
		   struct err *err);
void cli_image_close(struct cli_image *image);
DEFINE_CLEANUP(struct cli_image *, cli_image_close);

/* A whole number of 512-byte sectors; what a raw file lacks at its end reads as zeros. Lives as long as @image. */
struct volume_input cli_image_input(struct cli_image *image);
const char *cli_image_format(const struct cli_image *image);

enum { CLI_IMAGE_NOT_ONE = 1 };
/**
 * cli_image_recognise(start, len, end, format, advice):
 * start   the first @len bytes
 * end     the last 512 bytes, or NULL
 * format  out: one of CLI_IMAGE_FORMATS
 *
 * Return 0, or CLI_IMAGE_NOT_ONE with *advice saying what this is and what to do.
 */
int cli_image_recognise(const uint8_t *start, size_t len, const uint8_t *end, const char **format,
			const char **advice);

#endif
