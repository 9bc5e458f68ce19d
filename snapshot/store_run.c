#include "snapshot/store_run.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/le.h"
#include "common/io.h"
#include "snapshot/crc32c.h"

enum {
	ENTRY_LEN = 24,
	PAGE_HEAD = 8,
	HEADER_LEN = 64,
	HEADER_COUNT = 8,
	HEADER_PAGES = 16,
	HEADER_FILTER_BLOCKS = 24,
	HEADER_FILTER_CRC = 32,
	HEADER_CRC = 60,
	BLOCK_BYTES = 64,
	BLOCK_BITS = 512,
	FILTER_BITS = 11,
	PROBES = 6,
	BUFFER_PAGES = 64,
};
_Static_assert((int)PAGE_HEAD + (int)STORE_RUN_PAGE_ENTRIES * (int)ENTRY_LEN <= (int)STORE_RUN_PAGE,
	       "entries fit a page");

static const char magic[8] = "GODWRUN1";

/* ---- Filter: one cache line an entry ------------------------------------------------------------------------ */

static uint64_t filter_blocks(uint64_t entries)
{
	return entries * FILTER_BITS / BLOCK_BITS + 1;
}

/* Which line: the tag's second half. Which bits in it: nine at a time of its first half. */
static uint8_t *filter_line(uint8_t *filter, uint64_t blocks, const uint8_t *tag)
{
	return filter + (size_t)((unsigned __int128)le_get64(tag + 8) * blocks >> 64) * BLOCK_BYTES;
}

static void filter_set(uint8_t *filter, uint64_t blocks, const uint8_t *tag)
{
	uint8_t *line = filter_line(filter, blocks, tag);
	uint64_t bits = le_get64(tag);

	for (int i = 0; i < PROBES; i++, bits >>= 9)
		line[bits % BLOCK_BITS / 8] |= (uint8_t)(1u << (bits % 8));
}

static bool filter_has(const uint8_t *filter, uint64_t blocks, const uint8_t *tag)
{
	const uint8_t *line = filter_line((uint8_t *)(uintptr_t)filter, blocks, tag);
	uint64_t bits = le_get64(tag);

	for (int i = 0; i < PROBES; i++, bits >>= 9)
		if (!(line[bits % BLOCK_BITS / 8] >> (bits % 8) & 1))
			return false;
	return true;
}

/* ---- Writing ------------------------------------------------------------------------------------------------ */

struct store_run_writer {
	char *path, *temp;
	int fd;
	uint64_t count, pages, blocks;
	uint8_t *filter;
	size_t in_page; /* entries in the page being filled */
	size_t full;    /* full pages in the buffer */
	uint8_t buffer[BUFFER_PAGES][STORE_RUN_PAGE];
};

void store_run_writer_cancel(struct store_run_writer *w)
{
	if (!w)
		return;
	if (w->fd >= 0) {
		close(w->fd);
		unlink(w->temp);
	}
	free(w->filter);
	free(w->path);
	free(w->temp);
	free(w);
}

int store_run_writer_new(struct store_run_writer **out, const char *path, uint64_t most,
			 struct err *err)
{
	struct store_run_writer *w = calloc(1, sizeof(*w));

	if (!w)
		return err_set(err, ENOMEM, "write %s", path);
	w->fd = -1;
	w->path = strdup(path);
	w->temp = io_printf("%s.tmp", path);
	w->blocks = filter_blocks(most);
	w->filter = calloc(w->blocks, BLOCK_BYTES);
	if (!w->path || !w->temp || !w->filter) {
		store_run_writer_cancel(w);
		return err_set(err, ENOMEM, "write %s", path);
	}
	w->fd = open(w->temp, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (w->fd < 0) {
		int r = err_set(err, errno, "make %s", w->temp);

		store_run_writer_cancel(w);
		return r;
	}
	*out = w;
	return 0;
}

static int buffer_write(struct store_run_writer *w, struct err *err)
{
	int r = io_pwrite_full(w->fd, w->buffer, w->full * STORE_RUN_PAGE,
			       HEADER_LEN + (w->pages - w->full) * STORE_RUN_PAGE);

	w->full = 0;
	return r < 0 ? err_set(err, -r, "write %s", w->temp) : 0;
}

static int page_end(struct store_run_writer *w, struct err *err)
{
	uint8_t *page = w->buffer[w->full];

	le_put32(page + 4, (uint32_t)w->in_page);
	le_put32(page, crc32c(0, page + 4, STORE_RUN_PAGE - 4));
	w->in_page = 0;
	w->pages++;
	if (++w->full < BUFFER_PAGES)
		return 0;
	return buffer_write(w, err);
}

int store_run_writer_add(struct store_run_writer *w, const struct store_index_entry *entry,
			 struct err *err)
{
	uint8_t *page = w->buffer[w->full], *p = page + PAGE_HEAD + w->in_page * ENTRY_LEN;

	if (w->in_page == 0)
		memset(page, 0, STORE_RUN_PAGE);
	memcpy(p, entry->tag, STORE_INDEX_TAG_LEN);
	le_put32(p + 16, entry->pack);
	le_put32(p + 20, entry->record);
	filter_set(w->filter, w->blocks, entry->tag);
	w->count++;
	return ++w->in_page == STORE_RUN_PAGE_ENTRIES ? page_end(w, err) : 0;
}

static int finish(struct store_run_writer *w, struct err *err)
{
	uint8_t header[HEADER_LEN] = { 0 };
	size_t filter_len = (size_t)w->blocks * BLOCK_BYTES;
	int r = 0;

	if (w->in_page)
		r = page_end(w, err);
	if (r == 0)
		r = buffer_write(w, err);
	if (r < 0)
		return r;
	memcpy(header, magic, 8);
	le_put64(header + HEADER_COUNT, w->count);
	le_put64(header + HEADER_PAGES, w->pages);
	le_put64(header + HEADER_FILTER_BLOCKS, w->blocks);
	le_put32(header + HEADER_FILTER_CRC, crc32c(0, w->filter, filter_len));
	le_put32(header + HEADER_CRC, crc32c(0, header, HEADER_CRC));
	r = io_pwrite_full(w->fd, w->filter, filter_len, HEADER_LEN + w->pages * STORE_RUN_PAGE);
	if (r == 0)
		r = io_pwrite_full(w->fd, header, sizeof(header), 0);
	if (r == 0 && fdatasync(w->fd) < 0)
		r = -errno;
	if (r == 0 && rename(w->temp, w->path) < 0)
		r = -errno;
	return r < 0 ? err_set(err, -r, "write %s", w->temp) : 0;
}

int store_run_writer_finish(struct store_run_writer *w, struct err *err)
{
	int r = finish(w, err);

	if (r == 0) {
		close(w->fd);
		w->fd = -1; /* it has its name: cancel must not unlink it */
	}
	store_run_writer_cancel(w);
	return r;
}

/* ---- Reading ------------------------------------------------------------------------------------------------ */

struct store_run {
	atomic_uint refs;
	char *path;
	int fd;
	uint64_t count, pages, blocks, bytes;
	uint8_t *filter;
};

void store_run_ref(struct store_run *run)
{
	atomic_fetch_add(&run->refs, 1);
}

void store_run_unref(struct store_run *run)
{
	if (!run || atomic_fetch_sub(&run->refs, 1) != 1)
		return;
	base_close(run->fd);
	free(run->filter);
	free(run->path);
	free(run);
}

static int damaged(const struct store_run *run, struct err *err, const char *what)
{
	return err_say(err, EBADMSG, "index run %s: %s", run->path, what);
}

static int header_read(struct store_run *run, struct err *err)
{
	uint8_t header[HEADER_LEN];
	struct stat st;

	if (fstat(run->fd, &st) < 0)
		return err_set(err, errno, "open %s", run->path);
	if (io_pread_full(run->fd, header, sizeof(header), 0) || memcmp(header, magic, 8) != 0 ||
	    le_get32(header + HEADER_CRC) != crc32c(0, header, HEADER_CRC))
		return damaged(run, err, "its header is damaged");
	run->bytes = (uint64_t)st.st_size;
	run->count = le_get64(header + HEADER_COUNT);
	run->pages = le_get64(header + HEADER_PAGES);
	run->blocks = le_get64(header + HEADER_FILTER_BLOCKS);
	/* Each bound first on its own, so that no sum can wrap. */
	if (run->pages > run->bytes / STORE_RUN_PAGE || !run->blocks ||
	    run->blocks > run->bytes / BLOCK_BYTES ||
	    HEADER_LEN + run->pages * STORE_RUN_PAGE + run->blocks * BLOCK_BYTES != run->bytes ||
	    run->count > run->pages * STORE_RUN_PAGE_ENTRIES)
		return damaged(run, err, "its header does not fit its size");
	run->filter = malloc((size_t)run->blocks * BLOCK_BYTES);
	if (!run->filter)
		return err_set(err, ENOMEM, "open %s", run->path);
	if (io_pread_full(run->fd, run->filter, (size_t)run->blocks * BLOCK_BYTES,
			  HEADER_LEN + run->pages * STORE_RUN_PAGE) ||
	    crc32c(0, run->filter, (size_t)run->blocks * BLOCK_BYTES) !=
		    le_get32(header + HEADER_FILTER_CRC))
		return damaged(run, err, "its filter is damaged");
	return 0;
}

int store_run_open(struct store_run **out, const char *path, struct err *err)
{
	CLEANUP(store_run_unref) struct store_run *run = calloc(1, sizeof(*run));
	int r;

	if (!run)
		return err_set(err, ENOMEM, "open %s", path);
	atomic_init(&run->refs, 1);
	run->fd = -1;
	run->path = strdup(path);
	if (!run->path)
		return err_set(err, ENOMEM, "open %s", path);
	run->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (run->fd < 0)
		return err_set(err, errno, "open %s", path);
	r = header_read(run, err);
	if (r < 0)
		return r;
	*out = TAKE(run);
	return 0;
}

uint64_t store_run_count(const struct store_run *run)
{
	return run->count;
}

uint64_t store_run_bytes(const struct store_run *run)
{
	return run->bytes;
}

uint64_t store_run_pages(const struct store_run *run)
{
	return run->pages;
}

const char *store_run_path(const struct store_run *run)
{
	return run->path;
}

int store_run_parse_page(const uint8_t page[STORE_RUN_PAGE], struct store_index_entry *out,
			 size_t *count)
{
	uint32_t n = le_get32(page + 4);

	if (le_get32(page) != crc32c(0, page + 4, STORE_RUN_PAGE - 4) || !n ||
	    n > STORE_RUN_PAGE_ENTRIES)
		return -EBADMSG;
	for (uint32_t i = 0; i < n; i++) {
		const uint8_t *p = page + PAGE_HEAD + (size_t)i * ENTRY_LEN;

		memcpy(out[i].tag, p, STORE_INDEX_TAG_LEN);
		out[i].pack = le_get32(p + 16);
		out[i].record = le_get32(p + 20);
		if (i && memcmp(out[i - 1].tag, out[i].tag, STORE_INDEX_TAG_LEN) > 0)
			return -EBADMSG;
	}
	*count = n;
	return 0;
}

/* A page as it is in the file, with a checksum and a count that are right. */
static int page_read(const struct store_run *run, uint64_t i, uint8_t page[STORE_RUN_PAGE],
		     size_t *count, struct err *err)
{
	int r;

	assert(i < run->pages);
	r = io_pread_full(run->fd, page, STORE_RUN_PAGE, HEADER_LEN + i * STORE_RUN_PAGE);
	if (r < 0)
		return err_set(err, -r, "read %s", run->path);
	*count = le_get32(page + 4);
	if (r == IO_SHORT || le_get32(page) != crc32c(0, page + 4, STORE_RUN_PAGE - 4) || !*count ||
	    *count > STORE_RUN_PAGE_ENTRIES)
		return err_say(err, EBADMSG, "index run %s: page %llu is damaged", run->path,
			       (unsigned long long)i);
	return 0;
}

int store_run_page(const struct store_run *run, uint64_t i, struct store_index_entry *out,
		   size_t *count, struct err *err)
{
	uint8_t page[STORE_RUN_PAGE];
	int r = page_read(run, i, page, count, err);

	if (r == 0 && store_run_parse_page(page, out, count) < 0)
		return err_say(err, EBADMSG, "index run %s: page %llu is out of order", run->path,
			       (unsigned long long)i);
	return r;
}

/* Entry @i of a page begins with its tag. */
static const uint8_t *entry_at(const uint8_t *page, size_t i)
{
	return page + PAGE_HEAD + i * ENTRY_LEN;
}

/* How many pages lie between two tags, if they are evenly distributed? */
static uint64_t page_distance(const struct store_run *run, uint64_t from, uint64_t to)
{
	return (uint64_t)((unsigned __int128)(to - from) * run->pages >> 64);
}

static uint64_t sort_key(const uint8_t *tag)
{
	uint64_t key;

	memcpy(&key, tag, 8);
	return be64toh(key);
}

/* A page at or right before the first that may hold the tag. Each miss tells how far it was off, so two or three reads do. */
static int find_page(struct store_run *run, const uint8_t *tag, uint64_t *number, uint8_t *page,
		     size_t *count, struct err *err)
{
	uint64_t low = 0, high = run->pages, key = sort_key(tag);
	uint64_t at = page_distance(run, 0, key);

	for (;;) {
		int r = page_read(run, at, page, count, err);
		uint64_t first, step;

		if (r < 0)
			return r;
		first = sort_key(entry_at(page, 0));
		if (memcmp(entry_at(page, 0), tag, STORE_INDEX_TAG_LEN) >= 0 && at > low) {
			high = at; /* equal: the page before may hold more of them */
			step = page_distance(run, key, first) + 1;
			at = at - low > step ? at - step : low;
		} else if (memcmp(entry_at(page, *count - 1), tag, STORE_INDEX_TAG_LEN) < 0 &&
			   at + 1 < high) {
			low = at + 1;
			step = page_distance(run, first, key) + 1;
			at = high - 1 - at > step ? at + step : high - 1;
			if (at < low)
				at = low;
		} else {
			break;
		}
	}
	*number = at;
	return 0;
}

/* The first entry of the page that is not below @tag. */
static size_t lower_bound(const uint8_t *page, size_t count, const uint8_t *tag)
{
	size_t low = 0, high = count;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (memcmp(entry_at(page, mid), tag, STORE_INDEX_TAG_LEN) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

int store_run_find(struct store_run *run, const uint8_t tag[STORE_INDEX_TAG_LEN],
		   struct store_index_entry *out, size_t max, size_t *n, struct err *err)
{
	uint8_t page[STORE_RUN_PAGE];
	uint64_t number;
	size_t count;
	int r;

	if (!run->pages || !filter_has(run->filter, run->blocks, tag))
		return 0;
	r = find_page(run, tag, &number, page, &count, err);
	while (r == 0) {
		for (size_t i = lower_bound(page, count, tag); i < count; i++) {
			const uint8_t *p = entry_at(page, i);

			if (*n == max || memcmp(p, tag, STORE_INDEX_TAG_LEN) != 0)
				return 0;
			memcpy(out[*n].tag, p, STORE_INDEX_TAG_LEN);
			out[*n].pack = le_get32(p + 16);
			out[(*n)++].record = le_get32(p + 20);
		}
		if (++number == run->pages)
			return 0;
		r = page_read(run, number, page, &count, err);
	}
	return r;
}
