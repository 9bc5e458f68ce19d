/* unix_socket.h - local stream sockets that carry JSON lines and file descriptors.
 *
 * Paths longer than sun_path are reached through /proc/self/fd of their folder, so deep state folders work.
 * Source: unix(7), "SCM_RIGHTS".
 */
#ifndef GODWIT_COMMON_UNIX_SOCKET_H
#define GODWIT_COMMON_UNIX_SOCKET_H

#include <sys/types.h>

#include "common/err.h"

/*
 * A listening socket at @path, permission bits @mode. A socket that is there is replaced, alive or not; anything else
 * is -EEXIST. Return the fd or -errno.
 */
int unix_socket_listen(const char *path, mode_t mode, struct err *err);

/* Connect to @path. Return the fd or -errno. */
int unix_socket_connect(const char *path, struct err *err);

enum {
	UNIX_SOCKET_LINE_MAX = 1 << 20, /* bytes, with the newline */
	UNIX_SOCKET_FDS_MAX = 4,
	UNIX_SOCKET_SEND_TIMEOUT_MS = 30000
};

/*
 * A line reader. Zero-initialise, then set fd. It never takes more than one line out of the socket, so poll(2) on fd
 * tells whether more is there; a part of a line waits in it for the rest.
 */
struct unix_socket_lines {
	int fd;          /* not owned; blocking or not makes no difference */
	char *buf;       /* heap; freed by unix_socket_lines_deinit */
	size_t len, cap; /* a line or the beginning of one; len <= cap */
	size_t consumed; /* 0, or len: that line has been handed out, the next call drops it */
	int fds[UNIX_SOCKET_FDS_MAX]; /* came with that beginning; closed by deinit */
	size_t fd_count;
};

enum { UNIX_SOCKET_CLOSED = 1, UNIX_SOCKET_TIMEOUT };

/**
 * unix_socket_read_line(l, timeout_ms, line, fds, fd_count, err):
 * line        out: the line without its newline, valid until the next call
 * fds         out, int[UNIX_SOCKET_FDS_MAX]: those that were sent with this line, close-on-exec, the caller's from now
 *             on; NULL: they are closed. fd_count may be NULL then
 * timeout_ms  0: only what is there; -1: wait for ever
 *
 * Return 0, UNIX_SOCKET_CLOSED (also in the middle of a line), UNIX_SOCKET_TIMEOUT (call again: nothing is lost),
 * -EMSGSIZE for a line that is too long or has too many descriptors, -EBADMSG for one with a zero byte, or -errno. After
 * a negative number the connection has lost its place and must be closed.
 */
int unix_socket_read_line(struct unix_socket_lines *l, int timeout_ms, char **line, int *fds,
			  size_t *fd_count, struct err *err);
void unix_socket_lines_deinit(struct unix_socket_lines *l);

/*
 * Send one line (a newline is added) and with its first byte up to UNIX_SOCKET_FDS_MAX descriptors, which stay the
 * caller's. Return 0, -EPIPE, -EMSGSIZE, -EINVAL for a text of several lines, -ETIMEDOUT when the other side reads
 * nothing for UNIX_SOCKET_SEND_TIMEOUT_MS (the second one: for @timeout_ms), or -errno; after a failure a part of the
 * line may be out: close.
 */
int unix_socket_send_line(int fd, const char *line, const int *fds, size_t fd_count,
			  struct err *err);
int unix_socket_send_line_within(int fd, const char *line, const int *fds, size_t fd_count,
				 int timeout_ms, struct err *err);

#endif
