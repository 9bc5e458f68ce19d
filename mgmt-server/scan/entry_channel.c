#include "mgmt-server/scan/entry_channel.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base.h"
#include "common/io.h"
#include "mgmt-server/scan/reader.h"

struct entry_header {
	uint32_t kind, flags;
	uint64_t inode, size, mtime, ctime;
	uint32_t path_len, stream_len, reason_len, has_content;
	uint8_t digest[FILE_DIGEST_LEN];
};

enum { PAGE = 4096 };
enum { SEALS = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE };

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
		.has_content = htole32(e->has_content),
	};
	struct iovec parts[] = {
		{ .iov_base = &h, .iov_len = sizeof(h) },
		{ .iov_base = (void *)e->path, .iov_len = e->path_len },
		{ .iov_base = (void *)e->stream, .iov_len = e->stream_len },
		{ .iov_base = (void *)e->reason, .iov_len = e->reason_len },
	};
	struct msghdr msg = { .msg_iov = parts, .msg_iovlen = ARRAY_LEN(parts) };

	memcpy(h.digest, e->digest, sizeof(h.digest));
	if (e->path_len > ENTRY_CHANNEL_PATH_MAX || e->stream_len > ENTRY_CHANNEL_TEXT_MAX ||
	    e->reason_len > ENTRY_CHANNEL_TEXT_MAX)
		return err_say(err, EMSGSIZE, "report a file: its name is too long");

	for (;;) {
		if (sendmsg(fd, &msg, MSG_NOSIGNAL) >= 0)
			return 0;
		if (errno != EINTR)
			return err_set(err, errno, "report a file");
	}
}

int entry_channel_data(int fd, const void *bytes, size_t len, uint64_t offset, struct err *err)
{
	const char *from = bytes;
	int r = 0;

	while (len && r == 0) {
		size_t n = len < ENTRY_CHANNEL_DATA_MAX ? len : ENTRY_CHANNEL_DATA_MAX;
		struct entry piece = {
			.kind = ENTRY_DATA, .inode = offset, .path = from, .path_len = n
		};

		r = entry_channel_send(fd, &piece, err);
		from += n;
		offset += n;
		len -= n;
	}
	return r;
}

int entry_channel_runs(int fd, const struct content_run *runs, size_t count, struct err *err)
{
	uint8_t wire[ENTRY_CHANNEL_RUNS_MAX * CONTENT_RUN_LEN];
	const struct entry batch = { .kind = ENTRY_RUNS,
				     .path = (const char *)wire,
				     .path_len = count * CONTENT_RUN_LEN };

	assert(count <= ENTRY_CHANNEL_RUNS_MAX);
	for (size_t i = 0; i < count; i++)
		content_run_encode(&runs[i], wire + i * CONTENT_RUN_LEN);
	return entry_channel_send(fd, &batch, err);
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
		.has_content = le32toh(h.has_content) == 1,
		.content = -1,
	};
	memcpy(e->digest, h.digest, sizeof(e->digest));
	need = sizeof(h) + (uint64_t)e->path_len + e->stream_len + e->reason_len;
	if (need != len || le32toh(h.kind) > ENTRY_RUNS || e->path_len > ENTRY_CHANNEL_PATH_MAX ||
	    e->stream_len > ENTRY_CHANNEL_TEXT_MAX || e->reason_len > ENTRY_CHANNEL_TEXT_MAX ||
	    le32toh(h.has_content) > 1)
		return err_say(err, EBADMSG, "a reader sent a message whose lengths do not add up");

	e->path = buf + sizeof(h);
	e->stream = e->path + e->path_len;
	e->reason = e->stream + e->stream_len;
	return 0;
}

/* Return 0, ENTRY_CHANNEL_CLOSED, or -errno. */
static int receive_one(int fd, char *buf, struct entry *e, struct err *err)
{
	struct iovec part = { .iov_base = buf, .iov_len = ENTRY_CHANNEL_MESSAGE_MAX };
	struct msghdr msg = { .msg_iov = &part, .msg_iovlen = 1 };
	ssize_t n;

	do {
		n = recvmsg(fd, &msg, 0);
	} while (n < 0 && errno == EINTR);
	if (n < 0 && errno != ECONNRESET)
		return err_set(err, errno, "receive a reader's report");
	if (n <= 0)
		return ENTRY_CHANNEL_CLOSED;
	/* Without a place for descriptors the kernel has closed those that came along. */
	if (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC))
		return err_say(err, EBADMSG,
			       "a reader sent a message that is too long, or a descriptor");
	return take_apart(buf, (size_t)n, e, err);
}

/* The content that is being received. Invariant: the room counts @held bytes for it, and the memfd has no more. */
struct content {
	const struct entry_receiver *from;
	int fd;
	uint64_t held, received;
	struct content_runs runs; /* not read yet: they come behind all that was received before */
	bool only_runs;           /* nothing was written to the memfd yet */
	bool too_large, impossible;
	int unread; /* -errno: a run could not be read */
};

static void content_drop(struct content *c)
{
	base_close(c->fd);
	c->fd = -1;
	content_room_give(c->from->room, c->held);
	c->held = 0;
}

static int content_open(struct content *c, struct err *err)
{
	if (c->fd < 0)
		c->fd = memfd_create("content", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	return c->fd < 0 ? err_set(err, errno, "make a memfd for a file's content") : 0;
}

static bool content_failed(const struct content *c)
{
	return c->too_large || c->impossible || c->unread;
}

/* As many pages as the bytes may need are taken first; what the memfd has got afterwards is what counts. */
static int content_add(struct content *c, const void *bytes, size_t len, uint64_t offset,
		       struct err *err)
{
	struct content_room *room = c->from->room;
	uint64_t need = ((len + PAGE - 1) / PAGE + 1) * PAGE, has;
	struct stat st;
	int r = content_room_take(room, c->held, content_failed(c) ? 0 : need);

	if (r < 0)
		return err_set(err, -r, "receive a file's content");
	if (r == CONTENT_ROOM_TOO_LARGE) {
		content_drop(c);
		c->too_large = true;
	}
	if (content_failed(c))
		return 0;
	c->held += need;
	c->only_runs = false;
	r = content_open(c, err);
	if (r < 0)
		return r;
	r = offset > INT64_MAX ? -EFBIG : io_pwrite_full(c->fd, bytes, len, offset);
	if (r == -EFBIG || r == -EINVAL || r == -EOVERFLOW) {
		content_drop(c);
		c->impossible = true;
		return 0;
	}
	if (r < 0 || fstat(c->fd, &st) < 0)
		return err_set(err, r < 0 ? -r : errno, "keep a file's content");
	c->received += len;
	has = (uint64_t)st.st_blocks * 512;
	if (has < c->held) {
		content_room_give(room, c->held - has);
		c->held = has;
	}
	return 0;
}

static int content_read_run(struct content *c, const struct content_run *run, struct err *err)
{
	uint64_t done = 0;

	while (done < run->length && !content_failed(c)) {
		const uint8_t *bytes;
		struct err unread = { 0 };
		ssize_t n = content_source_read(c->from->source, run->at + done, run->length - done,
						&bytes, &unread);
		int r;

		if (n < 0) {
			content_drop(c);
			c->unread = (int)n;
			return 0;
		}
		r = content_add(c, bytes, (size_t)n, run->offset + done, err);
		if (r < 0)
			return r;
		done += (uint64_t)n;
	}
	return 0;
}

static int content_read_runs(struct content *c, struct err *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < c->runs.count; i++)
		r = content_read_run(c, &c->runs.items[i], err);
	content_runs_clear(&c->runs);
	return r;
}

static int content_add_run(struct content *c, const struct content_run *run, struct err *err)
{
	int r = content_source_take(c->from->source, run, err);

	if (r < 0)
		return r;
	r = content_runs_add(&c->runs, run);
	if (r == CONTENT_RUNS_AGAIN) {
		r = content_read_runs(c, err);
		if (r == 0)
			r = content_runs_add(&c->runs, run);
	}
	return r == -ENOMEM ? err_set(err, ENOMEM, "receive a file's content") : r;
}

static int content_add_runs(struct content *c, const struct entry *piece, struct err *err)
{
	int r = 0;

	if (!c->from->source || !piece->path_len || piece->path_len % CONTENT_RUN_LEN)
		return err_say(err, EBADMSG, "a reader sent runs that make no sense");
	for (size_t at = 0; r == 0 && at < piece->path_len; at += CONTENT_RUN_LEN) {
		struct content_run run;

		if (content_run_decode(&run, (const uint8_t *)piece->path + at) < 0)
			return err_say(err, EBADMSG, "a reader sent a run without an end");
		r = content_add_run(c, &run, err);
	}
	return r;
}

static int content_add_piece(struct content *c, const struct entry *piece, struct err *err)
{
	int r;

	if (piece->kind == ENTRY_RUNS)
		return content_add_runs(c, piece, err);
	r = content_read_runs(c, err);
	return r < 0 ? r : content_add(c, piece->path, piece->path_len, piece->inode, err);
}

static void unreadable(struct entry *e, const char *reason)
{
	e->flags |= READER_UNREADABLE;
	e->reason = reason;
	e->reason_len = strlen(reason);
}

static bool content_known(const struct content *c, const struct entry *e)
{
	return c->only_runs && c->runs.count && c->from->known &&
	       c->from->known(c->from->arg, e, &c->runs);
}

/* The memfd becomes the entry's. Sealed, because workers of the engine get it as well. */
static int content_hand_over(struct content *c, struct entry *e, struct err *err)
{
	int r;

	if (e->kind != ENTRY_FILE || !e->has_content)
		return 0;
	if (content_runs_end(&c->runs) > e->size || e->size > INT64_MAX)
		c->impossible = true;
	e->known = !content_failed(c) && content_known(c, e);
	if (e->known)
		return 0;
	r = content_read_runs(c, err);
	if (r == 0 && !content_failed(c))
		r = content_open(c, err);
	if (r < 0)
		return r;
	if (c->too_large) {
		unreadable(e, "there is not enough memory for so much content (--content-memory)");
		return 0;
	}
	if (c->unread) {
		unreadable(e, strerror(-c->unread));
		return 0;
	}
	if (c->impossible || ftruncate(c->fd, (off_t)e->size) < 0) {
		unreadable(e, "the file's size is impossible");
		return 0;
	}
	if (fcntl(c->fd, F_ADD_SEALS, SEALS) < 0)
		return err_set(err, errno, "seal a file's content");
	e->content = TAKE_FD(c->fd);
	e->received = c->received;
	e->held = c->held;
	c->held = 0;
	return 0;
}

static bool is_piece(const struct entry *e)
{
	return e->kind == ENTRY_DATA || e->kind == ENTRY_RUNS;
}

int entry_channel_receive(const struct entry_receiver *from, char *buf, struct entry *e,
			  struct err *err)
{
	struct content content = { .from = from, .fd = -1, .only_runs = true };
	int r;

	do {
		r = receive_one(from->fd, buf, e, err);
		if (r == 0 && is_piece(e))
			r = content_add_piece(&content, e, err);
	} while (r == 0 && is_piece(e));
	if (r == 0)
		r = content_hand_over(&content, e, err);
	content_drop(&content);
	content_runs_deinit(&content.runs);
	return r;
}
