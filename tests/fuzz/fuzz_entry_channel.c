/* Messages of a hijacked reader: texts never reach beyond the message, a content has the size it says and the room it takes,
 * and nothing is read that is not in its partition, or more than there is. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base.h"
#include "mgmt-server/scan/entry_channel.h"
#include "mgmt-server/scan/reader.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void inside(const char *buf, const char *text, size_t len)
{
	if (text < buf || text + len > buf + ENTRY_CHANNEL_MESSAGE_MAX)
		abort();
}

enum { HEADER = 72, PATH_LEN_AT = 40, ROOM = 1 << 20 };

/* How much of the input is the next message: pieces of a content may come before the entry. */
static size_t message_len(const uint8_t *data, size_t size)
{
	uint32_t kind, path_len;

	if (size < HEADER)
		return size;
	memcpy(&kind, data, sizeof(kind));
	memcpy(&path_len, data + PATH_LEN_AT, sizeof(path_len));
	return (kind == ENTRY_DATA || kind == ENTRY_RUNS) && path_len < size - HEADER
		       ? HEADER + path_len
		       : size;
}

enum { VOLUME = 512 << 10, PARTITION_AT = 4096, PARTITION = 300 << 10 };

static uint64_t bytes_read;

/* Whole blocks are read of which the partition has a part; a run of one sector may lie in two. */
static int read_volume(void *ctx, uint8_t *to, size_t len, uint64_t offset, struct err *err)
{
	(void)ctx;
	if (offset > VOLUME || len > VOLUME - offset || offset >= PARTITION_AT + PARTITION)
		abort();
	bytes_read += len;
	if (offset == 4 * CHUNK_GRID_DISK)
		return err_say(err, EBADMSG, "a damaged chunk");
	memset(to, 0x5a, len);
	return 0;
}

static const struct volume_input volume = { .size = VOLUME, .read = read_volume };

static bool know(void *arg, const struct entry *e, const struct content_runs *runs)
{
	(void)arg;
	if (!runs->count || content_runs_end(runs) > e->size)
		abort();
	for (size_t i = 1; i < runs->count; i++) {
		if (runs->items[i].offset < runs->items[i - 1].offset + runs->items[i - 1].length)
			abort();
	}
	return e->inode % 2;
}

static void check(const char *buf, const struct entry *e)
{
	struct stat st;

	inside(buf, e->path, e->path_len);
	inside(buf, e->stream, e->stream_len);
	/* The receiver gives a reason of its own, from elsewhere, for a content that it could not keep. */
	if (!(e->flags & READER_UNREADABLE) || memchr(e->reason, '\0', e->reason_len))
		inside(buf, e->reason, e->reason_len);
	if ((int)e->kind < 0 || e->kind == ENTRY_DATA || e->kind > ENTRY_KERNEL)
		abort();
	if (e->known && (e->content >= 0 || e->kind != ENTRY_FILE || !e->has_content))
		abort();
	if (e->content >= 0 &&
	    (e->kind != ENTRY_FILE || !e->has_content || fstat(e->content, &st) < 0 ||
	     (uint64_t)st.st_size != e->size || (uint64_t)st.st_blocks * 512 > e->held))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char buf[ENTRY_CHANNEL_MESSAGE_MAX];
	struct entry e = { .content = -1 };
	struct err err = { 0 };
	struct content_room room;
	struct entry_receiver from = { .room = &room, .known = know };
	int fds[2], r = 0;

	if (!size || size > 2 * (size_t)ENTRY_CHANNEL_MESSAGE_MAX ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds) < 0)
		return 0;
	content_room_init(&room, ROOM, NULL);
	bytes_read = 0;
	r = content_source_open(&from.source, &volume, PARTITION_AT, PARTITION, &err);
	from.fd = fds[1];
	while (size && r == 0) {
		size_t n = message_len(data, size);

		r = send(fds[0], data, n, MSG_DONTWAIT) == (ssize_t)n ? 0 : -1;
		data += n;
		size -= n;
	}
	shutdown(fds[0], SHUT_WR);
	if (r == 0) {
		r = entry_channel_receive(&from, buf, &e, &err);
		if (r == 0)
			check(buf, &e);
		else if (r < 0 && !err.text[0])
			abort();
		if (room.used != (r == 0 ? e.held : 0) ||
		    bytes_read > 2 * (PARTITION / 512) * (uint64_t)CHUNK_GRID_DISK)
			abort();
	}
	content_source_close(from.source);
	base_close(e.content);
	content_room_deinit(&room);
	close(fds[0]);
	close(fds[1]);
	return 0;
}
