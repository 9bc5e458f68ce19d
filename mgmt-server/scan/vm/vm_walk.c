#include "mgmt-server/scan/vm/vm_walk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mgmt-server/scan/inode_set.h"
#include "mgmt-server/scan/vm_wire.h"

enum { PATH_CAP = 64 << 10, DEPTH_MAX = 60000, FDS_MAX = 65536 };

struct vm_walk {
	int port;
	struct inode_set links; /* device and inode of files with several names, mixed */
	char path[PATH_CAP];
	unsigned char data[VM_FRAME_DATA_MAX];
	DIR *stack[DEPTH_MAX];
	size_t path_len[DEPTH_MAX];
};

struct vm_walk *vm_walk_new(int port)
{
	struct vm_walk *w = calloc(1, sizeof(*w));
	struct rlimit fds = { .rlim_cur = FDS_MAX, .rlim_max = FDS_MAX };

	if (w)
		w->port = port;
	setrlimit(RLIMIT_NOFILE, &fds);
	return w;
}

static void put(struct vm_walk *w, const void *bytes, size_t len)
{
	const char *p = bytes;

	while (len) {
		ssize_t n = write(w->port, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			exit(1);
		p += n;
		len -= (size_t)n;
	}
}

static void frame(struct vm_walk *w, enum vm_frame_kind kind, const void *bytes, size_t len,
		  uint64_t a, uint64_t b, uint64_t c)
{
	struct vm_frame f = {
		.magic = VM_FRAME_MAGIC, .kind = kind, .len = (uint32_t)len, .a = a, .b = b, .c = c
	};

	put(w, &f, sizeof(f));
	put(w, bytes, len);
}

static void text_frame(struct vm_walk *w, enum vm_frame_kind kind, const char *text)
{
	frame(w, kind, text, strlen(text), 0, 0, 0);
}

void vm_walk_lost(struct vm_walk *w, const char *why)
{
	text_frame(w, VM_FRAME_LOST, why);
}

void vm_walk_done(struct vm_walk *w)
{
	text_frame(w, VM_FRAME_DONE, "");
}

/* Data from @offset to @end; 0 or -errno. */
static int stream_run(struct vm_walk *w, int fd, off_t offset, off_t end)
{
	while (offset < end) {
		size_t want = end - offset < VM_FRAME_DATA_MAX ? (size_t)(end - offset)
							       : VM_FRAME_DATA_MAX;
		ssize_t n = pread(fd, w->data, want, offset);

		if (n < 0)
			return -errno;
		if (n == 0)
			return 0; /* it ends before its size says: zeros */
		frame(w, VM_FRAME_DATA, w->data, (size_t)n, (uint64_t)offset, 0, 0);
		offset += n;
	}
	return 0;
}

static int stream_data(struct vm_walk *w, int fd, off_t size)
{
	off_t offset = 0;

	while (offset < size) {
		off_t data = lseek(fd, offset, SEEK_DATA), hole;
		int r;

		if (data < 0 && errno == ENXIO)
			return 0;
		if (data < 0)
			return stream_run(w, fd, offset, size); /* no holes on this file system */
		hole = lseek(fd, data, SEEK_HOLE);
		if (hole < 0 || hole > size)
			hole = size;
		r = stream_run(w, fd, data, hole);
		if (r < 0)
			return r;
		offset = hole;
	}
	return 0;
}

static void stream_open(struct vm_walk *w, int fd, size_t path_len, const struct stat *st,
			off_t size)
{
	int r;

	frame(w, VM_FRAME_FILE, w->path, path_len, st->st_ino, (uint64_t)size,
	      (uint64_t)st->st_mtime);
	r = fd < 0 ? -errno : stream_data(w, fd, size);
	text_frame(w, r < 0 ? VM_FRAME_UNREADABLE : VM_FRAME_END, r < 0 ? strerror(-r) : "");
}

static void stream_file(struct vm_walk *w, int folder, const char *name, size_t path_len,
			const struct stat *st)
{
	int fd;

	/* Inode numbers repeat in other subvolumes, so the device counts too. */
	if (st->st_nlink > 1 && inode_set_add(&w->links, st->st_ino * 0x9E3779B97F4A7C15ULL ^
								 st->st_dev) == INODE_SET_SEEN)
		return;
	fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	stream_open(w, fd, path_len, st, st->st_size);
	if (fd >= 0)
		close(fd);
}

static void lost_here(struct vm_walk *w, size_t path_len, const char *what)
{
	char why[512];

	snprintf(why, sizeof(why), "%s %.*s: %s", what, (int)(path_len < 300 ? path_len : 300),
		 w->path, strerror(errno));
	vm_walk_lost(w, why);
}

static DIR *open_folder(int at, const char *name)
{
	int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (!dir && fd >= 0)
		close(fd);
	return dir;
}

/* The path of @name in the folder on top, into w->path; 0: it does not fit. */
static size_t path_of(struct vm_walk *w, size_t depth, const char *name)
{
	size_t at = w->path_len[depth - 1], len = strlen(name);

	if (at + len + 1 > PATH_CAP)
		return 0;
	memcpy(w->path + at, name, len);
	return at + len;
}

static void enter(struct vm_walk *w, size_t *depth, const char *name, size_t path_len)
{
	DIR *dir;

	if (*depth == DEPTH_MAX || path_len + 1 >= PATH_CAP) {
		errno = ENAMETOOLONG;
		lost_here(w, path_len, "folder");
		return;
	}
	dir = open_folder(dirfd(w->stack[*depth - 1]), name);
	if (!dir) {
		lost_here(w, path_len, "folder");
		return;
	}
	w->path[path_len] = '/';
	w->stack[*depth] = dir;
	w->path_len[*depth] = path_len + 1;
	(*depth)++;
}

static void take(struct vm_walk *w, size_t *depth, const char *name)
{
	int folder = dirfd(w->stack[*depth - 1]);
	size_t path_len = path_of(w, *depth, name);
	struct stat st;

	if (!path_len) {
		errno = ENAMETOOLONG;
		lost_here(w, 200, "something below");
	} else if (fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
		lost_here(w, path_len, "description of");
	} else if (S_ISDIR(st.st_mode)) {
		enter(w, depth, name, path_len);
	} else if (S_ISREG(st.st_mode)) {
		stream_file(w, folder, name, path_len, &st);
	}
}

void vm_walk_tree(struct vm_walk *w, const char *root, const char *prefix)
{
	size_t depth = 0;

	inode_set_deinit(&w->links);
	w->stack[0] = open_folder(AT_FDCWD, root);
	w->path_len[0] = strlen(prefix);
	memcpy(w->path, prefix, w->path_len[0]);
	if (!w->stack[0]) {
		lost_here(w, w->path_len[0], "root folder");
		return;
	}
	depth = 1;
	while (depth) {
		struct dirent *entry;

		errno = 0;
		entry = readdir(w->stack[depth - 1]);
		if (entry && strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..")) {
			take(w, &depth, entry->d_name);
		} else if (!entry) {
			if (errno)
				lost_here(w, w->path_len[depth - 1], "folder");
			closedir(w->stack[--depth]);
		}
	}
}

void vm_walk_device(struct vm_walk *w, const char *device, const char *prefix)
{
	int fd = open(device, O_RDONLY | O_CLOEXEC),
	    len = snprintf(w->path, PATH_CAP, "%s<swap>", prefix);
	struct stat st = { 0 };
	uint64_t size = 0;

	if (fd >= 0)
		ioctl(fd, BLKGETSIZE64, &size);
	stream_open(w, fd, (size_t)len, &st, (off_t)size);
	if (fd >= 0)
		close(fd);
}

int vm_walk_names(const char *folder, char names[][160], int max)
{
	DIR *dir = opendir(folder);
	struct dirent *entry;
	int count = 0;

	while (dir && count < max && (entry = readdir(dir))) {
		if (entry->d_name[0] != '.')
			snprintf(names[count++], 160, "%.159s", entry->d_name);
	}
	if (dir)
		closedir(dir);
	return count;
}
