#include "mgmt-server/scan/nbd_child.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base.h"
#include "common/clock.h"
#include "mgmt-server/scan/child.h"

enum { START_TIMEOUT_MS = 3 * 60 * 1000, POLL_MS = 10 };

int nbd_child_prepare(struct nbd_child *c, struct err *err)
{
	snprintf(c->folder, sizeof(c->folder), "/tmp/godwit-scan.XXXXXX");
	if (!mkdtemp(c->folder)) {
		c->folder[0] = 0;
		return err_set(err, errno, "make a temp folder");
	}
	snprintf(c->socket, sizeof(c->socket), "%s/nbd", c->folder);
	return 0;
}

int nbd_child_program(const char *name, const char *package, char *path, size_t cap,
		      struct err *err)
{
	static const char *const folders[] = { "/usr/bin", "/usr/sbin", "/usr/local/bin" };

	for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
		snprintf(path, cap, "%s/%s", folders[i], name);
		if (access(path, X_OK) == 0)
			return 0;
	}
	return err_say(err, ENOENT, "this needs the program %s (Debian: %s)", name, package);
}

int nbd_child_start(struct nbd_child *c, const char *const *argv, struct err *err)
{
	uint64_t deadline = clock_now_ms() + START_TIMEOUT_MS;
	pid_t pid = child_start(argv, NULL, 0, err);
	int status;

	if (pid < 0)
		return (int)pid;
	c->pid = pid;
	while (access(c->socket, F_OK) < 0) {
		if (waitpid(c->pid, &status, WNOHANG) == c->pid) {
			c->pid = 0;
			return err_say(err, EINVAL,
				       "%s ended before it served anything (its message is above)",
				       argv[0]);
		}
		if (clock_now_ms() > deadline)
			return err_set(err, ETIMEDOUT, "wait for %s", argv[0]);
		clock_sleep_ms(POLL_MS);
	}
	return 0;
}

void nbd_child_end(struct nbd_child *c)
{
	if (c->pid > 0)
		child_end(c->pid, 1);
	if (c->folder[0]) {
		unlink(c->socket);
		rmdir(c->folder);
	}
	*c = (struct nbd_child){ 0 };
}
