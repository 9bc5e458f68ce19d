/* faultfs.c - makes the n-th file operation of a real program fail, or kills the program there.
 *
 * A shared object for LD_PRELOAD, controlled by the environment (tests/README.md explains it for users):
 *
 *   GODWIT_FAULT=OP[,OP…]:N[+]:HOW   the N-th of these operations (from 1 on; N+: that one and all later ones)
 *   GODWIT_FAULT_PATH=TEXT           count only operations on files whose path contains TEXT
 *   GODWIT_FAULT_PROGRAM=NAME        only in programs of that name, not in what they start
 *   GODWIT_FAULT_LOG=FILE            a line is appended when the fault strikes: "OP N HOW PATH"
 *   GODWIT_FAULT_TRACE=FILE          a line for every operation that is counted: "OP N PATH"
 *   GODWIT_POWER=FOLDER              note what a power cut would take away (faultfs_power.h)
 *
 * OP   write (writev too), pwrite (pwritev too), fsync, fdatasync, rename, link, unlink, ftruncate, fallocate, any
 * HOW  an errno's name: nothing is done, the call fails; short: half of the bytes are written (write, pwrite);
 *      kill: SIGKILL instead of the operation; torn: SIGKILL after half of the bytes; after: SIGKILL after all of it
 *
 * Only operations on regular files and folders count, so that a log line or an answer on a socket changes no number.
 * Not seen: what happens inside libc (stdio's own writes, mkostemp) or the kernel (mmap, io_uring). Everything here uses
 * raw system calls, and no memory is allocated, so it works from the first instruction of main to the last of exit.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tests/lib/faultfs_power.h"

enum op {
	OP_WRITE,
	OP_PWRITE,
	OP_FSYNC,
	OP_FDATASYNC,
	OP_RENAME,
	OP_LINK,
	OP_UNLINK,
	OP_FTRUNCATE,
	OP_FALLOCATE,
	OP_COUNT
};

static const char *const op_names[OP_COUNT] = {
	[OP_WRITE] = "write",         [OP_PWRITE] = "pwrite",       [OP_FSYNC] = "fsync",
	[OP_FDATASYNC] = "fdatasync", [OP_RENAME] = "rename",       [OP_LINK] = "link",
	[OP_UNLINK] = "unlink",       [OP_FTRUNCATE] = "ftruncate", [OP_FALLOCATE] = "fallocate",
};

enum how { HOW_ERRNO, HOW_SHORT, HOW_KILL, HOW_TORN, HOW_AFTER };

static const struct {
	const char *name;
	enum how how;
} hows[] = {
	{ "short", HOW_SHORT },
	{ "kill", HOW_KILL },
	{ "torn", HOW_TORN },
	{ "after", HOW_AFTER },
};

/* Set once, before main. */
static struct {
	bool active, ops[OP_COUNT], and_later;
	unsigned long n;
	enum how how;
	const char *how_name;
	int error;
	const char *path;
	int log_fd, trace_fd;
} plan = { .log_fd = -1, .trace_fd = -1 };

static atomic_ulong counted;

/* ---- Setting up -------------------------------------------------------------------------------- */

__attribute__((noreturn)) static void give_up(const char *why, const char *what)
{
	dprintf(STDERR_FILENO, "faultfs: %s '%s'; read the top of tests/lib/faultfs.c\n", why,
		what);
	_exit(99);
}

static void parse_ops(char *ops)
{
	char *rest = ops;

	for (char *name; (name = strsep(&rest, ","));) {
		bool any = strcmp(name, "any") == 0, known = any;

		for (size_t i = 0; i < OP_COUNT; i++) {
			if (any || strcmp(name, op_names[i]) == 0)
				known = plan.ops[i] = true;
		}
		if (!known)
			give_up("no operation is called", name);
	}
}

static void parse_how(const char *how)
{
	plan.how_name = how;
	for (size_t i = 0; i < sizeof(hows) / sizeof(hows[0]); i++) {
		if (strcmp(how, hows[i].name) == 0) {
			plan.how = hows[i].how;
			return;
		}
	}
	for (int e = 1; e < 200; e++) {
		const char *name = strerrorname_np(e);

		if (name && strcmp(how, name) == 0) {
			plan.how = HOW_ERRNO;
			plan.error = e;
			return;
		}
	}
	give_up("neither an errno nor short, kill, torn, after:", how);
}

static int open_log(const char *variable)
{
	const char *path = getenv(variable);
	int fd, high;

	if (!path)
		return -1;
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
	if (fd < 0)
		give_up("can't open", path);
	/* The program's own descriptors keep the numbers that they have without us. */
	high = fcntl(fd, F_DUPFD_CLOEXEC, 900);
	if (high < 0)
		return fd;
	close(fd);
	return high;
}

__attribute__((constructor)) static void set_up(void)
{
	const char *spec = getenv("GODWIT_FAULT"), *program = getenv("GODWIT_FAULT_PROGRAM");
	static char copy[256];
	char *rest = copy, *ops, *n, *end;

	if (program && strcmp(program, program_invocation_short_name) != 0)
		return;
	faultfs_power_init();
	plan.path = getenv("GODWIT_FAULT_PATH");
	plan.trace_fd = open_log("GODWIT_FAULT_TRACE");
	plan.active = plan.trace_fd >= 0;
	if (!spec) {
		for (size_t i = 0; i < OP_COUNT; i++)
			plan.ops[i] = true;
		return;
	}
	if (snprintf(copy, sizeof(copy), "%s", spec) >= (int)sizeof(copy))
		give_up("too long:", spec);
	ops = strsep(&rest, ":");
	n = strsep(&rest, ":");
	if (!n || !rest)
		give_up("not OP:N:HOW:", spec);
	parse_ops(ops);
	plan.n = strtoul(n, &end, 10);
	plan.and_later = *end == '+';
	if (!plan.n || (*end && strcmp(end, "+") != 0))
		give_up("not a number from 1 on:", n);
	parse_how(rest);
	plan.log_fd = open_log("GODWIT_FAULT_LOG");
	plan.active = true;
}

/* ---- Counting ---------------------------------------------------------------------------------- */

__attribute__((format(printf, 2, 3))) static void note(int fd, const char *format, ...)
{
	char line[PATH_MAX + 128];
	va_list ap;
	int n;

	if (fd < 0)
		return;
	va_start(ap, format);
	n = vsnprintf(line, sizeof(line), format, ap);
	va_end(ap);
	if (n > 0)
		syscall(SYS_write, fd, line, n < (int)sizeof(line) ? (size_t)n : sizeof(line) - 1);
}

/* What should happen to an operation that is about to be done: HOW_…, or -1: nothing out of the ordinary. */
static int strike(enum op op, const char *path)
{
	unsigned long n;

	if (plan.path && !strstr(path, plan.path))
		return -1;
	n = atomic_fetch_add(&counted, 1) + 1;
	note(plan.trace_fd, "%s %lu %s\n", op_names[op], n, path);
	if (!plan.n || (plan.and_later ? n < plan.n : n != plan.n))
		return -1;
	note(plan.log_fd, "%s %lu %s %s\n", op_names[op], n, plan.how_name, path);
	return (int)plan.how;
}

static int strike_fd(enum op op, int fd)
{
	char link[32], path[PATH_MAX];
	struct stat st;
	ssize_t len;

	if (!plan.active || !plan.ops[op] || fstat(fd, &st) < 0 ||
	    !(S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)))
		return -1;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	len = syscall(SYS_readlink, link, path, sizeof(path) - 1);
	path[len > 0 ? len : 0] = 0;
	return strike(op, path);
}

static int strike_path(enum op op, int folder_fd, const char *name)
{
	char link[32], path[PATH_MAX] = "";
	ssize_t len = 0;

	if (!plan.active || !plan.ops[op])
		return -1;
	if (name[0] != '/') {
		snprintf(link, sizeof(link),
			 folder_fd == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d", folder_fd);
		len = syscall(SYS_readlink, link, path, sizeof(path) - 2);
		len = len > 0 ? len : 0;
		path[len++] = '/';
	}
	snprintf(path + len, sizeof(path) - (size_t)len, "%s", name);
	return strike(op, path);
}

__attribute__((noreturn)) static void die(void)
{
	for (;;)
		syscall(SYS_kill, syscall(SYS_getpid), SIGKILL);
}

/* The common end of all operations that transfer no bytes. */
static int finish(int how, long (*perform)(const long args[5]), const long args[5])
{
	long r;

	if (how == HOW_ERRNO) {
		errno = plan.error;
		return -1;
	}
	if (how == HOW_KILL || how == HOW_TORN)
		die();
	r = perform(args);
	if (how == HOW_AFTER)
		die();
	return (int)r;
}

/* ---- Writing ----------------------------------------------------------------------------------- */

/* One write operation, whichever function it came by. */
struct transfer {
	enum op op;
	int fd, count, flags; /* flags: pwritev2's */
	const struct iovec *parts;
	off_t offset;
};

static ssize_t write_raw(const struct transfer *t)
{
	if (t->op == OP_PWRITE)
		return syscall(SYS_pwritev2, t->fd, t->parts, (long)t->count, (long)t->offset, 0L,
			       (long)t->flags);
	return syscall(SYS_writev, t->fd, t->parts, (long)t->count);
}

static size_t transfer_len(const struct transfer *t)
{
	size_t total = 0;

	for (int i = 0; i < t->count; i++)
		total += t->parts[i].iov_len;
	return total;
}

/* The first half of the bytes, at least one. */
static ssize_t write_half(const struct transfer *t)
{
	size_t half = (transfer_len(t) + 1) / 2, done = 0;

	for (int i = 0; i < t->count && done < half; i++) {
		struct iovec part = t->parts[i];
		struct transfer piece = *t;
		ssize_t n;

		if (part.iov_len > half - done)
			part.iov_len = half - done;
		piece.parts = &part;
		piece.count = 1;
		piece.offset = t->offset + (off_t)done;
		n = write_raw(&piece);
		if (n < 0)
			return done ? (ssize_t)done : -1;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

static ssize_t transfer(struct transfer t)
{
	int how = strike_fd(t.op, t.fd);
	ssize_t r;

	if (how == HOW_ERRNO) {
		errno = plan.error;
		return -1;
	}
	if (how == HOW_KILL)
		die();
	faultfs_power_write(t.fd, t.op == OP_PWRITE ? t.offset : -1, transfer_len(&t));
	r = how == HOW_SHORT || how == HOW_TORN ? write_half(&t) : write_raw(&t);
	if (how == HOW_TORN || how == HOW_AFTER)
		die();
	return r;
}

ssize_t write(int fd, const void *buf, size_t len)
{
	struct iovec part = { (void *)buf, len };

	return transfer((struct transfer){ .op = OP_WRITE, .fd = fd, .parts = &part, .count = 1 });
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
	return transfer(
		(struct transfer){ .op = OP_WRITE, .fd = fd, .parts = parts, .count = count });
}

ssize_t pwrite(int fd, const void *buf, size_t len, off_t offset)
{
	struct iovec part = { (void *)buf, len };

	return transfer((struct transfer){
		.op = OP_PWRITE, .fd = fd, .parts = &part, .count = 1, .offset = offset });
}

ssize_t pwritev2(int fd, const struct iovec *parts, int count, off_t offset, int flags)
{
	return transfer((struct transfer){ .op = OP_PWRITE,
					   .fd = fd,
					   .parts = parts,
					   .count = count,
					   .offset = offset,
					   .flags = flags });
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
	return pwritev2(fd, parts, count, offset, 0);
}

ssize_t pwrite64(int fd, const void *buf, size_t len, off64_t offset)
	__attribute__((alias("pwrite")));
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset)
	__attribute__((alias("pwritev")));
ssize_t pwritev64v2(int fd, const struct iovec *parts, int count, off64_t offset, int flags)
	__attribute__((alias("pwritev2")));

/* ---- The others -------------------------------------------------------------------------------- */

static long do_fsync(const long a[5])
{
	unsigned long up_to = faultfs_power_sync_begin();
	long r = syscall(SYS_fsync, a[0]);

	if (r == 0)
		faultfs_power_synced((int)a[0], up_to);
	return r;
}

static long do_fdatasync(const long a[5])
{
	unsigned long up_to = faultfs_power_sync_begin();
	long r = syscall(SYS_fdatasync, a[0]);

	if (r == 0)
		faultfs_power_synced((int)a[0], up_to);
	return r;
}

static long do_ftruncate(const long a[5])
{
	faultfs_power_size((int)a[0], a[1]);
	return syscall(SYS_ftruncate, a[0], a[1]);
}

static long do_fallocate(const long a[5])
{
	faultfs_power_size((int)a[0], a[2] + a[3]);
	return syscall(SYS_fallocate, a[0], a[1], a[2], a[3]);
}

static long do_rename(const long a[5])
{
	faultfs_power_rename((int)a[0], (const char *)a[1], (int)a[2], (const char *)a[3]);
	return syscall(SYS_renameat2, a[0], a[1], a[2], a[3], a[4]);
}

static long do_link(const long a[5])
{
	faultfs_power_create((int)a[2], (const char *)a[3]);
	return syscall(SYS_linkat, a[0], a[1], a[2], a[3], a[4]);
}

static long do_unlink(const long a[5])
{
	faultfs_power_unlink((int)a[0], (const char *)a[1]);
	return syscall(SYS_unlinkat, a[0], a[1], a[2]);
}

int fsync(int fd)
{
	return finish(strike_fd(OP_FSYNC, fd), do_fsync, (long[5]){ fd });
}

int fdatasync(int fd)
{
	return finish(strike_fd(OP_FDATASYNC, fd), do_fdatasync, (long[5]){ fd });
}

int ftruncate(int fd, off_t length)
{
	return finish(strike_fd(OP_FTRUNCATE, fd), do_ftruncate, (long[5]){ fd, length });
}

int ftruncate64(int fd, off64_t length) __attribute__((alias("ftruncate")));

int fallocate(int fd, int mode, off_t offset, off_t len)
{
	return finish(strike_fd(OP_FALLOCATE, fd), do_fallocate,
		      (long[5]){ fd, mode, offset, len });
}

int fallocate64(int fd, int mode, off64_t offset, off64_t len) __attribute__((alias("fallocate")));

/* This one returns its error. */
int posix_fallocate(int fd, off_t offset, off_t len)
{
	return fallocate(fd, 0, offset, len) < 0 ? errno : 0;
}

int posix_fallocate64(int fd, off64_t offset, off64_t len)
	__attribute__((alias("posix_fallocate")));

int renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags)
{
	return finish(strike_path(OP_RENAME, to_fd, to), do_rename,
		      (long[5]){ from_fd, (long)from, to_fd, (long)to, flags });
}

int renameat(int from_fd, const char *from, int to_fd, const char *to)
{
	return renameat2(from_fd, from, to_fd, to, 0);
}

int rename(const char *from, const char *to)
{
	return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0);
}

int linkat(int from_fd, const char *from, int to_fd, const char *to, int flags)
{
	return finish(strike_path(OP_LINK, to_fd, to), do_link,
		      (long[5]){ from_fd, (long)from, to_fd, (long)to, flags });
}

int link(const char *from, const char *to)
{
	return linkat(AT_FDCWD, from, AT_FDCWD, to, 0);
}

int unlinkat(int fd, const char *path, int flags)
{
	return finish(strike_path(OP_UNLINK, fd, path), do_unlink,
		      (long[5]){ fd, (long)path, flags });
}

int unlink(const char *path)
{
	return unlinkat(AT_FDCWD, path, 0);
}

/* ---- Only for the power's journal --------------------------------------------------------------- */

static int open_noted(int folder_fd, const char *path, int flags, mode_t mode)
{
	int fd;

	if (flags & O_CREAT)
		faultfs_power_create(folder_fd, path);
	/* What O_TRUNC takes away must be noted first. */
	fd = (int)syscall(SYS_openat, folder_fd, path, flags & ~O_TRUNC, mode);
	if (fd >= 0 && flags & O_TRUNC && (flags & O_ACCMODE) != O_RDONLY) {
		faultfs_power_size(fd, 0);
		syscall(SYS_ftruncate, fd, 0);
	}
	return fd;
}

int openat(int folder_fd, const char *path, int flags, ...)
{
	mode_t mode = 0;

	if (__OPEN_NEEDS_MODE(flags)) {
		va_list ap;

		va_start(ap, flags);
		mode = va_arg(ap, mode_t);
		va_end(ap);
	}
	return open_noted(folder_fd, path, flags, mode);
}

int open(const char *path, int flags, ...)
{
	mode_t mode = 0;

	if (__OPEN_NEEDS_MODE(flags)) {
		va_list ap;

		va_start(ap, flags);
		mode = va_arg(ap, mode_t);
		va_end(ap);
	}
	return open_noted(AT_FDCWD, path, flags, mode);
}

int open64(const char *path, int flags, ...) __attribute__((alias("open")));
int openat64(int folder_fd, const char *path, int flags, ...) __attribute__((alias("openat")));

int mkdirat(int folder_fd, const char *path, mode_t mode)
{
	faultfs_power_create(folder_fd, path);
	return (int)syscall(SYS_mkdirat, folder_fd, path, mode);
}

int mkdir(const char *path, mode_t mode)
{
	return mkdirat(AT_FDCWD, path, mode);
}
