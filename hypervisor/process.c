#include "hypervisor/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base.h"
#include "common/clock.h"
#include "common/io.h"

enum { OUTPUT_MAX = 64 * 1024 };

/* /proc files have no size: read until the end. Return the length or -errno. */
static ssize_t read_proc(const char *path, char *buf, size_t len)
{
	CLEANUP_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t have = 0;

	if (fd < 0)
		return -errno;
	while (have < len - 1) {
		ssize_t n = read(fd, buf + have, len - 1 - have);

		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		have += (size_t)n;
	}
	buf[have] = '\0';
	return (ssize_t)have;
}

int process_boot_id(char *text, struct err *err)
{
	ssize_t n = read_proc("/proc/sys/kernel/random/boot_id", text, PROCESS_BOOT_ID_LEN);

	if (n < 0)
		return err_set(err, (int)-n, "read this boot's id");
	text[strcspn(text, "\n")] = '\0';
	return 0;
}

/* Field 22 of stat, counted behind the name, which may contain anything. */
static int start_time(pid_t pid, uint64_t *ticks)
{
	char path[64], stat[1024];
	const char *p;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	n = read_proc(path, stat, sizeof(stat));
	if (n < 0)
		return (int)n;
	p = strrchr(stat, ')');
	for (int field = 2; p && field < 22; field++)
		p = strchr(p + 1, ' ');
	if (!p)
		return -EBADMSG;
	*ticks = strtoull(p, NULL, 10);
	return 0;
}

static void say(const char *text)
{
	if (write(2, text, strlen(text)) < 0)
		_exit(125);
}

/* Between fork and exec of a threaded program: async-signal-safe calls only. */
static _Noreturn void become(const struct process_spawn *spawn, int go_fd)
{
	sigset_t none;
	char go;
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	setsid();
	if (null < 0 || dup2(null, 0) < 0 || dup2(spawn->log_fd, 1) < 0 ||
	    dup2(spawn->log_fd, 2) < 0 || fchdir(spawn->folder_fd) < 0 ||
	    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		_exit(126);
	/* The end of the pipe means that our parent died before it had written us down. */
	while (read(go_fd, &go, 1) < 0 && errno == EINTR)
		;
	if (go != 'g')
		_exit(126);
	close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
	execvp(spawn->argv[0], spawn->argv);
	say("cannot execute ");
	say(spawn->argv[0]);
	say(": ");
	say(strerrordesc_np(errno));
	_exit(127);
}

static void reap(int pidfd)
{
	siginfo_t info;

	/* -ECHILD: another hypervisor started it; init reaps it. */
	waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED);
}

int process_spawn(const struct process_spawn *spawn, struct process *out, int *pidfd,
		  struct err *err)
{
	struct process child = { .pid = 0 };
	CLEANUP_FD int read_end = -1, write_end = -1, fd = -1;
	int go[2], r;

	if (pipe2(go, O_CLOEXEC) < 0)
		return err_set(err, errno, "start %s", spawn->argv[0]);
	read_end = go[0];
	write_end = go[1];
	child.pid = fork();
	if (child.pid < 0)
		return err_set(err, errno, "start %s", spawn->argv[0]);
	if (child.pid == 0) {
		close(write_end);
		become(spawn, read_end);
	}
	fd = pidfd_open(child.pid, 0);
	r = fd < 0 ? -errno : start_time(child.pid, &child.start_time);
	if (r < 0)
		err_set(err, -r, "start %s", spawn->argv[0]);
	else
		r = spawn->record(spawn->arg, &child, err);
	if (r == 0 && write(write_end, "g", 1) != 1)
		r = err_set(err, errno, "start %s", spawn->argv[0]);
	if (r < 0) {
		base_close(TAKE_FD(write_end));
		if (fd >= 0)
			reap(fd);
		return r;
	}
	*out = child;
	*pidfd = TAKE_FD(fd);
	return 0;
}

int process_attach(const struct process *known, int *pidfd, struct err *err)
{
	CLEANUP_FD int fd = -1;
	struct pollfd ended;
	uint64_t ticks;
	int r;

	if (known->pid <= 0)
		return PROCESS_GONE;
	fd = pidfd_open(known->pid, 0);
	if (fd < 0)
		return errno == ESRCH ? PROCESS_GONE
				      : err_set(err, errno, "take hold of process %d", known->pid);
	/* Its start time is read after the pidfd was opened: if both fit and it lives, the pidfd is that process. */
	r = start_time(known->pid, &ticks);
	if (r == -ENOENT || r == -ESRCH || (r == 0 && ticks != known->start_time))
		return PROCESS_GONE;
	if (r < 0)
		return err_set(err, -r, "look at process %d", known->pid);
	ended = (struct pollfd){ .fd = fd, .events = POLLIN };
	if (poll(&ended, 1, 0) > 0)
		return PROCESS_GONE;
	*pidfd = TAKE_FD(fd);
	return 0;
}

static int wait_end(int pidfd, int timeout_ms)
{
	struct pollfd ended = { .fd = pidfd, .events = POLLIN };
	int n;

	do
		n = poll(&ended, 1, timeout_ms);
	while (n < 0 && errno == EINTR);
	return n > 0 ? 0 : -ETIMEDOUT;
}

void process_ending(int pidfd, char text[PROCESS_ENDING_LEN])
{
	siginfo_t info = { .si_pid = 0 };

	text[0] = '\0';
	if (waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED | WNOHANG | WNOWAIT) < 0 ||
	    info.si_pid == 0)
		return;
	snprintf(text, PROCESS_ENDING_LEN,
		 info.si_code == CLD_EXITED ? " with status %d" : " by signal %d", info.si_status);
}

int process_kill(int pidfd, int timeout_ms, struct err *err)
{
	if (pidfd_send_signal(pidfd, SIGKILL, NULL, 0) < 0 && errno != ESRCH)
		return err_set(err, errno, "kill QEMU");
	if (wait_end(pidfd, timeout_ms) < 0)
		return err_say(err, ETIMEDOUT, "QEMU did not die within %d ms", timeout_ms);
	reap(pidfd);
	return 0;
}

static int accept_child(void *arg, const struct process *child, struct err *err)
{
	(void)arg;
	(void)child;
	(void)err;
	return 0;
}

static int take_output(int fd, char **out, struct err *err)
{
	CLEANUP_FREE char *text = calloc(1, OUTPUT_MAX + 1);
	ssize_t n;

	if (!text)
		return err_set(err, ENOMEM, "read a helper's output");
	n = pread(fd, text, OUTPUT_MAX, 0);
	if (n < 0)
		return err_set(err, errno, "read a helper's output");
	while (n > 0 && text[n - 1] == '\n')
		text[--n] = '\0';
	*out = TAKE(text);
	return 0;
}

int process_run(char *const *argv, int timeout_ms, int *status, char **output, struct err *err)
{
	CLEANUP_FD int log = memfd_create("output", MFD_CLOEXEC),
		       folder = open(".", O_PATH | O_CLOEXEC);
	CLEANUP_FD int pidfd = -1;
	CLEANUP_FREE char *text = NULL;
	struct process_spawn spawn = {
		.argv = argv, .folder_fd = folder, .log_fd = log, .record = accept_child
	};
	struct process child;
	siginfo_t info = { .si_status = 0 };
	int r;

	if (log < 0 || folder < 0)
		return err_set(err, errno, "run %s", argv[0]);
	r = process_spawn(&spawn, &child, &pidfd, err);
	if (r < 0)
		return r;
	if (wait_end(pidfd, timeout_ms) < 0) {
		process_kill(pidfd, timeout_ms, NULL);
		return err_say(err, ETIMEDOUT, "%s did not end within %d ms", argv[0], timeout_ms);
	}
	waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED);
	r = take_output(log, &text, err);
	if (r < 0)
		return r;
	if (status)
		*status = info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
	else if (info.si_code != CLD_EXITED || info.si_status != 0)
		return err_say(err, EREMOTEIO, "%s failed: %s", argv[0], text);
	if (output)
		*output = TAKE(text);
	return 0;
}
