/* Messages of a hijacked reader: texts never reach beyond the message, sizes and seals of a content are what they say. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base.h"
#include "mgmt-server/scan/entry_channel.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void inside(const char *buf, const char *text, size_t len)
{
	if (text < buf || text + len > buf + ENTRY_CHANNEL_MESSAGE_MAX)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char buf[ENTRY_CHANNEL_MESSAGE_MAX];
	struct entry e = { .content = -1 };
	struct err err = { 0 };
	int fds[2], r;

	if (!size || size > 2 * (size_t)ENTRY_CHANNEL_MESSAGE_MAX ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds) < 0)
		return 0;
	if (send(fds[0], data, size, MSG_DONTWAIT) == (ssize_t)size) {
		r = entry_channel_receive(fds[1], buf, &e, &err);
		if (r == 0) {
			inside(buf, e.path, e.path_len);
			inside(buf, e.stream, e.stream_len);
			inside(buf, e.reason, e.reason_len);
			if ((int)e.kind < 0 || e.kind > ENTRY_FAILED || e.content >= 0)
				abort(); /* none came along */
		} else if (r < 0 && !err.text[0]) {
			abort();
		}
	}
	base_close(e.content);
	close(fds[0]);
	close(fds[1]);
	return 0;
}
