/* scans_child.c - see scans_child.h. */
#include "mgmt-server/core/scans_child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/io.h"

enum { FIRST_OTHER_FD = 3, END_PATIENCE_MS = 10000, NOT_STARTED = 127 };
/* ioprio_set(2): class 2 is best effort, 7 its last level. */
enum { IO_PRIORITY_PROCESS = 1, IO_PRIORITY_LOWEST = (2 << 13) | 7 };

/* Only async-signal-safe calls between fork and exec: this server has threads. */
static _Noreturn void become(const char *const *argv, int report, int said, int niceness,
			     pid_t parent)
{
	sigset_t none;
	int in = open("/dev/null", O_RDONLY);

	/* What people wait for (a failover, a backup) comes first. That it cannot be so is no reason not to scan. */
	if (niceness > 0) {
		setpriority(PRIO_PROCESS, 0, niceness);
		syscall(SYS_ioprio_set, IO_PRIORITY_PROCESS, 0, IO_PRIORITY_LOWEST);
	}
	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	if (getppid() != parent || in < 0 || dup2(in, STDIN_FILENO) < 0 ||
	    dup2(report, STDOUT_FILENO) < 0 || dup2(said, STDERR_FILENO) < 0 ||
	    syscall(SYS_close_range, FIRST_OTHER_FD, ~0u, 0) < 0)
		_exit(NOT_STARTED);
	execv(argv[0], (char *const *)(uintptr_t)argv);
	_exit(NOT_STARTED);
}

int scans_child_start(struct scans_child *c, const char *const *argv, int nice, struct err *err)
{
	pid_t parent = getpid();
	int r;

	*c = (struct scans_child){ .report = -1, .said = -1 };
	if (access(argv[0], X_OK) < 0)
		return err_set(err, errno, "start %s", argv[0]);
	c->report = memfd_create("scan-report", MFD_CLOEXEC);
	c->said = memfd_create("scan-said", MFD_CLOEXEC);
	c->pid = c->report < 0 || c->said < 0 ? -1 : fork();
	if (c->pid == 0)
		become(argv, c->report, c->said, nice, parent);
	if (c->pid > 0) {
		setpgid(c->pid, c->pid); /* whoever of both is first */
		return 0;
	}
	r = err_set(err, errno, "start %s", argv[0]);
	c->pid = 0;
	scans_child_end(c);
	return r;
}

int scans_child_poll(struct scans_child *c, int *status)
{
	if (waitpid(c->pid, status, WNOHANG) != c->pid)
		return SCANS_CHILD_RUNS;
	c->pid = 0;
	return 0;
}

void scans_child_stand(struct scans_child *c, bool still)
{
	if (c->pid <= 0 || c->stands == still || (still && c->ended_by))
		return;
	kill(-c->pid, still ? SIGSTOP : SIGCONT);
	c->stands = still;
}

void scans_child_ask_to_end(struct scans_child *c)
{
	uint64_t now = clock_now_ms();

	if (c->pid > 0 && (!c->ended_by || now > c->ended_by))
		kill(c->pid, c->ended_by ? SIGKILL : SIGTERM);
	scans_child_stand(c, false); /* who is stopped hears nothing */
	if (!c->ended_by)
		c->ended_by = now + END_PATIENCE_MS;
}

/* The last @max bytes of a memfd, terminated; heap; NULL: none. */
static char *tail(int fd, size_t max, size_t *len)
{
	CLEANUP_FREE char *text = NULL;
	struct stat st;

	if (fstat(fd, &st) < 0 || st.st_size <= 0)
		return NULL;
	*len = (size_t)st.st_size < max ? (size_t)st.st_size : max;
	text = malloc(*len + 1);
	if (!text || io_pread_full(fd, text, *len, (uint64_t)st.st_size - *len))
		return NULL;
	text[*len] = '\0';
	return TAKE(text);
}

/* The last line that is whole; @len is updated. It is terminated in place. */
static char *last_line(char *text, size_t *len)
{
	char *end = memrchr(text, '\n', *len), *begin;

	if (!end)
		return NULL;
	*end = '\0';
	begin = memrchr(text, '\n', (size_t)(end - text));
	begin = begin ? begin + 1 : text;
	*len = (size_t)(end - begin);
	return begin;
}

json_t *scans_child_line(const struct scans_child *c)
{
	size_t len;
	CLEANUP_FREE char *text = tail(c->report, SCANS_CHILD_REPORT_MAX, &len);
	char *line = text ? last_line(text, &len) : NULL;
	json_t *value = NULL;

	if (!line || json_parse(&value, line, len, "godwit-scan's report", NULL) < 0)
		return NULL;
	return value;
}

static void last_text(int fd, char *text)
{
	size_t len;
	CLEANUP_FREE char *all = tail(fd, SCANS_CHILD_SAID_MAX, &len);
	char *line = all ? last_line(all, &len) : NULL;

	snprintf(text, SCANS_CHILD_SAID_MAX, "%s", line ? line : "");
}

void scans_child_said(const struct scans_child *c, char *text)
{
	last_text(c->said, text);
}

void scans_child_printed(const struct scans_child *c, char *text)
{
	last_text(c->report, text);
}

void scans_child_end(struct scans_child *c)
{
	if (c->pid > 0) {
		kill(c->pid, SIGKILL);
		while (waitpid(c->pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	base_close(c->report);
	base_close(c->said);
	*c = (struct scans_child){ .report = -1, .said = -1 };
}
