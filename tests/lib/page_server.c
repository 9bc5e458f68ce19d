/* page_server.c - plays the source of a desktop's memory out of a captured stream, for tests.
 *
 *   page_server STREAM STORE SOCKET BYTES_PER_S [recover]
 *
 * Puts the memory STREAM into a store at STORE (made when it is not there), then serves the QEMU that listens on SOCKET by
 * postcopy, over a line of BYTES_PER_S. recover: QEMU is in postcopy-paused. Ends with 0 when all pages are there.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/unix_socket.h"
#include "tests/lib/memory_trip.h"

static const uint64_t ram_max = 4ull << 30;

int main(int argc, char **argv)
{
	CLEANUP(store_close) struct store *store = NULL;
	CLEANUP_FD int stream = -1, socket = -1;
	struct memory_trip_line line = { .lock = PTHREAD_MUTEX_INITIALIZER };
	struct postcopy_source_stats stats = { .running = false };
	struct postcopy_source order = { .stats = &stats };
	struct manifest manifest;
	struct err err = { .code = EINVAL };
	int r;

	if (argc < 5) {
		fputs("usage: page_server STREAM STORE SOCKET BYTES_PER_S [recover]\n", stderr);
		return 2;
	}
	stream = open(argv[1], O_RDONLY | O_CLOEXEC);
	if (stream < 0)
		return 2;
	if (access(argv[2], F_OK) < 0 && store_init(argv[2], NULL, &err) < 0)
		goto fail;
	if (store_open(&store, argv[2], NULL, STORE_WRITE, &err) < 0)
		goto fail;
	memory_trip_put(store, stream, ram_max, &manifest);
	line.inner = store_source(store);
	line.bytes_per_s = strtoull(argv[4], NULL, 10);
	socket = unix_socket_connect(argv[3], &err);
	if (socket < 0)
		goto fail;
	puts("serving");
	fflush(stdout);
	order.manifest = &manifest;
	order.source = memory_trip_line_source(&line);
	order.fd = socket;
	order.recover = argc > 5 && strcmp(argv[5], "recover") == 0;
	r = postcopy_source_run(&order, &err);
	manifest_deinit(&manifest);
	if (r < 0)
		goto fail;
	printf("sent %llu pages, %llu on demand\n", (unsigned long long)stats.pages_sent,
	       (unsigned long long)stats.requests);
	return 0;
fail:
	fprintf(stderr, "page_server: %s\n", err_text(&err));
	return 1;
}
