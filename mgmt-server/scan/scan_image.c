#include "mgmt-server/scan/scan_image.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/io.h"
#include "mgmt-server/scan/child.h"
#include "snapshot/nbd_input.h"

enum { START_TIMEOUT_MS = 10000 };

struct scan_image {
	int fd;          /* raw */
	uint64_t size;
	pid_t server;    /* qemu-nbd; 0: none */
	char *folder;    /* of its socket */
	char *socket;
	char *path;      /* of the image, absolute */
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
		return err_say(err, ENOTSUP, "%s has a backing file: flatten it first with 'qemu-img convert'", path);
	if (head->crypt_method)
		return err_say(err, ENOTSUP, "%s is encrypted", path);
	if (be32toh(head->version) >= 3 && be64toh(head->incompatible) & QCOW2_EXTERNAL_DATA)
		return err_say(err, ENOTSUP, "%s keeps its data in another file", path);
	return 0;
}

static const char *find_program(const char *name, char *path, size_t cap)
{
	static const char *const folders[] = { "/usr/bin", "/usr/local/bin" };

	for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
		snprintf(path, cap, "%s/%s", folders[i], name);
		if (access(path, X_OK) == 0)
			return path;
	}
	return NULL;
}

static int wait_for_socket(struct scan_image *image, const char *socket, struct err *err)
{
	uint64_t deadline = clock_now_ms() + START_TIMEOUT_MS;
	int status;

	while (access(socket, F_OK) < 0) {
		if (waitpid(image->server, &status, WNOHANG) == image->server) {
			image->server = 0;
			return err_say(err, EINVAL, "qemu-nbd does not open the image (its message is above)");
		}
		if (clock_now_ms() > deadline)
			return err_set(err, ETIMEDOUT, "wait for qemu-nbd");
		clock_sleep_ms(10);
	}
	return 0;
}

/* qemu-nbd over the image; its socket is image->socket. */
static int start_server(struct scan_image *image, const char *format, struct err *err)
{
	char program[64], folder[] = "/tmp/godwit-scan.XXXXXX";

	if (!find_program("qemu-nbd", program, sizeof(program)))
		return err_say(err, ENOENT, "this needs the program qemu-nbd (package qemu-utils)");
	if (!mkdtemp(folder))
		return err_set(err, errno, "make a temp folder");
	image->folder = strdup(folder);
	image->socket = io_printf("%s/nbd", folder);
	if (!image->folder || !image->socket)
		return err_set(err, ENOMEM, "open %s", image->path);

	const char *argv[] = { program, "--read-only", "--persistent", "--shared=8", "--format", format, "--socket",
			       image->socket, image->path, NULL };

	image->server = child_start(argv, NULL, 0, err);
	if (image->server < 0) {
		int r = (int)image->server;

		image->server = 0;
		return r;
	}
	return wait_for_socket(image, image->socket, err);
}

static int open_qcow2(struct scan_image *image, struct err *err)
{
	int r = start_server(image, "qcow2", err);

	if (r == 0)
		r = nbd_input_open(&image->nbd,
				   &(struct nbd_input_options){ .socket_path = image->socket, .export_name = "" }, err);
	return r;
}

int scan_image_nbd_socket(void *ctx, const char **path, struct err *err)
{
	struct scan_image *image = ctx;
	int r = image->server ? 0 : start_server(image, "raw", err);

	*path = image->socket;
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
	if (image->server > 0)
		child_end(image->server, 1);
	if (image->socket)
		unlink(image->socket);
	if (image->folder)
		rmdir(image->folder);
	free(image->socket);
	free(image->folder);
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
		return err_set(err, r < 0 ? -r : EIO, "read the image at %llu", (unsigned long long)offset);
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
	return (struct volume_input){ .ctx = image, .size = image->size, .read = read_image, .extent = extent_image };
}
