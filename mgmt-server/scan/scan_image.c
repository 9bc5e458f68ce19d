#include "mgmt-server/scan/scan_image.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/io.h"
#include "mgmt-server/scan/nbd_child.h"
#include "snapshot/nbd_input.h"

struct scan_image {
	int fd; /* raw */
	uint64_t size;
	struct nbd_child server; /* qemu-nbd, when there is need of it */
	char *path;              /* of the image, absolute */
	struct nbd_input *nbd;
};

/* What the head of a qcow2 file says. Source: QEMU docs/interop/qcow2.txt, "Header". */
struct qcow2_head {
	uint32_t magic, version;
	uint64_t backing_offset;
	uint32_t backing_len, cluster_bits;
	uint64_t size;
	uint32_t crypt_method, l1_len;
	uint64_t l1_at, refcount_at;
	uint32_t refcount_clusters, snapshots;
	uint64_t snapshots_at, incompatible;
} __attribute__((packed));

enum { QCOW2_MAGIC = 0x514649fb, QCOW2_EXTERNAL_DATA = 4 };

static int check_qcow2(const struct qcow2_head *head, const char *path, struct err *err)
{
	if (head->backing_offset)
		return err_say(err, ENOTSUP,
			       "%s has a backing file: flatten it first with 'qemu-img convert'",
			       path);
	if (head->crypt_method)
		return err_say(err, ENOTSUP, "%s is encrypted", path);
	if (be32toh(head->version) >= 3 && be64toh(head->incompatible) & QCOW2_EXTERNAL_DATA)
		return err_say(err, ENOTSUP, "%s keeps its data in another file", path);
	return 0;
}

/* qemu-nbd over the image, on image->server.socket. */
static int start_server(struct scan_image *image, const char *format, struct err *err)
{
	char program[64];
	const char *argv[] = { program,     "--read-only", "--persistent", "--shared=8",
			       "--format",  format,        "--socket",     image->server.socket,
			       image->path, NULL };
	int r;

	r = nbd_child_program("qemu-nbd", "qemu-utils", program, sizeof(program), err);
	if (r == 0)
		r = nbd_child_prepare(&image->server, err);
	return r < 0 ? r : nbd_child_start(&image->server, argv, err);
}

static int open_qcow2(struct scan_image *image, struct err *err)
{
	int r = start_server(image, "qcow2", err);

	if (r == 0)
		r = nbd_input_open(&image->nbd,
				   &(struct nbd_input_options){ .socket_path = image->server.socket,
								.export_name = "" },
				   err);
	return r;
}

int scan_image_nbd_socket(void *ctx, const char **path, struct err *err)
{
	struct scan_image *image = ctx;
	int r = image->server.pid ? 0 : start_server(image, "raw", err);

	*path = image->server.socket;
	return r;
}

static int raw_size(int fd, const char *path, uint64_t *size, struct err *err)
{
	struct stat st;
	off_t end;

	if (fstat(fd, &st) < 0)
		return err_set(err, errno, "open %s", path);
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return err_say(err, EINVAL, "%s is neither a file nor a block device", path);
	end = lseek(fd, 0, SEEK_END);
	if (end < 0)
		return err_set(err, errno, "find the size of %s", path);
	*size = (uint64_t)end;
	return 0;
}

int scan_image_open(struct scan_image **out, const char *path, struct err *err)
{
	CLEANUP(scan_image_close) struct scan_image *image = calloc(1, sizeof(*image));
	struct qcow2_head head = { 0 };
	int r;

	if (!image)
		return err_set(err, ENOMEM, "open %s", path);
	image->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (image->fd < 0)
		return err_set(err, errno, "open %s", path);
	image->path = realpath(path, NULL);
	if (!image->path)
		return err_set(err, errno, "open %s", path);
	r = raw_size(image->fd, path, &image->size, err);
	if (r < 0)
		return r;

	r = io_pread_full(image->fd, &head, sizeof(head), 0);
	if (r < 0)
		return err_set(err, -r, "read %s", path);
	if (r == 0 && be32toh(head.magic) == QCOW2_MAGIC) {
		r = check_qcow2(&head, path, err);
		if (r == 0)
			r = open_qcow2(image, err);
		if (r < 0)
			return r;
		image->size = nbd_input_volume(image->nbd).size;
	}
	*out = TAKE(image);
	return 0;
}

void scan_image_close(struct scan_image *image)
{
	if (!image)
		return;
	nbd_input_close(image->nbd);
	nbd_child_end(&image->server);
	free(image->path);
	base_close(image->fd);
	free(image);
}

static int read_image(void *ctx, uint8_t *buf, size_t len, uint64_t offset, struct err *err)
{
	struct scan_image *image = ctx;
	int r;

	if (image->nbd) {
		struct volume_input inner = nbd_input_volume(image->nbd);

		return inner.read(inner.ctx, buf, len, offset, err);
	}
	r = io_pread_full(image->fd, buf, len, offset);

	if (r)
		return err_set(err, r < 0 ? -r : EIO, "read the image at %llu",
			       (unsigned long long)offset);
	return 0;
}

static int extent_image(void *ctx, uint64_t offset, uint64_t *len, bool *zero, struct err *err)
{
	struct scan_image *image = ctx;
	off_t data, end;

	if (image->nbd) {
		struct volume_input inner = nbd_input_volume(image->nbd);

		return inner.extent(inner.ctx, offset, len, zero, err);
	}
	data = lseek(image->fd, (off_t)offset, SEEK_DATA);
	*zero = data < 0 || (uint64_t)data > offset;
	end = *zero ? data : lseek(image->fd, (off_t)offset, SEEK_HOLE);
	*len = (end < 0 || (uint64_t)end > image->size ? image->size : (uint64_t)end) - offset;
	return 0;
}

struct volume_input scan_image_input(struct scan_image *image)
{
	return (struct volume_input){
		.ctx = image, .size = image->size, .read = read_image, .extent = extent_image
	};
}
