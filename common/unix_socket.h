/* unix_socket.h - local stream sockets that carry JSON lines and file descriptors.
 *
 * Paths longer than sun_path are reached through /proc/self/fd of their folder, so deep state folders work.
 * Source: unix(7), "SCM_RIGHTS".
 */
#ifndef GODWIT_COMMON_UNIX_SOCKET_H
#define GODWIT_COMMON_UNIX_SOCKET_H

#include <sys/types.h>

#include "common/err.h"

/* A listening socket at @path (an old one there is removed), permission bits @mode. Return the fd or -errno. */
int unix_socket_listen(const char *path, mode_t mode, struct err *err);

/* Connect to @path. Return the fd or -errno. */
int unix_socket_connect(const char *path, struct err *err);

enum { UNIX_SOCKET_LINE_MAX = 1 << 20, UNIX_SOCKET_FDS_MAX = 4 };

/* A line reader: bytes that came after the last newline wait in it. Zero-initialise, then set fd. */
struct unix_socket_lines {
	int fd;           /* not owned */
	char *buf;        /* heap; freed by unix_socket_lines_deinit */
	size_t len, cap, consumed;
	int fds[UNIX_SOCKET_FDS_MAX]; /* received and not yet taken by a line; closed by deinit */
	size_t fd_count;
};

enum { UNIX_SOCKET_CLOSED = 1, UNIX_SOCKET_TIMEOUT };

/**
 * unix_socket_read_line(l, timeout_ms, line, fds, fd_count, err):
 * line        out: the line without its newline, valid until the next call
 * fds         out, int[UNIX_SOCKET_FDS_MAX], the caller's from now on; NULL: received ones are closed
 * timeout_ms  -1: wait for ever
 *
 * Return 0, UNIX_SOCKET_CLOSED, UNIX_SOCKET_TIMEOUT, -EMSGSIZE for a line that is too long, or -errno.
 */
int unix_socket_read_line(struct unix_socket_lines *l, int timeout_ms, char **line, int *fds,
			  size_t *fd_count, struct err *err);
void unix_socket_lines_deinit(struct unix_socket_lines *l);

/* Send one line (a newline is added) and with its first byte up to UNIX_SOCKET_FDS_MAX descriptors. 0 or -errno. */
int unix_socket_send_line(int fd, const char *line, const int *fds, size_t fd_count, struct err *err);

#endif
