#include "common/io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static bool offset_fits(uint64_t offset, size_t len)
{
	return len <= INT64_MAX && offset <= INT64_MAX - (uint64_t)len;
}

int io_read_full(int fd, void *buf, size_t len)
{
	uint8_t *p = buf;

	while (len > 0) {
		ssize_t n = read(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return IO_SHORT;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

int io_pread_full(int fd, void *buf, size_t len, uint64_t offset)
{
	uint8_t *p = buf;

	if (!offset_fits(offset, len))
		return -EOVERFLOW;
	while (len > 0) {
		ssize_t n = pread(fd, p, len, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return IO_SHORT;
		p += n;
		len -= (size_t)n;
		offset += (uint64_t)n;
	}
	return 0;
}

int io_write_full(int fd, const void *buf, size_t len)
{
	const uint8_t *p = buf;

	while (len > 0) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -EIO; /* nothing taken, no reason given: trying again might never end
				      */
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

int io_pwrite_full(int fd, const void *buf, size_t len, uint64_t offset)
{
	const uint8_t *p = buf;

	if (!offset_fits(offset, len))
		return -EOVERFLOW;
	while (len > 0) {
		ssize_t n = pwrite(fd, p, len, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -EIO;
		p += n;
		len -= (size_t)n;
		offset += (uint64_t)n;
	}
	return 0;
}

int io_read_file(const char *path, size_t max, uint8_t **out, size_t *len, struct err *err)
{
	CLEANUP_FD int fd = -1;
	CLEANUP_FREE uint8_t *buf = NULL;
	size_t used = 0, cap = 4096;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_set(err, errno, "open %s", path);

	/* Until the end, not to st_size: files in /proc and /sys have none. */
	for (;;) {
		uint8_t *bigger = realloc(buf, cap + 1);
		ssize_t n;

		if (!bigger)
			return err_set(err, ENOMEM, "read %s", path);
		buf = bigger;
		n = read(fd, buf + used, cap - used);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_set(err, errno, "read %s", path);
		if (n == 0)
			break;
		used += (size_t)n;
		if (used > max)
			return err_say(err, EFBIG, "read %s: larger than the %zu bytes it may have",
				       path, max);
		if (used == cap)
			cap *= 2;
	}
	buf[used] = 0;
	*len = used;
	*out = TAKE(buf);
	return 0;
}

/* The temporary name lies beside @path, so that rename(2) stays in one file system:
 * FOLDER/.NAME.XXXXXX.tmp */
static char *temporary_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;

	return io_printf("%.*s.%s.XXXXXX.tmp", (int)(name - path), path, name);
}

static int write_durably(int fd, const void *data, size_t len, mode_t mode)
{
	int r = io_write_full(fd, data, len);

	if (r < 0)
		return r;
	if (fchmod(fd, mode) < 0 || fdatasync(fd) < 0)
		return -errno;
	return 0;
}

int io_replace_file(const char *path, const void *data, size_t len, mode_t mode, struct err *err)
{
	CLEANUP_FREE char *temporary = temporary_name(path);
	CLEANUP_FD int fd = -1;
	int r;

	if (!temporary)
		return err_set(err, ENOMEM, "write %s", path);
	fd = mkostemps(temporary, 4, O_CLOEXEC);
	if (fd < 0)
		return err_set(err, errno, "write %s: create %s", path, temporary);

	r = write_durably(fd, data, len, mode);
	if (r == 0 && rename(temporary, path) < 0)
		r = -errno;
	if (r < 0) {
		unlink(temporary);
		return err_set(err, -r, "write %s", path);
	}
	return io_sync_parent(path, err);
}

static bool is_leftover(const char *name)
{
	size_t len = strlen(name);

	return name[0] == '.' && len > strlen(".x.XXXXXX.tmp") - 1 &&
	       strcmp(name + len - 4, ".tmp") == 0 && name[len - strlen(".XXXXXX.tmp")] == '.';
}

int io_remove_leftovers(const char *folder, struct err *err)
{
	DIR *dir = opendir(folder);
	struct dirent *entry;
	int r = 0;

	if (!dir)
		return err_set(err, errno, "open folder %s", folder);
	while (r == 0 && (errno = 0, entry = readdir(dir))) {
		if (is_leftover(entry->d_name) && unlinkat(dirfd(dir), entry->d_name, 0) < 0)
			r = err_set(err, errno, "remove %s/%s", folder, entry->d_name);
	}
	if (r == 0 && errno)
		r = err_set(err, errno, "read folder %s", folder);
	closedir(dir);
	return r;
}

int io_sync_folder(const char *path, struct err *err)
{
	CLEANUP_FD int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return err_set(err, errno, "open folder %s", path);
	if (fsync(fd) < 0)
		return err_set(err, errno, "fsync folder %s", path);
	return 0;
}

int io_sync_parent(const char *path, struct err *err)
{
	const char *slash = strrchr(path, '/');
	CLEANUP_FREE char *folder = NULL;

	if (!slash)
		return io_sync_folder(".", err);
	folder = io_printf("%.*s", slash == path ? 1 : (int)(slash - path), path);
	if (!folder)
		return err_set(err, ENOMEM, "fsync the folder of %s", path);
	return io_sync_folder(folder, err);
}

static int make_folder(const char *path, mode_t mode, struct err *err)
{
	struct stat st;
	int failure;

	if (mkdir(path, mode) == 0)
		return 0;
	failure = errno;
	/* Whatever mkdir said: a read-only parent answers EROFS or EACCES for a folder that is
	 * there. */
	if (stat(path, &st) == 0) {
		if (S_ISDIR(st.st_mode))
			return 0;
		failure = ENOTDIR;
	}
	return err_set(err, failure, "make folder %s", path);
}

int io_make_folders(const char *path, mode_t mode, struct err *err)
{
	CLEANUP_FREE char *part = strdup(path);
	int r;

	if (!part)
		return err_set(err, ENOMEM, "make folder %s", path);
	for (char *p = part + (part[0] == '/'); *p; p++) {
		if (*p != '/')
			continue;
		*p = 0;
		r = make_folder(part, mode, err);
		if (r < 0)
			return r;
		*p = '/';
	}
	return make_folder(path, mode, err);
}

void io_allow_many_files(void)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
}

char *io_printf(const char *format, ...)
{
	char *text;
	va_list ap;
	int n;

	va_start(ap, format);
	n = vasprintf(&text, format, ap);
	va_end(ap);
	return n < 0 ? NULL : text;
}
