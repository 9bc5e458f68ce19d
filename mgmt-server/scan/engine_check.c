/* engine_check.c - see engine_check.h. */
#include "mgmt-server/scan/engine_check.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base.h"
#include "mgmt-server/scan/child.h"

enum { LOAD_TIMEOUT_MS = 20 * 60 * 1000, KILL_IT = 1 };

static int hear(int control, struct engine_hello *hello, pid_t *pid, struct err *err)
{
	int r = engine_wire_receive(control, hello, sizeof(*hello), NULL, LOAD_TIMEOUT_MS);
	int status;

	if (r == ENGINE_WIRE_CLOSED) {
		status = child_end(*pid, 0);
		*pid = -1;
		return err_say(err, EINVAL,
			       "the engine %s %d while it loaded the signatures in its sandbox",
			       WIFSIGNALED(status) ? "was ended by signal" : "ended with status",
			       WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	}
	if (r < 0)
		return err_set(err, -r, "wait for the engine to load the signatures");
	hello->version[ENGINE_TEXT_MAX - 1] = 0;
	hello->signature_version[ENGINE_TEXT_MAX - 1] = 0;
	return hello->status < 0 ? err_say(err, -hello->status, "%s", hello->version) : 0;
}

static int try_it(const char *program, const char *signatures, const char *temp,
		  struct engine_hello *hello, struct err *err)
{
	const char *argv[] = { program, signatures, temp, "0", NULL };
	CLEANUP_FD int control = -1;
	int pair[2], r;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_set(err, errno, "start the scan engine");
	control = pair[0];
	pid = child_start_apart(argv, &pair[1], 1, err);
	close(pair[1]);
	if (pid < 0)
		return (int)pid;
	r = hear(control, hello, &pid, err);
	if (pid > 0)
		child_end(pid, KILL_IT);
	return r;
}

int engine_check_run(const char *program, const char *signatures, struct engine_hello *hello,
		     struct err *err)
{
	/* Whole: the engine enters its sandbox with this path, and a link must not lead out of it. */
	CLEANUP_FREE char *folder = realpath(signatures, NULL);
	char temp[] = "/tmp/godwit-scan.XXXXXX";
	int r;

	if (!folder)
		return err_set(err, errno, "open the signature folder %s", signatures);
	if (!mkdtemp(temp))
		return err_set(err, errno, "make a temp folder for the scan engine");
	r = try_it(program, folder, temp, hello, err);
	rmdir(temp); /* a tmpfs of the engine's own was on it */
	return r;
}
