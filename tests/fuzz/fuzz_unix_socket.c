/* unix_socket_read_line on any bytes in pieces of any size: its lines are those bytes, in order, none lost or made up. */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/io.h"
#include "common/unix_socket.h"

enum { INPUT_MAX = 64 << 10 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct unix_socket_lines lines = { 0 };
	size_t piece, sent = 0, seen = 0;
	char *line;
	int fds[2], r;

	if (size < 1 || size > INPUT_MAX)
		return 0;
	piece = (size_t)data[0] * data[0] + 1;
	data++;
	size--;
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) < 0)
		abort();
	lines.fd = fds[0];
	do {
		size_t n = size - sent < piece ? size - sent : piece;

		if (io_write_full(fds[1], data + sent, n) < 0)
			abort();
		sent += n;
		if (sent == size)
			shutdown(fds[1], SHUT_WR);
		while ((r = unix_socket_read_line(&lines, 0, &line, NULL, NULL, NULL)) == 0) {
			size_t len = strlen(line);

			if (seen + len >= sent || memcmp(data + seen, line, len) != 0 ||
			    data[seen + len] != '\n')
				abort();
			seen += len + 1;
		}
		if (r < 0) {
			if (!memchr(data + seen, 0, sent - seen))
				abort();
			goto out; /* a zero byte ends the connection */
		}
		if (memchr(data + seen, '\n', sent - seen))
			abort();
	} while (sent < size);
	if (r != UNIX_SOCKET_CLOSED)
		abort();
out:
	unix_socket_lines_deinit(&lines);
	close(fds[0]);
	close(fds[1]);
	return 0;
}
