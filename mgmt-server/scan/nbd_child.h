/* nbd_child.h - a program that serves bytes as NBD on a unix socket in a private temp folder, as long as we need it. */
#ifndef GODWIT_SCAN_NBD_CHILD_H
#define GODWIT_SCAN_NBD_CHILD_H

#include <stddef.h>
#include <sys/types.h>

#include "common/err.h"

struct nbd_child {
	pid_t pid;       /* 0: none was started */
	char folder[40]; /* "": none */
	char socket[48];
};

/* Make the folder: @child->socket is where the program must listen. Return 0 or -errno. */
int nbd_child_prepare(struct nbd_child *child, struct err *err);

/* Where @name is installed, into @path; -ENOENT names the Debian @package that has it. */
int nbd_child_program(const char *name, const char *package, char *path, size_t cap,
		      struct err *err);

/* Start argv[0] and wait until it listens. Return 0, -EINVAL when it ended instead, or -errno. */
int nbd_child_start(struct nbd_child *child, const char *const *argv, struct err *err);

/* Kill, reap, remove the folder. For a zeroed struct too. */
void nbd_child_end(struct nbd_child *child);

#endif
