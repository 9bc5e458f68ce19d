/* entry_channel.h - how a reader reports files: one datagram each, the content as a sealed memfd beside it.
 *
 * A SOCK_SEQPACKET pair, so a message is whole or absent. The receiver believes nothing: lengths are checked, and a
 * content counts only if it is a memfd with exactly `size` bytes whose seals keep the sender from changing it.
 * The parent gives back one credit byte for every content it is done with; a reader stops at ENTRY_CHANNEL_WINDOW.
 * Wire, little-endian: struct entry_header in entry_channel.c, then path, stream and reason without terminators.
 */
#ifndef GODWIT_SCAN_ENTRY_CHANNEL_H
#define GODWIT_SCAN_ENTRY_CHANNEL_H

#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "mgmt-server/scan/file_digest.h"

enum {
	ENTRY_CHANNEL_PATH_MAX = 64 << 10,
	ENTRY_CHANNEL_TEXT_MAX = 1 << 10, /* stream and reason */
	ENTRY_CHANNEL_MESSAGE_MAX = 68 << 10,
	ENTRY_CHANNEL_WINDOW = 32, /* contents under way */
};

enum entry_kind {
	ENTRY_FILE,       /* with or without content */
	ENTRY_INCOMPLETE, /* the volume: reason */
	ENTRY_PARTITION, /* inode = offset, size = length, flags = number, path = type, stream = table type, reason = label */
	ENTRY_DONE,      /* everything was walked */
	ENTRY_FAILED,    /* it was not: reason */
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
	int content; /* the receiver's to close; -1: none */
};

/* Return 0, -EMSGSIZE when a text is too long, or -errno (-EPIPE: the other side is gone). */
int entry_channel_send(int fd, const struct entry *entry, struct err *err);

enum { ENTRY_CHANNEL_CLOSED = 1 };
/* buf: char[ENTRY_CHANNEL_MESSAGE_MAX]. Return 0, ENTRY_CHANNEL_CLOSED, -EBADMSG with the reason, or -errno. */
int entry_channel_receive(int fd, char *buf, struct entry *entry, struct err *err);

/* Parent: one content is done with. Reader: wait until fewer than the window are under way (*outstanding is updated). */
int entry_channel_credit(int fd);
int entry_channel_await(int fd, unsigned *outstanding);

#endif
