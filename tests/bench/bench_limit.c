/* bench_limit.c FILE: SHA-256 and zstd -1 of every 64 KiB block of a file that is not zeros, on all processors, and nothing else:
 * no store could be faster.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/task.h"
#include "snapshot/file_input.h"
#include "snapshot/volume_threads.h"

static int nothing_there(void *ctx, const struct chunk_id *ids, size_t n, uint8_t *present,
			 struct err *err)
{
	(void)ctx, (void)ids, (void)err;
	memset(present, 0, (n + 7) / 8);
	return 0;
}

static int drop(void *ctx, const struct chunk_encoded *chunks, size_t n, struct err *err)
{
	(void)ctx, (void)chunks, (void)n, (void)err;
	return 0;
}

int main(int argc, char **argv)
{
	CLEANUP(file_input_close) struct file_input *file = NULL;
	struct volume v = { .name = "disk0", .grid = CHUNK_GRID_DISK };
	struct volume_put order = { .sink = { NULL, nothing_there, drop },
				    .codec = CHUNK_CODEC_ZSTD };
	struct volume_input input;
	struct err err = { 0 };

	if (argc != 2 || file_input_open(&file, argv[1], &err) < 0) {
		fprintf(stderr, "bench_limit: %s\n", argc == 2 ? err_text(&err) : "one file");
		return 1;
	}
	input = file_input_volume(file);
	order.input = &input;
	if (volume_put(&order, &v, NULL, &err) < 0) {
		fprintf(stderr, "bench_limit: %s\n", err_text(&err));
		return 1;
	}
	return 0;
}
