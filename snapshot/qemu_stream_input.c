/* qemu_stream_input.c - the parts of an indexed stream as inputs of volume_put.
 *
 * Pages that QEMU sent one after the other lie in the file with only a record's address between them, so a grid block
 * of four is one preadv(2). Thread-safe: nothing is written after the index was made.
 */
#include "snapshot/qemu_stream.h"

#include <errno.h>
#include <string.h>
#include <sys/uio.h>

#include "common/io.h"

enum {
	RECORD_LEN = 8 + QEMU_STREAM_PAGE, /* a page whose block is that of the page before */
	EXTENT_PAGES = 1024,               /* looked at by one call of extent() */
	READ_PAGES = 64,                   /* gathered by one preadv(2) */
};

/* As many pages of [page, page + max) as lie in the file one record behind the other; at least one. */
static size_t gather(const struct qemu_stream_block *b, uint64_t page, uint64_t max)
{
	size_t n = 1;

	while (n < READ_PAGES && n < max &&
	       b->page_at[page + n] == b->page_at[page + n - 1] + RECORD_LEN)
		n++;
	return n;
}

static int read_gathered(const struct qemu_stream_block *b, uint8_t *buf, uint64_t page, size_t n,
			 struct err *err)
{
	struct iovec iov[2 * READ_PAGES];
	uint8_t between[RECORD_LEN - QEMU_STREAM_PAGE];
	size_t count = 0, want = 0;
	ssize_t got;

	for (size_t i = 0; i < n; i++) {
		if (i > 0)
			iov[count++] = (struct iovec){ between, sizeof(between) };
		iov[count++] = (struct iovec){ buf + i * QEMU_STREAM_PAGE, QEMU_STREAM_PAGE };
		want += i > 0 ? RECORD_LEN : QEMU_STREAM_PAGE;
	}
	do
		got = preadv(b->fd, iov, (int)count, (off_t)b->page_at[page]);
	while (got < 0 && errno == EINTR);
	if (got != (ssize_t)want)
		return err_set(err, got < 0 ? errno : EIO,
			       "read page %llu of block %s from the QEMU stream",
			       (unsigned long long)page, b->name);
	return 0;
}

/* Part of one page: ends of a read that is not aligned. */
static int read_part(const struct qemu_stream_block *b, uint8_t *buf, size_t len, uint64_t offset,
		     struct err *err)
{
	uint64_t page_at = b->page_at[offset / QEMU_STREAM_PAGE];
	int r;

	if (!page_at) {
		memset(buf, 0, len);
		return 0;
	}
	r = io_pread_full(b->fd, buf, len, page_at + offset % QEMU_STREAM_PAGE);
	if (r)
		return err_set(err, r < 0 ? -r : EIO, "read block %s from the QEMU stream",
			       b->name);
	return 0;
}

static int block_read(void *ctx, uint8_t *buf, size_t len, uint64_t offset, struct err *err)
{
	const struct qemu_stream_block *b = ctx;
	size_t n;
	int r;

	if (offset > b->size || len > b->size - offset)
		return err_say(err, EINVAL, "read beyond the end of block %s", b->name);
	for (; len; buf += n, offset += n, len -= n) {
		size_t in_page = QEMU_STREAM_PAGE - offset % QEMU_STREAM_PAGE;
		uint64_t page = offset / QEMU_STREAM_PAGE;

		if (in_page < QEMU_STREAM_PAGE || len < QEMU_STREAM_PAGE || !b->page_at[page]) {
			n = len < in_page ? len : in_page;
			r = read_part(b, buf, n, offset, err);
		} else {
			n = gather(b, page, len / QEMU_STREAM_PAGE);
			r = read_gathered(b, buf, page, n, err);
			n *= QEMU_STREAM_PAGE;
		}
		if (r < 0)
			return r;
	}
	return 0;
}

static int block_extent(void *ctx, uint64_t offset, uint64_t *len, bool *zero, struct err *err)
{
	const struct qemu_stream_block *b = ctx;
	uint64_t pages = b->size / QEMU_STREAM_PAGE, first = offset / QEMU_STREAM_PAGE,
		 page = first + 1;

	if (offset >= b->size)
		return err_say(err, EINVAL, "extent beyond the end of block %s", b->name);
	*zero = b->page_at[first] == 0;
	while (page < pages && page - first < EXTENT_PAGES && (b->page_at[page] == 0) == *zero)
		page++;
	*len = page * QEMU_STREAM_PAGE - offset;
	return 0;
}

struct volume_input qemu_stream_block_input(struct qemu_stream *stream, size_t i)
{
	return (struct volume_input){ .ctx = &stream->blocks[i],
				      .size = stream->blocks[i].size,
				      .read = block_read,
				      .extent = block_extent };
}

static int read_range(const struct qemu_stream *s, uint64_t base, uint64_t size, uint8_t *buf,
		      size_t len, uint64_t offset, struct err *err)
{
	int r;

	if (offset > size || len > size - offset)
		return err_say(err, EINVAL, "read beyond the end of the QEMU stream's part");
	r = io_pread_full(s->fd, buf, len, base + offset);
	if (r)
		return err_set(err, r < 0 ? -r : EIO, "read the QEMU stream at offset %llu",
			       (unsigned long long)(base + offset));
	return 0;
}

static int head_read(void *ctx, uint8_t *buf, size_t len, uint64_t offset, struct err *err)
{
	const struct qemu_stream *s = ctx;

	return read_range(s, 0, s->head_len, buf, len, offset, err);
}

static int tail_read(void *ctx, uint8_t *buf, size_t len, uint64_t offset, struct err *err)
{
	const struct qemu_stream *s = ctx;

	return read_range(s, s->tail_at, s->tail_len, buf, len, offset, err);
}

struct volume_input qemu_stream_head_input(struct qemu_stream *stream)
{
	return (struct volume_input){ .ctx = stream, .size = stream->head_len, .read = head_read };
}

struct volume_input qemu_stream_tail_input(struct qemu_stream *stream)
{
	return (struct volume_input){ .ctx = stream, .size = stream->tail_len, .read = tail_read };
}
