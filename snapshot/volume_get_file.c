/* Restoring: threads take stretches of STRETCH bytes from a counter, fetch their chunks in one request each, and write what is not
 * zeros. Written past the page cache where the file system allows it: a disk does not fit there anyway, and filling pages
 * was 40 % of the processor time of a restore. Out of huge pages: a request to the disk is then one piece of memory instead of
 * hundreds that must not be more than a request may have, which was half of the time of a write. One thread more than there are processors, because one waits for the disk.
 */
#include "snapshot/volume.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/io.h"
#include "snapshot/volume_threads.h"
#include "snapshot/volume_tree.h"

enum { ALIGN = 4096, HUGE_PAGE = 2 << 20, STRETCH = 4 << 20, STRETCH_BLOCKS_MAX = STRETCH / 4096 };
_Static_assert((int)STRETCH_BLOCKS_MAX <= (int)CHUNK_IO_BATCH, "a stretch is one request");

struct get {
	const struct volume *volume;
	struct volume_tree tree;
	struct volume_reader *reader;
	struct chunk_source source;
	struct volume_progress *progress;
	int fd, direct_fd; /* direct_fd: the same file with O_DIRECT, -1 where that does not work */
	uint64_t stretch_blocks;
	atomic_uint_fast64_t next; /* block */
};

struct worker {
	struct get *get;
	uint8_t *buf;   /* STRETCH */
	uint64_t first; /* block */
	size_t n;
	struct chunk_id ids[STRETCH_BLOCKS_MAX];    /* of all blocks of the stretch */
	struct chunk_id wanted[STRETCH_BLOCKS_MAX]; /* those that are not zeros … */
	size_t place[STRETCH_BLOCKS_MAX], count;    /* … which of the blocks each is … */
	uint8_t *to[STRETCH_BLOCKS_MAX];            /* … where in buf it belongs … */
	size_t len[STRETCH_BLOCKS_MAX];             /* … and how many bytes it must have */
};

static int arrived(void *arg, size_t i, const uint8_t *data, size_t len, struct err *err)
{
	struct worker *w = arg;

	if (len != w->len[i])
		return err_say(err, EBADMSG, "block %llu has %zu bytes instead of %zu",
			       (unsigned long long)(w->first + w->place[i]), len, w->len[i]);
	memcpy(w->to[i], data, len);
	return 0;
}

/* Whole sectors go past the page cache; the end of a volume of odd size does not. */
static int write_run(struct get *get, const uint8_t *buf, size_t len, uint64_t offset)
{
	size_t direct = get->direct_fd >= 0 ? len / ALIGN * ALIGN : 0;
	int r = direct ? io_pwrite_full(get->direct_fd, buf, direct, offset) : 0;

	if (r == -EINVAL) { /* larger sectors than ours */
		direct = 0;
		r = 0;
	}
	if (r < 0 || direct == len)
		return r;
	r = io_pwrite_full(get->fd, buf + direct, len - direct, offset + direct);
	/* Only a hint: what it does not do, the fsync will. */
	sync_file_range(get->fd, (off_t)offset, (off_t)len, SYNC_FILE_RANGE_WRITE);
	return r;
}

/* Write the runs of blocks that are not zeros. */
static int write_runs(struct worker *w, struct err *err)
{
	const struct volume_tree *tree = &w->get->tree;

	for (size_t i = 0; i < w->n;) {
		size_t end = i, len;
		uint64_t offset;
		int r;

		if (chunk_id_is_zero(&w->ids[i])) {
			i++;
			continue;
		}
		while (end < w->n && !chunk_id_is_zero(&w->ids[end]))
			end++;
		len = (end - 1 - i) * tree->grid + volume_tree_block_len(tree, w->first + end - 1);
		offset = (w->first + i) * tree->grid;
		r = write_run(w->get, w->buf + i * tree->grid, len, offset);
		if (r < 0)
			return err_set(err, -r, "write %zu bytes at byte %llu", len,
				       (unsigned long long)offset);
		i = end;
	}
	return 0;
}

static int wanted_get(struct worker *w, struct err *err)
{
	const struct chunk_source *source = &w->get->source;

	return source->get_to ? source->get_to(source->ctx, w->wanted, w->count, w->to, w->len, err)
			      : source->get(source->ctx, w->wanted, w->count, arrived, w, err);
}

static int stretch_get(struct worker *w, struct err *err)
{
	struct get *get = w->get;
	uint64_t end = w->first + w->n;
	int r;

	r = volume_reader_ids(get->reader, w->first, w->n, w->ids, err);
	if (r < 0)
		return r;
	w->count = 0;
	for (size_t i = 0; i < w->n; i++) {
		if (chunk_id_is_zero(&w->ids[i]))
			continue;
		w->wanted[w->count] = w->ids[i];
		w->place[w->count] = i;
		w->to[w->count] = w->buf + i * get->tree.grid;
		w->len[w->count++] = volume_tree_block_len(&get->tree, w->first + i);
	}
	if (w->count) {
		volume_progress_pace(get->progress, w->count * get->tree.grid);
		r = wanted_get(w, err);
		if (r < 0)
			return r;
	}
	r = write_runs(w, err);
	if (r < 0)
		return r;
	if (get->progress)
		atomic_fetch_add(
			&get->progress->done_bytes,
			(end == get->tree.count[0] ? get->tree.size : end * get->tree.grid) -
				w->first * get->tree.grid);
	return 0;
}

static int worker_run(void *arg, struct err *err)
{
	struct get *get = arg;
	CLEANUP_FREE struct worker *w = malloc(sizeof(*w));
	CLEANUP_FREE uint8_t *buf = aligned_alloc(HUGE_PAGE, STRETCH);
	int r;

	if (!w || !buf)
		return err_set(err, ENOMEM, "buffers");
	madvise(buf, STRETCH, MADV_HUGEPAGE); /* only faster: small pages do, too */
	w->get = get;
	w->buf = buf;
	for (;;) {
		w->first = atomic_fetch_add(&get->next, get->stretch_blocks);
		if (w->first >= get->tree.count[0])
			return 0;
		w->n = get->tree.count[0] - w->first < get->stretch_blocks
			       ? (size_t)(get->tree.count[0] - w->first)
			       : (size_t)get->stretch_blocks;
		if (get->progress && atomic_load(&get->progress->cancel))
			r = err_say(err, ECANCELED, "cancelled");
		else
			r = stretch_get(w, err);
		if (r < 0) {
			atomic_store(&get->next, get->tree.count[0]);
			return r;
		}
	}
}

/* The same file once more, for writes past the page cache; -1 if its file system refuses (tmpfs does). */
static int open_direct(int fd)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, O_WRONLY | O_DIRECT | O_CLOEXEC);
}

static int run(struct get *get, unsigned threads, struct err *err)
{
	CLEANUP(task_pool_free) struct task_pool *pool = NULL;
	int r;

	if (ftruncate(get->fd, (off_t)get->tree.size) < 0)
		return err_set(err, errno, "set the size to %llu bytes",
			       (unsigned long long)get->tree.size);
	r = task_pool_new(&pool, volume_threads(threads), 64, err);
	if (r < 0)
		return r;
	get->direct_fd = open_direct(get->fd);
	for (unsigned i = 0; i < task_pool_threads(pool); i++) {
		r = task_pool_submit(pool, worker_run, get);
		if (r < 0)
			break;
	}
	r = task_pool_wait(pool, err);
	if (r < 0)
		return r;
	if (fsync(get->fd) < 0)
		return err_set(err, errno, "make the file durable");
	return 0;
}

int volume_get_file(const struct volume *volume, struct chunk_source source, int fd,
		    unsigned threads, struct volume_progress *progress, struct err *err)
{
	CLEANUP(volume_reader_close) struct volume_reader *reader = NULL;
	struct get get = { .volume = volume, .source = source, .fd = fd, .progress = progress };
	int r;

	r = volume_reader_open(&reader, volume, source, err);
	if (r < 0)
		return r;
	volume_tree_init(&get.tree, volume->size, volume->grid);
	get.reader = reader;
	get.stretch_blocks = STRETCH / volume->grid;
	if (progress)
		atomic_fetch_add(&progress->total_bytes, volume->size);
	get.direct_fd = -1;
	r = run(&get, threads, err);
	base_close(get.direct_fd);
	return r < 0 ? err_wrap(err, r, "volume %s", volume->name) : 0;
}
