#include "mgmt-server/scan/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/landlock.h>
#include <sched.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "common/base.h"
#include "common/io.h"

/* A folder that is everywhere, and that nobody needs any more. */
#define NEW_ROOT "/proc"

/* What each role may ask of the kernel; add_rules has those whose arguments count. */
enum { FOR_READER = 1, FOR_ENGINE = 2, FOR_BOTH = 3 };

static const struct {
	int syscall;
	unsigned roles;
} allowed[] = {
	{ SCMP_SYS(read), FOR_BOTH },          { SCMP_SYS(write), FOR_BOTH },
	{ SCMP_SYS(readv), FOR_BOTH },         { SCMP_SYS(writev), FOR_BOTH },
	{ SCMP_SYS(pread64), FOR_BOTH },       { SCMP_SYS(pwrite64), FOR_BOTH },
	{ SCMP_SYS(sendmsg), FOR_BOTH },       { SCMP_SYS(recvmsg), FOR_BOTH },
	{ SCMP_SYS(sendto), FOR_BOTH },        { SCMP_SYS(recvfrom), FOR_BOTH },
	{ SCMP_SYS(close), FOR_BOTH },         { SCMP_SYS(lseek), FOR_BOTH },
	{ SCMP_SYS(fstat), FOR_BOTH },         { SCMP_SYS(newfstatat), FOR_BOTH },
	{ SCMP_SYS(ftruncate), FOR_BOTH },     { SCMP_SYS(brk), FOR_BOTH },
	{ SCMP_SYS(munmap), FOR_BOTH },        { SCMP_SYS(mremap), FOR_BOTH },
	{ SCMP_SYS(madvise), FOR_BOTH },       { SCMP_SYS(futex), FOR_BOTH },
	{ SCMP_SYS(poll), FOR_BOTH },          { SCMP_SYS(ppoll), FOR_BOTH },
	{ SCMP_SYS(exit), FOR_BOTH },          { SCMP_SYS(exit_group), FOR_BOTH },
	{ SCMP_SYS(rt_sigreturn), FOR_BOTH },  { SCMP_SYS(rt_sigprocmask), FOR_BOTH },
	{ SCMP_SYS(rt_sigaction), FOR_BOTH },  { SCMP_SYS(sigaltstack), FOR_BOTH },
	{ SCMP_SYS(clock_gettime), FOR_BOTH }, { SCMP_SYS(clock_nanosleep), FOR_BOTH },
	{ SCMP_SYS(gettimeofday), FOR_BOTH },  { SCMP_SYS(getpid), FOR_BOTH },
	{ SCMP_SYS(gettid), FOR_BOTH },        { SCMP_SYS(getrandom), FOR_BOTH },
	{ SCMP_SYS(sched_yield), FOR_BOTH },   { SCMP_SYS(restart_syscall), FOR_BOTH },
	{ SCMP_SYS(getrusage), FOR_BOTH },     { SCMP_SYS(sysinfo), FOR_BOTH },
	{ SCMP_SYS(umask), FOR_BOTH },         { SCMP_SYS(geteuid), FOR_BOTH },
	{ SCMP_SYS(getuid), FOR_BOTH },        { SCMP_SYS(getegid), FOR_BOTH },
	{ SCMP_SYS(getgid), FOR_BOTH },        { SCMP_SYS(fadvise64), FOR_BOTH },
	{ SCMP_SYS(uname), FOR_BOTH },         { SCMP_SYS(open), FOR_ENGINE },
	{ SCMP_SYS(openat), FOR_ENGINE },      { SCMP_SYS(unlink), FOR_ENGINE },
	{ SCMP_SYS(unlinkat), FOR_ENGINE },    { SCMP_SYS(mkdir), FOR_ENGINE },
	{ SCMP_SYS(mkdirat), FOR_ENGINE },     { SCMP_SYS(rmdir), FOR_ENGINE },
	{ SCMP_SYS(rename), FOR_ENGINE },      { SCMP_SYS(stat), FOR_ENGINE },
	{ SCMP_SYS(lstat), FOR_ENGINE },       { SCMP_SYS(access), FOR_ENGINE },
	{ SCMP_SYS(faccessat), FOR_ENGINE },   { SCMP_SYS(faccessat2), FOR_ENGINE },
	{ SCMP_SYS(getdents64), FOR_ENGINE },  { SCMP_SYS(dup), FOR_ENGINE },
	{ SCMP_SYS(chmod), FOR_ENGINE },       { SCMP_SYS(fchmod), FOR_ENGINE },
	{ SCMP_SYS(statfs), FOR_ENGINE },      { SCMP_SYS(fstatfs), FOR_ENGINE },
	{ SCMP_SYS(readlink), FOR_ENGINE },    { SCMP_SYS(getcwd), FOR_ENGINE },
	{ SCMP_SYS(fdatasync), FOR_ENGINE },   { SCMP_SYS(fsync), FOR_ENGINE },
};

static const struct {
	__rlimit_resource_t resource;
	const char *name;
	rlim_t fixed; /* used where the caller gives no number */
} limits[] = {
	{ RLIMIT_AS, "RLIMIT_AS", 0 },          { RLIMIT_DATA, "RLIMIT_DATA", 0 },
	{ RLIMIT_CPU, "RLIMIT_CPU", 0 },        { RLIMIT_CORE, "RLIMIT_CORE", 0 },
	{ RLIMIT_NOFILE, "RLIMIT_NOFILE", 64 },
};

static int limit(const struct sandbox *box, struct err *err)
{
	for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
		rlim_t data = box->data_max ? box->data_max : box->memory_max;
		rlim_t n = limits[i].resource == RLIMIT_AS     ? box->memory_max
			   : limits[i].resource == RLIMIT_DATA ? data
			   : limits[i].resource == RLIMIT_CPU  ? box->cpu_seconds
							       : limits[i].fixed;
		struct rlimit rl = { .rlim_cur = n, .rlim_max = n };

		if (setrlimit(limits[i].resource, &rl) < 0)
			return err_set(err, errno, "sandbox: set %s", limits[i].name);
	}
	return 0;
}

static int write_once(const char *path, const char *text, struct err *err)
{
	CLEANUP_FD int fd = open(path, O_WRONLY | O_CLOEXEC);
	int r;

	if (fd < 0)
		return err_set(err, errno, "sandbox: open %s", path);
	r = io_write_full(fd, text, strlen(text));
	if (r < 0)
		return err_set(err, -r, "sandbox: write %s", path);
	return 0;
}

/* What is inherited belongs to somebody: stdout may be the file that godwit-scan prints its report to. */
static int let_go_of_stdio(int null, struct err *err)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		if (dup2(null, fd) < 0)
			return err_set(err, errno, "sandbox: let go of descriptor %d", fd);
	}
	return 0;
}

/* A user namespace of our own gives the right to make the others, root or not. */
static int leave_namespaces(struct err *err)
{
	unsigned uid = geteuid(), gid = getegid();
	char map[64];
	int r;

	if (unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWNS | CLONE_NEWUTS) < 0)
		return err_set(err, errno,
			       "sandbox: make namespaces (is kernel.unprivileged_userns_clone 0?)");

	r = write_once("/proc/self/setgroups", "deny", err);
	if (r < 0)
		return r;
	snprintf(map, sizeof(map), "0 %u 1", uid);
	r = write_once("/proc/self/uid_map", map, err);
	if (r < 0)
		return r;
	snprintf(map, sizeof(map), "0 %u 1", gid);
	return write_once("/proc/self/gid_map", map, err);
}

static int mount_tmpfs(const char *where, uint64_t max, struct err *err)
{
	char options[64];

	snprintf(options, sizeof(options), "size=%llu,mode=0700", (unsigned long long)max);
	if (mount("tmpfs", where, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, options) < 0)
		return err_set(err, errno, "sandbox: mount a tmpfs on %s", where);
	return 0;
}

/* What will be the folder @path is made below the new root, with its parents; out: where that is now. */
static int make_folder(char *out, size_t cap, const char *path, struct err *err)
{
	size_t root = strlen(NEW_ROOT), len = root + strlen(path);

	if (path[0] != '/' || len >= cap)
		return err_say(err, EINVAL, "sandbox: %s is no whole path", path);
	memcpy(out, NEW_ROOT, root);
	for (size_t i = root; i <= len; i++) {
		out[i] = path[i - root];
		if (i == root || (out[i] && out[i] != '/'))
			continue;
		out[i] = '\0';
		if (mkdir(out, 0700) < 0 && errno != EEXIST)
			return err_set(err, errno, "sandbox: make a folder for %s", path);
		out[i] = path[i - root];
	}
	return 0;
}

/* An engine's folders keep their paths. Nobody may write to the one that it reads, nor change anything else about it. */
static int take_folders(const struct sandbox *box, struct err *err)
{
	struct mount_attr read_only = { .attr_set = MOUNT_ATTR_RDONLY };
	char where[PATH_MAX];
	int r = make_folder(where, sizeof(where), box->temp_folder, err);

	if (r == 0)
		r = mount_tmpfs(where, box->temp_max, err);
	if (r < 0 || !box->read_folder)
		return r;
	r = make_folder(where, sizeof(where), box->read_folder, err);
	if (r < 0)
		return r;
	if (mount(box->read_folder, where, NULL, MS_BIND | MS_REC, NULL) < 0 ||
	    mount_setattr(AT_FDCWD, where, AT_RECURSIVE, &read_only, sizeof(read_only)) < 0)
		return err_set(err, errno, "sandbox: keep %s", box->read_folder);
	return 0;
}

/* The new root is a file system without files: Landlock would let a path be looked at, and its mode be changed. */
static int leave_files(const struct sandbox *box, struct err *err)
{
	int r;

	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return err_set(err, errno, "sandbox: make mounts private");
	r = mount_tmpfs(NEW_ROOT, box->role == SANDBOX_ENGINE ? 4096 : box->temp_max, err);
	if (r == 0 && box->role == SANDBOX_ENGINE)
		r = take_folders(box, err);
	if (r < 0)
		return r;
	if (box->scratch) {
		*box->scratch = open(NEW_ROOT, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
		if (*box->scratch < 0)
			return err_set(err, errno, "sandbox: make a file for a reader");
	}
	if (chroot(NEW_ROOT) < 0 || chdir("/") < 0)
		return err_set(err, errno, "sandbox: leave the files behind");
	return 0;
}

static int allow_beneath(int ruleset, const char *path, uint64_t access, struct err *err)
{
	CLEANUP_FD int folder = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct landlock_path_beneath_attr beneath = { .allowed_access = access,
						      .parent_fd = folder };

	if (folder < 0)
		return err_set(err, errno, "sandbox: open %s", path);
	if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &beneath, 0) < 0)
		return err_set(err, errno, "sandbox: allow %s", path);
	return 0;
}

/* Deny every file system access that this kernel's Landlock knows, but for the engine's temp folder, and a folder to read. */
static int landlock(const struct sandbox *box, struct err *err)
{
	struct landlock_ruleset_attr attr = { 0 };
	CLEANUP_FD int ruleset = -1;
	long abi;
	int r;

	abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	if (abi < 1)
		return err_say(
			err, ENOTSUP,
			"sandbox: this kernel has no Landlock (boot it with lsm=landlock,…)");
	attr.handled_access_fs = abi >= 3   ? (1ULL << 15) - 1
				 : abi == 2 ? (1ULL << 14) - 1
					    : (1ULL << 13) - 1;

	ruleset =
		(int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr.handled_access_fs), 0);
	if (ruleset < 0)
		return err_set(err, errno, "sandbox: make a Landlock ruleset");
	if (box->role == SANDBOX_ENGINE) {
		r = allow_beneath(ruleset, box->temp_folder,
				  attr.handled_access_fs & ~(__u64)LANDLOCK_ACCESS_FS_EXECUTE, err);
		if (r < 0)
			return r;
	}
	if (box->read_folder) {
		r = allow_beneath(ruleset, box->read_folder,
				  LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR, err);
		if (r < 0)
			return r;
	}
	if (syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
		return err_set(err, errno, "sandbox: apply the Landlock ruleset");
	return 0;
}

/* fcntl: not those that make the kernel send signals to whoever is named (F_SETOWN, F_SETSIG), nor locks, of which it
 * keeps as many as are asked for. */
static const int fcntl_commands[] = { F_DUPFD, F_GETFD,         F_SETFD,    F_GETFL,
				      F_SETFL, F_DUPFD_CLOEXEC, F_GET_SEALS };

/* No code, and nothing that RLIMIT_DATA does not count: memory that could be shared, stacks. */
static const struct {
	uint64_t mask, flags;
} mappings[] = {
	{ MAP_TYPE | MAP_GROWSDOWN, MAP_PRIVATE },
	{ MAP_ANONYMOUS | MAP_GROWSDOWN, 0 },
};

/* Other processes of the same user are within reach of a number; only one's own is allowed. */
static int add_own_process(scmp_filter_ctx filter)
{
	scmp_datum_t self = (scmp_datum_t)getpid();
	int r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1,
				 SCMP_A0(SCMP_CMP_EQ, self, 0));

	if (r == 0)
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), 1,
				     SCMP_A0(SCMP_CMP_EQ, 0, 0));
	return r;
}

static int add_rules(scmp_filter_ctx filter, unsigned role)
{
	int r;

	for (size_t i = 0; i < ARRAY_LEN(allowed); i++) {
		if (!(allowed[i].roles & role))
			continue;
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, allowed[i].syscall, 0);
		if (r < 0)
			return r;
	}
	for (size_t i = 0; i < ARRAY_LEN(mappings); i++) {
		r = seccomp_rule_add(
			filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 2,
			SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0),
			SCMP_A3(SCMP_CMP_MASKED_EQ, mappings[i].mask, mappings[i].flags));
		if (r < 0)
			return r;
	}
	r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1,
			     SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	if (r < 0)
		return r;
	for (size_t i = 0; i < ARRAY_LEN(fcntl_commands); i++) {
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(fcntl), 1,
				     SCMP_A1(SCMP_CMP_EQ, (scmp_datum_t)fcntl_commands[i], 0));
		if (r < 0)
			return r;
	}
	return add_own_process(filter);
}

static int filter_syscalls(const struct sandbox *box, struct err *err)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
	int r;

	if (!filter)
		return err_set(err, ENOMEM, "sandbox: make a seccomp filter");
	r = add_rules(filter, box->role == SANDBOX_ENGINE ? FOR_ENGINE : FOR_READER);
	if (r == 0)
		r = seccomp_load(filter);
	seccomp_release(filter);
	return r < 0 ? err_set(err, -r, "sandbox: load the seccomp filter") : 0;
}

int sandbox_enter(const struct sandbox *box, struct err *err)
{
	CLEANUP_FD int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	int r;

	if (null < 0)
		return err_set(err, errno, "sandbox: open /dev/null");

	/* localtime(3) would open /etc/localtime later and be killed for it. */
	setenv("TZ", "UTC0", 1);
	tzset();

	r = leave_namespaces(err);
	if (r < 0)
		return r;
	r = leave_files(box, err);
	if (r < 0)
		return r;
	r = limit(box, err);
	if (r < 0)
		return r;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return err_set(err, errno, "sandbox: give up privileges");
	r = landlock(box, err);
	if (r < 0)
		return r;
	r = let_go_of_stdio(null, err);
	if (r < 0)
		return r;
	return filter_syscalls(box, err);
}
