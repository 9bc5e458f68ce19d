#include "snapshot/store_cli_child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base.h"
#include "common/clock.h"
#include "snapshot/nbd_input.h"
#include "snapshot/store_cli.h"

enum { WAIT_STEP_MS = 20, SOCKET_WAIT_MS = 30000, OUTPUT_MAX = 1 << 20 };

int store_cli_child_start(char *const argv[], int output, pid_t *pid, struct err *err)
{
	pid_t parent = getpid();

	*pid = fork();
	if (*pid < 0)
		return err_set(err, errno, "start %s", argv[0]);
	if (*pid > 0)
		return 0;
	/* ^C on the terminal is ours: we end our children, in an order that leaves nothing half. */
	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != parent)
		_exit(127);
	if (output >= 0)
		dup2(output, STDOUT_FILENO);
	execvp(argv[0], argv);
	dprintf(STDERR_FILENO, "godwit-store: cannot start %s: %s\n", argv[0], strerror(errno));
	_exit(127);
}

static int ended(const char *what, int status, struct err *err)
{
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	return WIFSIGNALED(status)
		       ? err_say(err, EIO, "%s was killed by signal %d", what, WTERMSIG(status))
		       : err_say(err, EIO, "%s failed with exit status %d", what,
				 WEXITSTATUS(status));
}

int store_cli_child_await_socket(pid_t pid, const char *what, const char *socket, struct err *err)
{
	uint64_t end = clock_now_ms() + SOCKET_WAIT_MS;
	int status;

	for (;;) {
		if (nbd_input_answers(socket))
			return 0;
		if (waitpid(pid, &status, WNOHANG) == pid) {
			ended(what, status, err);
			return -EIO;
		}
		if (store_cli_cancelled())
			return err_say(err, ECANCELED, "cancelled");
		if (clock_now_ms() > end)
			return err_say(err, ETIMEDOUT, "%s does not listen on %s", what, socket);
		clock_sleep_ms(20);
	}
}

int store_cli_child_wait(pid_t pid, const char *what, struct err *err)
{
	int status;

	for (;;) {
		pid_t done = waitpid(pid, &status, WNOHANG);

		if (done == pid)
			return ended(what, status, err);
		if (done < 0 && errno != EINTR)
			return err_set(err, errno, "wait for %s", what);
		if (store_cli_cancelled()) {
			store_cli_child_stop(pid);
			return err_say(err, ECANCELED, "cancelled");
		}
		clock_sleep_ms(WAIT_STEP_MS);
	}
}

void store_cli_child_stop(pid_t pid)
{
	if (pid <= 0)
		return;
	kill(pid, SIGTERM);
	waitpid(pid, NULL, 0);
}

int store_cli_child_output(char *const argv[], char **text, struct err *err)
{
	CLEANUP_FREE char *buf = calloc(1, OUTPUT_MAX + 1);
	size_t len = 0;
	int pipe_fds[2], r;
	pid_t pid;

	if (!buf || pipe2(pipe_fds, O_CLOEXEC) < 0)
		return err_set(err, buf ? errno : ENOMEM, "start %s", argv[0]);
	r = store_cli_child_start(argv, pipe_fds[1], &pid, err);
	close(pipe_fds[1]);
	while (r == 0 && len < OUTPUT_MAX) {
		ssize_t n = read(pipe_fds[0], buf + len, OUTPUT_MAX - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		len += (size_t)n;
	}
	close(pipe_fds[0]);
	if (r == 0)
		r = store_cli_child_wait(pid, argv[0], err);
	if (r == 0)
		*text = TAKE(buf);
	return r;
}
