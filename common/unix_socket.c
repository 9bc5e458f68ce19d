#include "common/unix_socket.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/base.h"
#include "common/clock.h"
#include "common/io.h"

/*
 * Fill @address for @path. A path that does not fit is reached through an O_PATH descriptor of its
 * folder, which *folder_fd then holds (-1: not needed) and which must stay open until bind or
 * connect has returned.
 */
static int make_address(const char *path, struct sockaddr_un *address, int *folder_fd,
			struct err *err)
{
	const char *name = strrchr(path, '/');
	CLEANUP_FREE char *folder = NULL;
	CLEANUP_FD int fd = -1;
	int n;

	*address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	*folder_fd = -1;
	if (strlen(path) < sizeof(address->sun_path)) {
		memcpy(address->sun_path, path, strlen(path) + 1);
		return 0;
	}
	if (!name)
		return err_set(err, ENAMETOOLONG, "socket %s", path);
	folder = strndup(path, (size_t)(name - path) + 1);
	if (!folder)
		return err_set(err, ENOMEM, "socket %s", path);
	fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_set(err, errno, "socket %s: open its folder", path);
	n = snprintf(address->sun_path, sizeof(address->sun_path), "/proc/self/fd/%d%s", fd, name);
	if (n < 0 || (size_t)n >= sizeof(address->sun_path))
		return err_set(err, ENAMETOOLONG, "socket %s", path);
	*folder_fd = TAKE_FD(fd);
	return 0;
}

static int remove_old(const char *path, struct err *err)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : err_set(err, errno, "listen on %s", path);
	if (!S_ISSOCK(st.st_mode))
		return err_say(err, EEXIST, "listen on %s: something that is no socket is there",
			       path);
	if (unlink(path) < 0 && errno != ENOENT)
		return err_set(err, errno, "listen on %s: remove the old socket", path);
	return 0;
}

int unix_socket_listen(const char *path, mode_t mode, struct err *err)
{
	CLEANUP_FD int fd = -1, folder_fd = -1;
	struct sockaddr_un address;
	int r;

	r = remove_old(path, err);
	if (r < 0)
		return r;
	r = make_address(path, &address, &folder_fd, err);
	if (r < 0)
		return r;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_set(err, errno, "listen on %s", path);
	/* The file takes the socket's own mode less the umask, so it is never wider than asked for;
	 * then exactly so. */
	if (fchmod(fd, mode) < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    chmod(path, mode) < 0 || listen(fd, SOMAXCONN) < 0)
		return err_set(err, errno, "listen on %s", path);
	return TAKE_FD(fd);
}

int unix_socket_connect(const char *path, struct err *err)
{
	CLEANUP_FD int fd = -1, folder_fd = -1;
	struct sockaddr_un address;
	int r;

	r = make_address(path, &address, &folder_fd, err);
	if (r < 0)
		return r;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_set(err, errno, "connect to %s", path);
	while (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		if (errno != EINTR)
			return err_set(err, errno, "connect to %s", path);
	}
	return TAKE_FD(fd);
}

/* ---- Reading lines --------------------------------------------------------------------------- */

/* Wait until poll(2) reports @events or the deadline (UINT64_MAX: none) has passed. 0,
 * UNIX_SOCKET_TIMEOUT, -errno. */
static int wait_ready(int fd, short events, uint64_t deadline_ms)
{
	for (;;) {
		struct pollfd p = { .fd = fd, .events = events };
		uint64_t now = clock_now_ms();
		uint64_t left = deadline_ms > now ? deadline_ms - now : 0;
		int wait = -1, n;

		if (deadline_ms != UINT64_MAX)
			wait = left > INT32_MAX ? INT32_MAX : (int)left;
		n = poll(&p, 1, wait);
		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 0 && clock_now_ms() >= deadline_ms)
			return UNIX_SOCKET_TIMEOUT;
	}
}

static int make_room(struct unix_socket_lines *l, struct err *err)
{
	size_t cap = l->cap ? 2 * l->cap
			    : UNIX_SOCKET_LINE_MAX >> 8; /* comes out at the limit exactly */
	char *bigger;

	if (l->len < l->cap)
		return 0;
	if (l->len == UNIX_SOCKET_LINE_MAX)
		return err_say(err, EMSGSIZE, "read a line: it has more than %d bytes",
			       UNIX_SOCKET_LINE_MAX);
	bigger = realloc(l->buf, cap);
	if (!bigger)
		return err_set(err, ENOMEM, "read a line of more than %zu bytes", l->len);
	l->buf = bigger;
	l->cap = cap;
	return 0;
}

static int keep_descriptors(struct unix_socket_lines *l, struct msghdr *message, struct err *err)
{
	int r = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(fd), sizeof(fd));
			if (l->fd_count < UNIX_SOCKET_FDS_MAX) {
				l->fds[l->fd_count++] = fd;
			} else {
				close(fd);
				r = -EMSGSIZE;
			}
		}
	}
	if (r < 0 || (message->msg_flags & MSG_CTRUNC))
		return err_say(err, EMSGSIZE, "read a line: it came with more than %d descriptors",
			       UNIX_SOCKET_FDS_MAX);
	return 0;
}

static int closed_or(int failure, struct err *err)
{
	/* A peer that goes away while bytes of ours are unread: the same end, said differently. */
	if (failure == ECONNRESET || failure == EPIPE)
		return UNIX_SOCKET_CLOSED;
	return err_set(err, failure, "read a line");
}

/*
 * Append what the socket has, up to the first newline and not a byte more. The kernel hands
 * descriptors out with the first byte they were sent with but glues earlier bytes in front, so only
 * a read that ends with its line can tell which line they belong to.
 *
 * Return 0, UNIX_SOCKET_CLOSED, -EAGAIN (no text) or -errno.
 */
static int receive_piece(struct unix_socket_lines *l, bool *complete, struct err *err)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(UNIX_SOCKET_FDS_MAX * sizeof(int))];
	} control;
	struct iovec piece = { .iov_base = l->buf + l->len, .iov_len = l->cap - l->len };
	struct msghdr message = {
		.msg_iov = &piece,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	const char *newline;
	ssize_t n;

	n = recv(l->fd, piece.iov_base, piece.iov_len, MSG_PEEK | MSG_DONTWAIT);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? -EAGAIN : closed_or(errno, err);
	if (n == 0)
		return UNIX_SOCKET_CLOSED;
	newline = memchr(piece.iov_base, '\n', (size_t)n);
	piece.iov_len = newline ? (size_t)(newline - (char *)piece.iov_base) + 1 : (size_t)n;

	n = recvmsg(l->fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? -EAGAIN : closed_or(errno, err);
	if (n == 0)
		return UNIX_SOCKET_CLOSED;
	l->len += (size_t)n;
	*complete = l->buf[l->len - 1] == '\n';
	return keep_descriptors(l, &message, err);
}

static int hand_over(struct unix_socket_lines *l, char **line, int *fds, size_t *fd_count,
		     struct err *err)
{
	if (memchr(l->buf, 0, l->len))
		return err_say(err, EBADMSG, "read a line: it has a zero byte in it");
	l->buf[l->len - 1] = 0;
	l->consumed = l->len;
	*line = l->buf;
	for (size_t i = 0; i < l->fd_count; i++) {
		if (fds)
			fds[i] = l->fds[i];
		else
			close(l->fds[i]);
	}
	if (fds && fd_count)
		*fd_count = fds ? l->fd_count : 0;
	l->fd_count = 0;
	return 0;
}

int unix_socket_read_line(struct unix_socket_lines *l, int timeout_ms, char **line, int *fds,
			  size_t *fd_count, struct err *err)
{
	uint64_t deadline = timeout_ms < 0 ? UINT64_MAX : clock_now_ms() + (uint64_t)timeout_ms;
	bool complete = false;
	int r;

	if (l->consumed)
		l->len = l->consumed = 0;
	for (;;) {
		r = make_room(l, err);
		if (r < 0)
			return r;
		r = receive_piece(l, &complete, err);
		if (r == 0 && complete)
			return hand_over(l, line, fds, fd_count, err);
		if (r == 0)
			continue;
		if (r != -EAGAIN)
			return r;
		r = wait_ready(l->fd, POLLIN, deadline);
		if (r < 0)
			return err_set(err, -r, "wait for a line");
		if (r > 0)
			return r;
	}
}

void unix_socket_lines_deinit(struct unix_socket_lines *l)
{
	for (size_t i = 0; i < l->fd_count; i++)
		close(l->fds[i]);
	free(l->buf);
	*l = (struct unix_socket_lines){ .fd = -1 };
}

/* ---- Sending lines --------------------------------------------------------------------------- */

static void attach_descriptors(struct msghdr *message, void *control, size_t control_len,
			       const int *fds, size_t fd_count)
{
	struct cmsghdr *c;

	memset(control, 0, control_len);
	message->msg_control = control;
	message->msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
	c = CMSG_FIRSTHDR(message);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
	memcpy(CMSG_DATA(c), fds, fd_count * sizeof(int));
}

int unix_socket_send_line(int fd, const char *line, const int *fds, size_t fd_count,
			  struct err *err)
{
	return unix_socket_send_line_within(fd, line, fds, fd_count, UNIX_SOCKET_SEND_TIMEOUT_MS,
					    err);
}

int unix_socket_send_line_within(int fd, const char *line, const int *fds, size_t fd_count,
				 int timeout_ms, struct err *err)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(UNIX_SOCKET_FDS_MAX * sizeof(int))];
	} control;
	size_t len = strlen(line), sent = 0;
	struct iovec parts[2];
	struct msghdr message = { .msg_iov = parts };
	int r;

	assert(fd_count <= UNIX_SOCKET_FDS_MAX && (fds || !fd_count));
	if (len >= UNIX_SOCKET_LINE_MAX)
		return err_say(err, EMSGSIZE, "send a line: it has more than %d bytes",
			       UNIX_SOCKET_LINE_MAX);
	if (memchr(line, '\n', len))
		return err_say(err, EINVAL, "send a line: it has a line break in it");
	if (fds && fd_count)
		attach_descriptors(&message, &control, sizeof(control), fds, fd_count);

	while (sent <= len) {
		ssize_t n;

		parts[0] = (struct iovec){ .iov_base = (char *)line + sent, .iov_len = len - sent };
		parts[1] = (struct iovec){ .iov_base = (char *)"\n", .iov_len = 1 };
		message.msg_iovlen = 2;
		n = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n >= 0) {
			sent += (size_t)n;
			message.msg_control = NULL; /* they went with the first byte */
			message.msg_controllen = 0;
			continue;
		}
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return err_set(err, errno, "send a line");
		r = wait_ready(fd, POLLOUT, clock_now_ms() + (uint64_t)timeout_ms);
		if (r < 0)
			return err_set(err, -r, "send a line");
		if (r > 0)
			return err_say(err, ETIMEDOUT,
				       "send a line: the other side has read nothing for %d ms",
				       timeout_ms);
	}
	return 0;
}
