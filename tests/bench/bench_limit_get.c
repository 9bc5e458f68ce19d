/* bench_limit_get.c FILE OUT: what a restore cannot do without, on all processors, and nothing else: AES-256-GCM, zstd, SHA-256 and the
 * writes of every 64 KiB block of a file that is not zeros. Compressed and encrypted blocks come from memory; making
 * them is not counted. Prints seconds of wall and of processors.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "common/io.h"
#include "common/task.h"
#include "snapshot/file_input.h"
#include "snapshot/pack_crypt.h"
#include "snapshot/volume_threads.h"

enum { GRID = CHUNK_GRID_DISK, STRETCH = 4 << 20, BLOCKS = STRETCH / GRID };

struct limit {
	struct volume_input input;
	int fd;
	struct stretch {
		uint8_t *sealed; /* all blocks one after the other, each with its tag */
		struct chunk_encoded block[BLOCKS]; /* raw_len 0: zeros */
	} * stretches;
	size_t count;
	atomic_size_t next;
};

static const uint8_t key[PACK_CRYPT_KEY_LEN];

static int seal(struct limit *limit, size_t i, const uint8_t *raw, size_t len, struct err *err)
{
	CLEANUP_FREE uint8_t *buf = malloc(GRID);
	struct stretch *s = &limit->stretches[i];
	uint8_t *out = malloc(STRETCH + BLOCKS * PACK_CRYPT_TAG_LEN);
	size_t used = 0;

	if (!buf || !out)
		return err_set(err, ENOMEM, "buffers");
	for (size_t b = 0; b * GRID < len; b++) {
		size_t n = len - b * GRID < GRID ? len - b * GRID : GRID;
		struct chunk_encoded *e = &s->block[b];
		struct pack_crypt how = { .key = key, .offset = i * BLOCKS + b };
		int r;

		if (chunk_is_zero(raw + b * GRID, n))
			continue;
		chunk_id_of(raw + b * GRID, n, &e->id);
		r = chunk_encode(CHUNK_CODEC_ZSTD, raw + b * GRID, n, buf, e, err);
		if (r < 0)
			return r;
		r = pack_crypt_seal(&how, &(struct pack_crypt_pieces){ e->data, NULL, e->len, 0 },
				    out + used, err);
		if (r < 0)
			return r;
		used += e->len + PACK_CRYPT_TAG_LEN;
	}
	s->sealed = realloc(out, used + 1);
	return 0;
}

static size_t stretch_len(const struct limit *limit, size_t i)
{
	uint64_t left = limit->input.size - (uint64_t)i * STRETCH;

	return left < STRETCH ? (size_t)left : STRETCH;
}

static int seal_run(void *arg, struct err *err)
{
	CLEANUP_FREE uint8_t *raw = malloc(STRETCH);
	struct limit *limit = arg;
	size_t i;
	int r = 0;

	while (r == 0 && (i = atomic_fetch_add(&limit->next, 1)) < limit->count) {
		r = limit->input.read(limit->input.ctx, raw, stretch_len(limit, i),
				      (uint64_t)i * STRETCH, err);
		if (r == 0)
			r = seal(limit, i, raw, stretch_len(limit, i), err);
	}
	return r;
}

/* The blocks of a stretch, two at a time. */
static int open_stretch(struct limit *limit, size_t i, uint8_t *raw, struct err *err)
{
	struct stretch *s = &limit->stretches[i];
	struct chunk_encoded pair[2];
	uint8_t *sealed = s->sealed, *to[2];
	size_t held = 0, bad;
	int r = 0;

	for (size_t b = 0; r == 0 && b < BLOCKS; b++) {
		struct pack_crypt how = { .key = key, .offset = i * BLOCKS + b };

		if (!s->block[b].raw_len)
			continue;
		r = pack_crypt_open(&how, sealed, s->block[b].len, err);
		pair[held] = s->block[b];
		pair[held].data = sealed;
		to[held++] = raw + b * GRID;
		sealed += s->block[b].len + PACK_CRYPT_TAG_LEN;
		if (r == 0 && held == 2) {
			held = 0;
			r = chunk_decode_pair(pair, to, &bad, err);
		}
	}
	return r == 0 && held ? chunk_decode(&pair[0], to[0], err) : r;
}

/* Runs of whole blocks that are not zeros; an image is whole blocks. */
static int write_stretch(struct limit *limit, size_t i, const uint8_t *raw, struct err *err)
{
	const struct chunk_encoded *block = limit->stretches[i].block;

	for (size_t b = 0, end; b < BLOCKS; b = end) {
		int r;

		for (end = b; end < BLOCKS && block[end].raw_len == GRID; end++)
			;
		if (end == b) {
			end++;
			continue;
		}
		r = io_pwrite_full(limit->fd, raw + b * GRID, (end - b) * GRID,
				   (uint64_t)i * STRETCH + b * GRID);
		if (r < 0)
			return err_set(err, -r, "write");
	}
	return 0;
}

static int open_run(void *arg, struct err *err)
{
	CLEANUP_FREE uint8_t *raw = aligned_alloc(2 << 20, STRETCH);
	struct limit *limit = arg;
	size_t i;
	int r = 0;

	if (!raw)
		return err_set(err, ENOMEM, "buffers");
	madvise(raw, STRETCH, MADV_HUGEPAGE);
	while (r == 0 && (i = atomic_fetch_add(&limit->next, 1)) < limit->count) {
		r = open_stretch(limit, i, raw, err);
		if (r == 0)
			r = write_stretch(limit, i, raw, err);
	}
	return r > 0 ? err_say(err, EBADMSG, "a block does not come back") : r;
}

static int everywhere(struct limit *limit, task_fn *fn, struct err *err)
{
	CLEANUP(task_pool_free) struct task_pool *pool = NULL;
	int r = task_pool_new(&pool, volume_threads(0), 64, err);

	atomic_store(&limit->next, 0);
	for (unsigned i = 0; r == 0 && i < task_pool_threads(pool); i++)
		r = task_pool_submit(pool, fn, limit);
	return pool ? task_pool_wait(pool, err) : r;
}

static double seconds(clockid_t which)
{
	struct timespec t;

	clock_gettime(which, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int run(struct limit *limit, struct err *err)
{
	double wall, cpu;
	int r;

	limit->count = (size_t)((limit->input.size + STRETCH - 1) / STRETCH);
	limit->stretches = calloc(limit->count, sizeof(*limit->stretches));
	if (!limit->stretches || ftruncate(limit->fd, (off_t)limit->input.size) < 0)
		return err_set(err, errno, "prepare");
	r = everywhere(limit, seal_run, err);
	if (r < 0)
		return r;
	wall = seconds(CLOCK_MONOTONIC);
	cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
	r = everywhere(limit, open_run, err);
	if (r == 0 && fsync(limit->fd) < 0)
		r = err_set(err, errno, "fsync");
	printf("%.2f %.1f\n", seconds(CLOCK_MONOTONIC) - wall,
	       seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu);
	return r;
}

int main(int argc, char **argv)
{
	CLEANUP(file_input_close) struct file_input *file = NULL;
	struct limit limit = { .fd = -1 };
	struct err err = { 0 };

	if (argc != 3 || file_input_open(&file, argv[1], &err) < 0) {
		fprintf(stderr, "bench_limit_get: %s\n", argc == 3 ? err_text(&err) : "two files");
		return 1;
	}
	limit.input = file_input_volume(file);
	limit.fd = open(argv[2], O_WRONLY | O_CREAT | O_TRUNC | O_DIRECT | O_CLOEXEC, 0600);
	if (limit.fd < 0 || run(&limit, &err) < 0) {
		fprintf(stderr, "bench_limit_get: %s\n",
			limit.fd < 0 ? strerror(errno) : err_text(&err));
		return 1;
	}
	close(limit.fd);
	return 0;
}
