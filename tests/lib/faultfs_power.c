#include "tests/lib/faultfs_power.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct {
	bool on;
	int folder_fd, journal_fd, old_fd;
} power;

static atomic_ulong number, old_end, kept;

/* A descriptor with a number that the program itself will not meet. */
static int out_of_the_way(int fd)
{
	int high = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 910);

	if (high >= 0)
		close(fd);
	return high;
}

void faultfs_power_init(void)
{
	const char *folder = getenv("GODWIT_POWER");

	if (!folder)
		return;
	power.folder_fd = out_of_the_way(open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	power.journal_fd = out_of_the_way(openat(power.folder_fd, "journal",
						 O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
	power.old_fd =
		out_of_the_way(openat(power.folder_fd, "old", O_RDWR | O_CREAT | O_CLOEXEC, 0600));
	if (power.folder_fd < 0 || power.journal_fd < 0 || power.old_fd < 0) {
		dprintf(STDERR_FILENO, "faultfs: can't write into GODWIT_POWER=%s\n", folder);
		_exit(99);
	}
	power.on = true;
}

__attribute__((format(printf, 1, 2))) static void note(const char *format, ...)
{
	char line[4 * PATH_MAX];
	va_list ap;
	int n, m;

	n = snprintf(line, sizeof(line), "%lu\t", atomic_fetch_add(&number, 1) + 1);
	va_start(ap, format);
	m = vsnprintf(line + n, sizeof(line) - (size_t)n, format, ap);
	va_end(ap);
	if (m < 0 || (size_t)(n + m) >= sizeof(line) ||
	    syscall(SYS_write, power.journal_fd, line, n + m) != n + m)
		_exit(99);
}

/* ---- Files -------------------------------------------------------------------------------------------------- */

static bool regular(int fd, struct stat *st)
{
	return power.on && fstat(fd, st) == 0 && S_ISREG(st->st_mode);
}

/* Another open file description of the same file: the program's may be for writing only. */
static int reopened(int fd)
{
	char link[32];

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	return (int)syscall(SYS_openat, AT_FDCWD, link, O_RDONLY | O_CLOEXEC);
}

/* Copy what is in [offset, offset + len) of the file to the end of "old". Return how much there was. */
static size_t keep_old(int fd, off_t offset, size_t len, unsigned long *position)
{
	static __thread char buf[64 << 10];
	int in = reopened(fd);
	size_t done = 0;

	*position = atomic_fetch_add(&old_end, len);
	while (in >= 0 && done < len) {
		size_t want = len - done < sizeof(buf) ? len - done : sizeof(buf);
		ssize_t n = syscall(SYS_pread64, in, buf, want, offset + (off_t)done);

		if (n <= 0)
			break;
		if (syscall(SYS_pwrite64, power.old_fd, buf, n, (off_t)(*position + done)) != n)
			_exit(99);
		done += (size_t)n;
	}
	if (in >= 0)
		syscall(SYS_close, in);
	return done;
}

void faultfs_power_write(int fd, off_t offset, size_t len)
{
	unsigned long position;
	struct stat st;
	size_t old = 0;

	if (!regular(fd, &st))
		return;
	if (offset < 0)
		offset = fcntl(fd, F_GETFL) & O_APPEND ? st.st_size : lseek(fd, 0, SEEK_CUR);
	if (offset < st.st_size)
		old = (size_t)(st.st_size - offset) < len ? (size_t)(st.st_size - offset) : len;
	old = keep_old(fd, offset, old, &position);
	note("W\t%lu\t%ld\t%ld\t%zu\t%zu\t%lu\n", st.st_ino, (long)offset, (long)st.st_size, len,
	     old, position);
}

void faultfs_power_size(int fd, off_t new_size)
{
	unsigned long position;
	struct stat st;
	size_t old = 0;

	if (!regular(fd, &st))
		return;
	if (new_size < st.st_size)
		old = keep_old(fd, new_size, (size_t)(st.st_size - new_size), &position);
	else
		position = 0;
	note("T\t%lu\t%ld\t%zu\t%lu\n", st.st_ino, (long)st.st_size, old, position);
}

unsigned long faultfs_power_sync_begin(void)
{
	return atomic_load(&number);
}

void faultfs_power_synced(int fd, unsigned long up_to)
{
	struct stat st;

	if (power.on && fstat(fd, &st) == 0)
		note("S\t%lu\t%lu\n", st.st_ino, up_to);
}

/* ---- Names -------------------------------------------------------------------------------------------------- */

/* The absolute path, and the inode of the folder that it is in. */
static unsigned long locate(int folder_fd, const char *name, char path[2 * PATH_MAX])
{
	char link[32], folder[2 * PATH_MAX], *slash;
	struct stat st;
	ssize_t len = 0;

	if (name[0] != '/') {
		snprintf(link, sizeof(link),
			 folder_fd == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d", folder_fd);
		len = syscall(SYS_readlink, link, path, PATH_MAX - 2);
		len = len > 0 ? len : 0;
		path[len++] = '/';
	}
	snprintf(path + len, PATH_MAX, "%s", name);
	snprintf(folder, sizeof(folder), "%s", path);
	slash = strrchr(folder, '/');
	if (slash && slash != folder)
		*slash = '\0';
	return stat(folder, &st) == 0 ? st.st_ino : 0;
}

/* A second name for a file that is about to lose one. Return its number in FOLDER, 0: there is no such file. */
static unsigned long keep_file(const char *path)
{
	unsigned long n = atomic_fetch_add(&kept, 1) + 1;
	char name[32];

	snprintf(name, sizeof(name), "kept-%lu", n);
	return syscall(SYS_linkat, AT_FDCWD, path, power.folder_fd, name, 0) == 0 ? n : 0;
}

void faultfs_power_create(int folder_fd, const char *name)
{
	char path[2 * PATH_MAX];
	unsigned long folder;
	struct stat st;

	if (!power.on || fstatat(folder_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return;
	folder = locate(folder_fd, name, path);
	note("C\t%lu\t%s\n", folder, path);
}

void faultfs_power_rename(int from_fd, const char *from, int to_fd, const char *to)
{
	char from_path[2 * PATH_MAX], to_path[2 * PATH_MAX];
	unsigned long folder;
	struct stat st;

	if (!power.on || fstatat(from_fd, from, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return;
	locate(from_fd, from, from_path);
	folder = locate(to_fd, to, to_path);
	note("R\t%lu\t%lu\t%s\t%s\t%lu\n", folder, st.st_ino, from_path, to_path,
	     keep_file(to_path));
}

void faultfs_power_unlink(int folder_fd, const char *name)
{
	char path[2 * PATH_MAX];
	unsigned long folder;

	if (!power.on)
		return;
	folder = locate(folder_fd, name, path);
	note("U\t%lu\t%s\t%lu\n", folder, path, keep_file(path));
}
