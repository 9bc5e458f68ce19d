/* engine.c - godwit-scan-engine: loads the signatures once, then forks workers that share them.
 *
 * Started by godwit-scan as: godwit-scan-engine SIGNATURES TEMP WORKERS, descriptor 3 the control socket (or --version,
 * which is answered there). Over it go the
 * hello and then, for each worker that is forked, the socket to talk to it. A worker that dies is forked again from the
 * loaded parent; everything ends when the control socket closes. Signatures are trusted here, contents are not: only
 * workers see contents, and they are sandboxed. With WORKERS 0 a set of signatures is only tried, in the sandbox, with
 * both canaries, and the hello says how that went: so is a set treated before the server trusts it.
 */
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base.h"
#include "mgmt-server/scan/engine_canary.h"
#include "mgmt-server/scan/engine_wire.h"
#include "mgmt-server/scan/engine_worker.h"

enum { CONTROL_FD = 3, RESPAWN_PAUSE_MS = 20 };

static int newest_file(const char *folder, uint64_t *newest, struct err *err)
{
	DIR *dir = opendir(folder);
	struct dirent *entry;

	if (!dir)
		return err_set(err, errno, "open the signature folder %s", folder);
	while ((entry = readdir(dir))) {
		struct stat st;

		if (fstatat(dirfd(dir), entry->d_name, &st, 0) == 0 && S_ISREG(st.st_mode) &&
		    (uint64_t)st.st_mtime > *newest)
			*newest = (uint64_t)st.st_mtime;
	}
	closedir(dir);
	return 0;
}

static int load(struct cl_engine *engine, const char *signatures, const char *temp, unsigned *count,
		struct err *err)
{
	unsigned canary = 0;
	cl_error_t e;
	int r = engine_canary_new(temp, err);

	if (r < 0)
		return r;
	e = cl_load(temp, engine, &canary, CL_DB_STDOPT);
	if (e != CL_SUCCESS || canary != 1)
		return err_say(err, EIO, "load the canary's signature: %s", cl_strerror(e));
	e = cl_load(signatures, engine, count, CL_DB_STDOPT);
	if (e != CL_SUCCESS)
		return err_say(err, EINVAL, "load signatures from %s: %s", signatures,
			       cl_strerror(e));
	if (!*count)
		return err_say(err, ENOENT,
			       "no signatures in %s: run freshclam, or name another folder",
			       signatures);
	e = cl_engine_compile(engine);
	if (e != CL_SUCCESS)
		return err_say(err, EINVAL, "compile the signatures from %s: %s", signatures,
			       cl_strerror(e));
	return 0;
}

/* A set that is only tried: it is loaded where it can do no harm, without code of its own being compiled. */
static int confine(struct cl_engine *engine, char **argv, struct err *err)
{
	if (cl_engine_set_num(engine, CL_ENGINE_BYTECODE_MODE, CL_BYTECODE_MODE_INTERPRETER) !=
	    CL_SUCCESS)
		return err_say(err, ENOTSUP, "libclamav %s has no bytecode interpreter",
			       cl_retver());
	return engine_worker_confine(argv[2], argv[1], err);
}

static int start(struct cl_engine **out, char **argv, struct engine_hello *hello, bool try_only,
		 struct err *err)
{
	struct cl_engine *engine;
	unsigned count = 0;
	int r;

	if (cl_init(CL_INIT_DEFAULT) != CL_SUCCESS || !(engine = cl_engine_new()))
		return err_say(err, ENOMEM, "start libclamav");
	r = engine_worker_configure(engine, argv[2]);
	if (r < 0)
		return err_say(err, -r, "libclamav %s does not take our limits", cl_retver());
	r = newest_file(argv[1], &hello->newest, err);
	if (r == 0 && try_only)
		r = confine(engine, argv, err);
	if (r == 0)
		r = load(engine, argv[1], argv[2], &count, err);
	if (r == 0 && try_only && !engine_worker_sees(engine))
		r = err_say(err, EBADMSG,
			    "with the signatures of %s the engine does not find its own", argv[1]);
	if (r < 0)
		return r;
	hello->signatures = count;
	snprintf(hello->version, sizeof(hello->version), "libclamav %s", cl_retver());
	snprintf(hello->signature_version, sizeof(hello->signature_version), "%llu/%u/%llu",
		 (unsigned long long)cl_engine_get_num(engine, CL_ENGINE_DB_VERSION, NULL), count,
		 (unsigned long long)hello->newest);
	*out = engine;
	return 0;
}

/* Fork a worker and hand its socket to godwit-scan. Return its pid, or -1: then it is tried again. */
static pid_t fork_worker(struct cl_engine *engine, const char *temp)
{
	pid_t parent = getpid(), pid;
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -1;
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(0);
		close(CONTROL_FD);
		close(pair[0]);
		engine_worker_run(engine, pair[1], temp);
	}
	close(pair[1]);
	if (pid > 0)
		engine_wire_send(CONTROL_FD, &(struct engine_worker_ready){ 0 },
				 sizeof(struct engine_worker_ready), pair[0]);
	close(pair[0]);
	return pid;
}

static void keep_workers(struct cl_engine *engine, unsigned workers, const char *temp)
{
	pid_t pids[ENGINE_WORKERS_MAX];
	struct pollfd control = { .fd = CONTROL_FD, .events = POLLIN };

	for (unsigned i = 0; i < workers; i++)
		pids[i] = fork_worker(engine, temp);
	while (poll(&control, 1, RESPAWN_PAUSE_MS) == 0) {
		for (unsigned i = 0; i < workers; i++) {
			if (pids[i] < 0 || waitpid(pids[i], NULL, WNOHANG) == pids[i])
				pids[i] = fork_worker(engine, temp);
		}
	}
	for (unsigned i = 0; i < workers; i++) {
		if (pids[i] <= 0)
			continue;
		kill(pids[i], SIGKILL);
		waitpid(pids[i], NULL, 0); /* so that what it used is counted as ours */
	}
}

int main(int argc, char **argv)
{
	struct engine_hello hello = { 0 };
	struct cl_engine *engine = NULL;
	struct err err = { 0 };
	unsigned workers = argc == 4 ? (unsigned)strtoul(argv[3], NULL, 10) : 0;
	int r;

	if (argc == 2 && !strcmp(argv[1], "--version"))
		return dprintf(CONTROL_FD, "libclamav %s", cl_retver()) < 0;
	if (argc != 4 || workers > ENGINE_WORKERS_MAX) {
		fprintf(stderr, "usage: %s SIGNATURES TEMP WORKERS; started by godwit-scan\n",
			argv[0]);
		return 2;
	}
	r = start(&engine, argv, &hello, workers == 0, &err);
	if (r < 0) {
		hello.status = r;
		snprintf(hello.version, sizeof(hello.version), "%.*s", ENGINE_TEXT_MAX - 1,
			 err_text(&err));
	}
	if (engine_wire_send(CONTROL_FD, &hello, sizeof(hello), -1) < 0 || r < 0)
		return 1;
	keep_workers(engine, workers, argv[2]);
	return 0;
}
