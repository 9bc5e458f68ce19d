/* entry_channel.h - how a reader reports files: messages with a piece of its content each, then one that names the file.
 *
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
	bool has_content; /* sender: what entry_channel_data sent; without any it is all zeros */
	int content;      /* the receiver's to close: sealed memfd of @size bytes; -1: none */
	uint64_t held;    /* the receiver's to give back to the room when it closed it */
};

/* Return 0, -EMSGSIZE when a text is too long, or -errno (-EPIPE: the other side is gone). */
int entry_channel_send(int fd, const struct entry *entry, struct err *err);

/* Bytes of the content of the file that is sent next; in any order. */
int entry_channel_data(int fd, const void *bytes, size_t len, uint64_t offset, struct err *err);

enum { ENTRY_CHANNEL_CLOSED = 1 };
/**
 * entry_channel_receive(fd, buf, room, entry, err):
 * The next message that is not data. A content that does not fit into @room, or whose size is impossible, makes the entry
 * READER_UNREADABLE with a reason and without content.
 *
 * buf  char[ENTRY_CHANNEL_MESSAGE_MAX]
 *
 * Return 0, ENTRY_CHANNEL_CLOSED, -EBADMSG with the reason, -ECANCELED as the room says, or -errno.
 */
int entry_channel_receive(int fd, char *buf, struct content_room *room, struct entry *entry,
			  struct err *err);

#endif
