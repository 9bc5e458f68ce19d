#include "mgmt-server/scan/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
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

pid_t child_start(const char *const *argv, const int *fds, size_t n, struct err *err)
{
	pid_t pid;

	if (access(argv[0], X_OK) < 0)
		return err_set(err, errno, "start %s", argv[0]);
	if (n > CHILD_FDS_MAX)
		return err_set(err, EMFILE, "start %s", argv[0]);
	pid = fork();
	if (pid < 0)
		return err_set(err, errno, "start %s", argv[0]);
	if (pid == 0)
		become(argv, fds, n);
	return pid;
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
