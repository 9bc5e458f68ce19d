#include "mgmt-server/scan/entry_channel.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base.h"

struct entry_header {
	uint32_t kind, flags;
	uint64_t inode, size, mtime, ctime;
	uint32_t path_len, stream_len, reason_len, has_content;
	uint8_t digest[FILE_DIGEST_LEN];
};

enum { SEALS = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE };

union fd_space {
	char bytes[CMSG_SPACE(sizeof(int))];
	struct cmsghdr align;
};

int entry_channel_send(int fd, const struct entry *e, struct err *err)
{
	struct entry_header h = {
		.kind = htole32(e->kind),
		.flags = htole32(e->flags),
		.inode = htole64(e->inode),
		.size = htole64(e->size),
		.mtime = htole64((uint64_t)e->mtime),
		.ctime = htole64((uint64_t)e->ctime),
		.path_len = htole32((uint32_t)e->path_len),
		.stream_len = htole32((uint32_t)e->stream_len),
		.reason_len = htole32((uint32_t)e->reason_len),
		.has_content = htole32(e->content >= 0),
	};
	struct iovec parts[] = {
		{ .iov_base = &h, .iov_len = sizeof(h) },
		{ .iov_base = (void *)e->path, .iov_len = e->path_len },
		{ .iov_base = (void *)e->stream, .iov_len = e->stream_len },
		{ .iov_base = (void *)e->reason, .iov_len = e->reason_len },
	};
	union fd_space control = { 0 };
	struct msghdr msg = { .msg_iov = parts, .msg_iovlen = ARRAY_LEN(parts) };

	memcpy(h.digest, e->digest, sizeof(h.digest));
	if (e->path_len > ENTRY_CHANNEL_PATH_MAX || e->stream_len > ENTRY_CHANNEL_TEXT_MAX ||
	    e->reason_len > ENTRY_CHANNEL_TEXT_MAX)
		return err_say(err, EMSGSIZE, "report a file: its name is too long");
	if (e->content >= 0) {
		struct cmsghdr *c;

		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control);
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &e->content, sizeof(int));
	}

	for (;;) {
		if (sendmsg(fd, &msg, MSG_NOSIGNAL) >= 0)
			return 0;
		if (errno != EINTR)
			return err_set(err, errno, "report a file");
	}
}

/* The one descriptor of a message; more than one cannot arrive, the control buffer has no room for them. */
static int take_fd(struct msghdr *msg)
{
	int fd = -1;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
		    c->cmsg_len == CMSG_LEN(sizeof(int)))
			memcpy(&fd, CMSG_DATA(c), sizeof(int));
	}
	return fd;
}

static int check_content(int fd, uint64_t size, struct err *err)
{
	struct stat st;
	int seals = fcntl(fd, F_GET_SEALS);

	if (seals < 0 || (seals & SEALS) != SEALS)
		return err_say(err, EBADMSG, "a reader sent a content that is not sealed");
	if (fstat(fd, &st) < 0 || (uint64_t)st.st_size != size)
		return err_say(err, EBADMSG,
			       "a reader sent a content of another size than it said");
	return 0;
}

static int take_apart(const char *buf, size_t len, struct entry *e, struct err *err)
{
	struct entry_header h;
	uint64_t need;

	if (len < sizeof(h))
		return err_say(err, EBADMSG, "a reader sent a message of %zu bytes", len);
	memcpy(&h, buf, sizeof(h));
	*e = (struct entry){
		.kind = le32toh(h.kind),
		.flags = le32toh(h.flags),
		.inode = le64toh(h.inode),
		.size = le64toh(h.size),
		.mtime = (int64_t)le64toh(h.mtime),
		.ctime = (int64_t)le64toh(h.ctime),
		.path_len = le32toh(h.path_len),
		.stream_len = le32toh(h.stream_len),
		.reason_len = le32toh(h.reason_len),
		.content = -1,
	};
	memcpy(e->digest, h.digest, sizeof(e->digest));
	need = sizeof(h) + (uint64_t)e->path_len + e->stream_len + e->reason_len;
	if (need != len || le32toh(h.kind) > ENTRY_FAILED || e->path_len > ENTRY_CHANNEL_PATH_MAX ||
	    e->stream_len > ENTRY_CHANNEL_TEXT_MAX || e->reason_len > ENTRY_CHANNEL_TEXT_MAX ||
	    le32toh(h.has_content) > 1)
		return err_say(err, EBADMSG, "a reader sent a message whose lengths do not add up");

	e->path = buf + sizeof(h);
	e->stream = e->path + e->path_len;
	e->reason = e->stream + e->stream_len;
	return (int)le32toh(h.has_content);
}

int entry_channel_receive(int fd, char *buf, struct entry *e, struct err *err)
{
	struct iovec part = { .iov_base = buf, .iov_len = ENTRY_CHANNEL_MESSAGE_MAX };
	union fd_space control;
	struct msghdr msg = { .msg_iov = &part,
			      .msg_iovlen = 1,
			      .msg_control = &control,
			      .msg_controllen = sizeof(control) };
	CLEANUP_FD int content = -1;
	bool reset = false;
	ssize_t n;
	int r;

	/* A reader that ends before it has read its last credits leaves ECONNRESET, which is told before what it had sent. */
	do {
		n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);
	} while (n < 0 && (errno == EINTR || (errno == ECONNRESET && !reset && (reset = true))));
	if (n < 0 && errno != ECONNRESET)
		return err_set(err, errno, "receive a reader's report");
	if (n <= 0)
		return ENTRY_CHANNEL_CLOSED;

	content = take_fd(&msg);
	if (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC))
		return err_say(err, EBADMSG, "a reader sent a message that is too long");
	r = take_apart(buf, (size_t)n, e, err);
	if (r < 0)
		return r;
	if ((r > 0) != (content >= 0))
		return err_say(err, EBADMSG,
			       "a reader sent a message without the content it speaks of");
	if (content >= 0) {
		r = check_content(content, e->size, err);
		if (r < 0)
			return r;
	}
	e->content = TAKE_FD(content);
	return 0;
}

int entry_channel_credit(int fd)
{
	char one = 1;

	/* A reader that does not take its credits back is at fault itself. */
	return send(fd, &one, 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

int entry_channel_await(int fd, unsigned *outstanding)
{
	while (*outstanding) {
		char credit;
		ssize_t n = recv(fd, &credit, 1,
				 *outstanding < ENTRY_CHANNEL_WINDOW ? MSG_DONTWAIT : 0);

		if (n < 0 && errno == EAGAIN)
			return 0;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -EPIPE;
		(*outstanding)--;
	}
	return 0;
}
