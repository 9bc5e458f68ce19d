#include "mgmt-server/scan/child.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base.h"

/* Only async-signal-safe calls between fork and exec: the parent has threads. */
static _Noreturn void become(const char *const *argv, const int *fds, size_t n)
{
	int high[CHILD_FDS_MAX];
	int null = open("/dev/null", O_RDONLY);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (null < 0 || dup2(null, STDIN_FILENO) < 0)
		_exit(126);
	/* First out of the way of the final numbers, then into their places. */
	for (size_t i = 0; i < n; i++) {
		high[i] = fcntl(fds[i], F_DUPFD, CHILD_FIRST_FD + CHILD_FDS_MAX);
		if (high[i] < 0)
			_exit(126);
	}
	for (size_t i = 0; i < n; i++) {
		if (dup2(high[i], CHILD_FIRST_FD + (int)i) < 0)
			_exit(126);
	}
	if (syscall(SYS_close_range, CHILD_FIRST_FD + (unsigned)n, ~0u, 0) < 0)
		_exit(126);
	execv(argv[0], (char *const *)(uintptr_t)argv);
	_exit(127);
}

/* fork(2) with namespaces. The child may call nothing of libc that remembers which thread it is. */
static pid_t fork_into(unsigned long namespaces)
{
	return (pid_t)syscall(SYS_clone, namespaces | SIGCHLD, 0, 0, 0, 0);
}

static void write_once(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		_exit(126);
	close(fd);
}

/* Who may not make a PID namespace makes a user namespace first, where its user may. */
static pid_t fork_apart(const char *const *argv, const int *fds, size_t n)
{
	char users[48], groups[48];
	pid_t pid = fork_into(CLONE_NEWPID);

	if (pid == 0)
		become(argv, fds, n);
	if (pid > 0 || errno != EPERM)
		return pid;
	snprintf(users, sizeof(users), "0 %u 1", geteuid());
	snprintf(groups, sizeof(groups), "0 %u 1", getegid());
	pid = fork_into(CLONE_NEWPID | CLONE_NEWUSER);
	if (pid == 0) {
		write_once("/proc/self/setgroups", "deny");
		write_once("/proc/self/uid_map", users);
		write_once("/proc/self/gid_map", groups);
		become(argv, fds, n);
	}
	return pid;
}

static pid_t start(const char *const *argv, const int *fds, size_t n, bool apart, struct err *err)
{
	pid_t pid;

	if (access(argv[0], X_OK) < 0)
		return err_set(err, errno, "start %s", argv[0]);
	if (n > CHILD_FDS_MAX)
		return err_set(err, EMFILE, "start %s", argv[0]);
	pid = apart ? fork_apart(argv, fds, n) : fork();
	if (pid < 0)
		return err_set(err, errno, "start %s", argv[0]);
	if (pid == 0)
		become(argv, fds, n);
	return pid;
}

pid_t child_start(const char *const *argv, const int *fds, size_t n, struct err *err)
{
	return start(argv, fds, n, false, err);
}

pid_t child_start_apart(const char *const *argv, const int *fds, size_t n, struct err *err)
{
	return start(argv, fds, n, true, err);
}

int child_end(pid_t pid, int kill_it)
{
	int status = 0;

	if (kill_it)
		kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return status;
}
