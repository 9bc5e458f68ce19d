/* hijacked_reader.c - a reader that its volume took over: it does what the volume's ext4 label says, from within the real
 * sandbox. tests/system/scan_hijack.sh puts it in godwit-scan-ext's place.
 *
 * An attack that worked is reported as a file "SUCCEEDED"; the sandbox killing it, or a refusal, is what is wanted.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "common/base.h"
#include "mgmt-server/scan/entry_channel.h"
#include "mgmt-server/scan/reader.h"

enum { LABEL_AT = 1024 + 120, LABEL_LEN = 16, VOLUME_FD = 3, ENTRY_FD = 4 };

static int scratch; /* reader_scratch() */

static bool do_open(void)
{
	return open("/etc/passwd", O_RDONLY) >= 0;
}

static bool do_create(void)
{
	return open("/tmp/godwit-hijacked", O_WRONLY | O_CREAT, 0600) >= 0;
}

static bool do_stat(void)
{
	struct iovec here = { 0 }, there = { 0 };

	return syscall(SYS_stat, "/etc/passwd", &here) == 0 || there.iov_len;
}

static bool do_mount(void)
{
	return mount("none", "/tmp", "tmpfs", 0, NULL) == 0;
}

static bool do_inet(void)
{
	return socket(AF_INET, SOCK_STREAM, 0) >= 0;
}

static bool do_unix(void)
{
	return socket(AF_UNIX, SOCK_STREAM, 0) >= 0;
}

static bool do_packet(void)
{
	return socket(AF_NETLINK, SOCK_RAW, 0) >= 0;
}

static bool do_trace(void)
{
	return ptrace(PTRACE_ATTACH, 1, NULL, NULL) == 0;
}

static bool do_peek(void)
{
	char byte;
	struct iovec here = { &byte, 1 }, there = { &errno, 1 };

	return process_vm_readv(1, &here, 1, &there, 1, 0) == 1;
}

static bool do_kill(void)
{
	return kill(1, 0) == 0;
}

static bool do_kill_all(void)
{
	return kill(-1, SIGKILL) == 0;
}

/* tgkill is allowed, for abort(3). */
static bool do_tgkill(void)
{
	for (int pid = 1; pid < 100000; pid++) {
		if (pid != getpid() && syscall(SYS_tgkill, pid, pid, 0) == 0)
			return true;
	}
	return false;
}

/* The first process of a namespace of its own has nobody to signal, trace or look at. */
static bool do_others(void)
{
	return getpid() != 1;
}

static bool do_pidfd(void)
{
	return syscall(SYS_pidfd_open, 1, 0) >= 0;
}

static bool do_list(void)
{
	return opendir("/proc") != NULL;
}

static bool do_fork(void)
{
	while (fork() >= 0)
		;
	return false;
}

static bool do_exec(void)
{
	execl("/bin/true", "true", NULL);
	return false;
}

static bool do_code(void)
{
	return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) !=
	       MAP_FAILED;
}

static bool do_memory(void)
{
	size_t got = 0, step = 16 << 20;
	void *p;

	while ((p = mmap(NULL, step, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) !=
	       MAP_FAILED)
		got += step;
	return got > 3ULL << 30;
}

static bool do_shared_memory(void)
{
	size_t got = 0, step = 16 << 20;

	while (mmap(NULL, step, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0) !=
	       MAP_FAILED)
		got += step;
	return got > 3ULL << 30;
}

static bool do_stack(void)
{
	return mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN, -1, 0) != MAP_FAILED;
}

/* Its pages would count for nobody. */
static bool do_memfd(void)
{
	int fd = memfd_create("x", 0);

	return ftruncate(fd, 1LL << 40) == 0 && pwrite(fd, "x", 1, 1LL << 39) == 1;
}

static bool do_system_v(void)
{
	return shmget(IPC_PRIVATE, 1 << 30, IPC_CREAT | 0600) >= 0;
}

static bool do_pipe(void)
{
	int ends[2];

	return pipe(ends) == 0;
}

static bool do_sockets(void)
{
	int ends[2];

	return socketpair(AF_UNIX, SOCK_DGRAM, 0, ends) == 0;
}

static bool do_locks(void)
{
	struct flock lock = { .l_type = F_WRLCK, .l_len = 1 };

	for (int i = 0; i < 1000; i++, lock.l_start += 2) {
		if (fcntl(scratch, F_SETLK, &lock) < 0)
			return false;
	}
	return true;
}

/* The one file that it has. */
static bool do_scratch(void)
{
	off_t at = 0, step = 4096;

	while (at <= 2LL * READER_SCRATCH_MAX && pwrite(scratch, "x", 1, at) == 1)
		at += step;
	return !at || at > READER_SCRATCH_MAX;
}

/* Files' contents are the parent's: pieces without end, and without the file that they belong to until much later. */
static bool do_contents(void)
{
	struct entry file = { .kind = ENTRY_FILE,
			      .path = "much",
			      .path_len = 4,
			      .size = 1ULL << 40,
			      .has_content = true };
	struct err err = { 0 };

	for (uint64_t i = 0; i < 100000; i++) {
		if (entry_channel_data(ENTRY_FD, "x", 1, i << 12, &err) < 0)
			return false;
	}
	return entry_channel_send(ENTRY_FD, &file, &err) < 0;
}

/* ---- runs: what the parent shall read of the volume by itself ---- */

static struct reader *self;

static bool send_run(uint64_t offset, uint64_t at, uint64_t length)
{
	const struct content_run run = { offset, at, length };
	struct err err = { 0 };

	return entry_channel_runs(ENTRY_FD, &run, 1, &err) == 0;
}

static bool send_file(const char *path, uint64_t size)
{
	struct entry file = { .kind = ENTRY_FILE,
			      .path = path,
			      .path_len = strlen(path),
			      .size = size,
			      .has_content = true };
	struct err err = { 0 };

	return entry_channel_send(ENTRY_FD, &file, &err) == 0;
}

/* What lies behind the partition. Nobody may answer that it was taken; the parent ends us. */
static bool do_run_outside(void)
{
	send_run(0, volume_channel_size(reader_volume(self)) - 1, 2);
	send_file("outside", 2);
	return false;
}

/* A file of 10 TB out of one small volume. */
static bool do_run_amplify(void)
{
	uint64_t size = volume_channel_size(reader_volume(self));

	for (uint64_t at = 0; at < 10ULL << 40; at += size) {
		if (!send_run(at, 0, size))
			return false;
	}
	return send_file("amplified", 10ULL << 40);
}

/* Small files without end, all of the same bytes, each in a block of its own. */
static bool do_run_repeat(void)
{
	for (unsigned i = 0; i < 1u << 20; i++) {
		if (!send_run(0, i * 65536ULL % (4 << 20), 1) || !send_file("again", 1))
			return false;
	}
	return true;
}

/* A message that is no list of runs, after one that is. */
static bool do_run_torn(void)
{
	struct entry torn = { .kind = ENTRY_RUNS, .path = "0123456789", .path_len = 10 };
	struct err err = { 0 };

	send_run(0, 0, 4096);
	entry_channel_send(ENTRY_FD, &torn, &err);
	return false;
}

/* One file over itself, with bytes between, and for which there is a way back. */
static bool do_run_mix(void)
{
	struct err err = { 0 };

	for (uint64_t i = 0; i < 100; i++) {
		send_run(i * 100, i * 4096, 4096);
		entry_channel_data(ENTRY_FD, "mixed", 5, 50000 - i * 500, &err);
		send_run(0, i * 512, 512);
	}
	send_file("mixed", 60000);
	return false;
}

/* The place of the EICAR test file, which lies at the beginning of a block; 0: there is none. */
static uint64_t infected_at(void)
{
	uint64_t size = volume_channel_size(reader_volume(self));
	char block[1024];

	for (uint64_t at = 0; at + sizeof(block) <= size; at += sizeof(block)) {
		if (volume_channel_read(reader_volume(self), block, sizeof(block), at) == 0 &&
		    !memcmp(block, "X5O!P%@AP[4", 11))
			return at;
	}
	return 0;
}

/* That the chunks which hold the infected file stand for other bytes: for whoever has the same chunks it would be clean. */
static bool do_poison(void)
{
	static const char clean[68] = "clean";
	uint64_t at = infected_at();
	struct entry file = { .kind = ENTRY_FILE, .path = "none", .path_len = 4, .size = 68 };
	struct err err = { 0 };

	if (!at)
		return true; /* there is nothing to try it with */
	send_run(0, at, 68);
	entry_channel_data(ENTRY_FD, clean, sizeof(clean), 0, &err);
	send_file("bytes over it", 68);
	send_run(0, at, 68);
	send_run(0, 0, 68);
	send_file("another run over it", 68);
	send_run(0, at, 68);
	entry_channel_send(ENTRY_FD, &file, &err); /* taken back */
	send_file("a hole after one that was taken back", 68);
	entry_channel_data(ENTRY_FD, clean, sizeof(clean), 0, &err);
	send_run(68, at, 68);
	entry_channel_data(ENTRY_FD, clean, sizeof(clean), 68, &err);
	send_file("bytes before and over it", 136);
	return false;
}

static bool do_descriptors(void)
{
	int n = 0;

	while (fcntl(ENTRY_FD, F_DUPFD, 0) >= 0)
		n++;
	return n > 256;
}

/* newfstatat is allowed, for fstat(3). */
static bool do_look(void)
{
	static const char *const paths[] = { "/etc/passwd", "/proc/1", "/tmp", "../etc" };
	struct stat st;

	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		if (fstatat(AT_FDCWD, paths[i], &st, 0) == 0)
			return true;
	}
	return false;
}

static bool do_limits(void)
{
	struct rlimit all = { RLIM_INFINITY, RLIM_INFINITY };

	return syscall(SYS_prlimit64, 0, RLIMIT_AS, &all, NULL) == 0;
}

static bool do_limits_of_others(void)
{
	struct rlimit limit;

	for (int pid = 1; pid < 100000; pid++) {
		if (pid != getpid() &&
		    syscall(SYS_prlimit64, pid, RLIMIT_NOFILE, NULL, &limit) == 0)
			return true;
	}
	return false;
}

/* The kernel would send a signal of our choice when data comes in. */
static bool do_owner(void)
{
	for (int pid = 1; pid < 100000; pid++) {
		if (pid != getpid() && fcntl(ENTRY_FD, F_SETOWN, pid) == 0)
			return true;
	}
	return false;
}

static bool do_terminal(void)
{
	char c = '\n';

	return ioctl(STDERR_FILENO, TIOCSTI, &c) == 0;
}

/* Nonsense on both channels: the parent has to end with a verdict. */
static bool do_garbage(void)
{
	unsigned seed = 7;
	char bytes[512];

	for (int i = 0; i < 2000; i++) {
		for (size_t k = 0; k < sizeof(bytes); k++)
			bytes[k] = (char)(rand_r(&seed) >> 8);
		if (send(ENTRY_FD, bytes, (size_t)rand_r(&seed) % sizeof(bytes), MSG_NOSIGNAL) < 0)
			break;
	}
	return false;
}

static bool do_requests(void)
{
	uint64_t ask[2] = { ~0ULL - 100, ~0ULL };

	for (int i = 0; i < 1000; i++) {
		ask[0] *= 31;
		if (send(VOLUME_FD, ask, sizeof(ask), MSG_NOSIGNAL) < 0)
			break;
	}
	return false;
}

static bool do_writes(void)
{
	struct {
		uint64_t offset;
		uint32_t len, what;
		char bytes[512];
	} q = { .len = 512, .what = 2 };
	struct {
		int32_t status;
		uint32_t len;
	} reply = { -1, 0 };

	return send(VOLUME_FD, &q, sizeof(q), MSG_NOSIGNAL) == sizeof(q) &&
	       recv(VOLUME_FD, &reply, sizeof(reply), MSG_WAITALL) == sizeof(reply) &&
	       reply.status == 0;
}

/* A volume that nobody reads is not clean. */
static bool do_leave(void)
{
	const struct entry leave = { .kind = ENTRY_KERNEL };

	entry_channel_send(ENTRY_FD, &leave, NULL);
	return false;
}

/* What godwit-scan prints its report to may be a file: the server's is. */
static bool do_forge(void)
{
	static const char forged[] = "{\"verdict\": \"clean\", \"reasons\": [], \"forged\": 1}\n";

	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		if (ftruncate(fd, 0) == 0 ||
		    (write(fd, forged, sizeof(forged) - 1) > 0 && lseek(fd, 0, SEEK_CUR) > 0))
			return true;
	}
	return false;
}

static bool do_end(void)
{
	_exit(0); /* without a word */
}

static bool do_crash(void)
{
	abort();
}

static const struct {
	const char *label;
	bool (*act)(void);
} attacks[] = {
	{ "open", do_open },
	{ "create", do_create },
	{ "stat", do_stat },
	{ "mount", do_mount },
	{ "inet", do_inet },
	{ "unix", do_unix },
	{ "packet", do_packet },
	{ "trace", do_trace },
	{ "peek", do_peek },
	{ "kill", do_kill },
	{ "kill-all", do_kill_all },
	{ "tgkill", do_tgkill },
	{ "others", do_others },
	{ "pidfd", do_pidfd },
	{ "list", do_list },
	{ "fork", do_fork },
	{ "exec", do_exec },
	{ "code", do_code },
	{ "memory", do_memory },
	{ "shared-memory", do_shared_memory },
	{ "stack", do_stack },
	{ "memfd", do_memfd },
	{ "system-v", do_system_v },
	{ "pipe", do_pipe },
	{ "sockets", do_sockets },
	{ "locks", do_locks },
	{ "scratch", do_scratch },
	{ "contents", do_contents },
	{ "run-outside", do_run_outside },
	{ "run-amplify", do_run_amplify },
	{ "run-repeat", do_run_repeat },
	{ "run-torn", do_run_torn },
	{ "run-mix", do_run_mix },
	{ "poison", do_poison },
	{ "descriptors", do_descriptors },
	{ "look", do_look },
	{ "limits", do_limits },
	{ "others-limits", do_limits_of_others },
	{ "owner", do_owner },
	{ "terminal", do_terminal },
	{ "garbage", do_garbage },
	{ "requests", do_requests },
	{ "writes", do_writes },
	{ "leave", do_leave },
	{ "forge", do_forge },
	{ "end", do_end },
	{ "crash", do_crash },
};

int reader_walk(struct reader *reader, struct err *err)
{
	const struct reader_file success = { .path = "SUCCEEDED", .path_len = 9, .stream = "" };
	char label[LABEL_LEN + 1] = "";
	int r = volume_channel_read(reader_volume(reader), label, LABEL_LEN, LABEL_AT);

	if (r < 0)
		return err_set(err, -r, "read the label");
	scratch = reader_scratch(reader);
	self = reader;
	for (size_t i = 0; i < ARRAY_LEN(attacks); i++) {
		if (strcmp(attacks[i].label, label) != 0)
			continue;
		if (attacks[i].act()) {
			r = reader_begin(reader, &success, err);
			return r < 0 ? r : reader_end(reader, err);
		}
		return err_say(err, EPERM, "refused");
	}
	return err_say(err, EINVAL, "no such attack: %s", label);
}
