#include "mgmt-server/scan/engine_wire.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "common/base.h"

union fd_space {
	char bytes[CMSG_SPACE(sizeof(int))];
	struct cmsghdr align;
};

int engine_wire_send(int fd, const void *message, size_t len, int descriptor)
{
	struct iovec part = { .iov_base = (void *)message, .iov_len = len };
	union fd_space control = { 0 };
	struct msghdr msg = { .msg_iov = &part, .msg_iovlen = 1 };

	if (descriptor >= 0) {
		struct cmsghdr *c;

		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control);
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &descriptor, sizeof(int));
	}
	while (sendmsg(fd, &msg, MSG_NOSIGNAL) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	return 0;
}

int engine_wire_receive(int fd, void *message, size_t len, int *descriptor, int timeout_ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	struct iovec part = { .iov_base = message, .iov_len = len };
	union fd_space control = { 0 };
	struct msghdr msg = { .msg_iov = &part, .msg_iovlen = 1 };
	CLEANUP_FD int got = -1;
	ssize_t n;
	int r;

	do {
		r = poll(&p, 1, timeout_ms);
	} while (r < 0 && errno == EINTR);
	if (r <= 0)
		return r < 0 ? -errno : -ETIMEDOUT;
	if (descriptor) {
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control);
	}
	do {
		n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == ECONNRESET ? ENGINE_WIRE_CLOSED : -errno;
	if (n == 0)
		return ENGINE_WIRE_CLOSED;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
		    c->cmsg_len == CMSG_LEN(sizeof(int)))
			memcpy(&got, CMSG_DATA(c), sizeof(int));
	}
	if ((size_t)n != len || msg.msg_flags & MSG_TRUNC)
		return -EBADMSG;
	if (descriptor)
		*descriptor = TAKE_FD(got);
	return 0;
}
