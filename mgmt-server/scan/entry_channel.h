/* entry_channel.h - how a reader reports files: messages with a piece of its content each, then one that names the file.
 *
 * A piece are bytes, or runs: where the bytes are in the partition (content_runs.h). The receiver reads those itself.
 * A SOCK_SEQPACKET pair, so a message is whole or absent. The receiver believes nothing: lengths are checked, and contents
 * are kept in memfds of the receiver's own, which no reader can reach, within a content_room. While there is no room the
 * receiver does not receive, and the socket stops the reader. No descriptor is ever taken from a reader.
 * Wire, little-endian: struct entry_header in entry_channel.c, then path, stream and reason without terminators.
 */
#ifndef GODWIT_SCAN_ENTRY_CHANNEL_H
#define GODWIT_SCAN_ENTRY_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "mgmt-server/scan/content_room.h"
#include "mgmt-server/scan/content_source.h"
#include "mgmt-server/scan/file_digest.h"

enum {
	ENTRY_CHANNEL_PATH_MAX = 64 << 10,
	ENTRY_CHANNEL_TEXT_MAX = 1 << 10, /* stream and reason */
	ENTRY_CHANNEL_MESSAGE_MAX = 68 << 10,
	ENTRY_CHANNEL_DATA_MAX = ENTRY_CHANNEL_PATH_MAX, /* bytes of a content in one message */
};

enum entry_kind {
	ENTRY_FILE,       /* with or without content */
	ENTRY_INCOMPLETE, /* the volume: reason */
	ENTRY_PARTITION, /* inode = offset, size = length, flags = number, path = type, stream = table type, reason = label */
	ENTRY_DONE,      /* everything was walked */
	ENTRY_FAILED,    /* it was not: reason */
	ENTRY_DATA, /* on the wire only: inode = offset, path = bytes of the file that is named next */
	ENTRY_KERNEL, /* before any file: this volume is for the kernel's driver */
	ENTRY_RUNS,   /* on the wire only: path = runs of the file that is named next */
};

struct entry {
	enum entry_kind kind;
	uint32_t flags; /* enum reader_flags */
	uint64_t inode, size;
	int64_t mtime, ctime;
	uint8_t digest[FILE_DIGEST_LEN]; /* with READER_HAS_DIGEST */
	const char *path, *stream,
		*reason; /* not terminated; valid until the buffer is used again */
	size_t path_len, stream_len, reason_len;
	bool has_content; /* sender: the pieces that it sent; without any it is all zeros */
	bool known;  /* receiver: `known` said so of the content, which was therefore not read */
	int content; /* the receiver's to close: sealed memfd of @size bytes; -1: none */
	uint64_t received; /* bytes of it that a reader sent or that were read */
	uint64_t held;     /* the receiver's to give back to the room when it closed it */
};

/* Return 0, -EMSGSIZE when a text is too long, or -errno (-EPIPE: the other side is gone). */
int entry_channel_send(int fd, const struct entry *entry, struct err *err);

/* Bytes of the content of the file that is sent next; in any order. */
int entry_channel_data(int fd, const void *bytes, size_t len, uint64_t offset, struct err *err);

/* The bytes of the file that is sent next are, from @run->offset on, those at @run->at of the partition. A batch of them. */
enum { ENTRY_CHANNEL_RUNS_MAX = ENTRY_CHANNEL_DATA_MAX / CONTENT_RUN_LEN };
int entry_channel_runs(int fd, const struct content_run *runs, size_t count, struct err *err);

struct entry_receiver {
	int fd;
	struct content_room *room;
	struct content_source *source; /* what runs speak of; NULL: this reader must not send any */
	/* Is a content of these runs, and zeros where there are none, known? Then it need not be read. May be NULL. */
	bool (*known)(void *arg, const struct entry *entry, const struct content_runs *runs);
	void *arg;
};

enum { ENTRY_CHANNEL_CLOSED = 1 };
/**
 * entry_channel_receive(from, buf, entry, err):
 * The next message that is no piece of a content. A content that does not fit into the room, that cannot be read or whose
 * size is impossible makes the entry READER_UNREADABLE with a reason and without content.
 *
 * buf  char[ENTRY_CHANNEL_MESSAGE_MAX]
 *
 * Return 0, ENTRY_CHANNEL_CLOSED, -EBADMSG with the reason, -ECANCELED as the room says, or -errno.
 */
int entry_channel_receive(const struct entry_receiver *from, char *buf, struct entry *entry,
			  struct err *err);

#endif
