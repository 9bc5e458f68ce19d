/* bench_changes.c OLD NEW: the 64 KiB blocks in which two files of the same size differ, as lines "OFFSET LENGTH". */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base.h"
#include "common/io.h"

enum { BLOCK = 64 << 10 };

int main(int argc, char **argv)
{
	static uint8_t a[BLOCK], b[BLOCK];
	CLEANUP_FD int old = argc == 3 ? open(argv[1], O_RDONLY) : -1;
	CLEANUP_FD int new = argc == 3 ? open(argv[2], O_RDONLY) : -1;
	off_t size;

	if (old < 0 || new < 0) {
		fprintf(stderr, "bench_changes: two files\n");
		return 1;
	}
	size = lseek(new, 0, SEEK_END);
	for (off_t at = 0; at < size; at += BLOCK) {
		size_t len = size - at < BLOCK ? (size_t)(size - at) : BLOCK;

		if (io_pread_full(old, a, len, (uint64_t)at) ||
		    io_pread_full(new, b, len, (uint64_t)at)) {
			fprintf(stderr, "bench_changes: the files differ in size\n");
			return 1;
		}
		if (memcmp(a, b, len) != 0)
			printf("%lld %zu\n", (long long)at, len);
	}
	return 0;
}
