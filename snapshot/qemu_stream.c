/* qemu_stream.c - one pass over the spooled stream that notes where each page lies.
 *
 * Memory: a buffer of 64 KiB and 8 bytes for each page. While indexing, page_at tells "zeros" (ZEROS) from "never sent"
 * (0), because a multifd migration sends its pages elsewhere and must not pass for a machine full of zeros.
 */
#include "snapshot/qemu_stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/io.h"
#include "snapshot/qemu_stream_head.h"

enum {
	BUFFER_LEN = 64 << 10,
	DESCRIPTION_MAX = 4 << 20,
	COMMAND_SWITCHOVER_START = 11,
};
static const uint64_t ZEROS = UINT64_MAX;

struct indexer {
	struct qemu_stream *stream;
	struct err *err;
	uint64_t size; /* of the file */
	uint64_t at;   /* the next byte to take */
	uint64_t buffer_at;
	size_t buffer_len;
	uint8_t *buffer; /* [buffer_at, buffer_at + buffer_len) of the file */
	struct qemu_stream_block
		*block; /* of the last page: CONTINUE means this one, in later sections too */
	bool multifd, ended;
};

static int bad(const struct indexer *x, uint64_t at, const char *what)
{
	return err_say(x->err, EBADMSG, "QEMU stream at offset %llu: %s", (unsigned long long)at,
		       what);
}

static int fill(struct indexer *x)
{
	uint64_t left = x->size - x->at;
	int r;

	x->buffer_at = x->at;
	x->buffer_len = 0;
	r = io_pread_full(x->stream->fd, x->buffer, left < BUFFER_LEN ? left : BUFFER_LEN, x->at);
	if (r < 0)
		return err_set(x->err, -r, "read the QEMU stream at offset %llu",
			       (unsigned long long)x->at);
	if (r == IO_SHORT)
		return bad(x, x->at, "the file shrank while it was read");
	x->buffer_len = left < BUFFER_LEN ? left : BUFFER_LEN;
	return 0;
}

/* *p: the next @n bytes (a few), valid until the next call. */
static int take(struct indexer *x, size_t n, const uint8_t **p)
{
	int r;

	if (x->size - x->at < n)
		return bad(x, x->at, "the stream is cut off here");
	if (x->at < x->buffer_at || x->at + n > x->buffer_at + x->buffer_len) {
		r = fill(x);
		if (r < 0)
			return r;
	}
	*p = x->buffer + (x->at - x->buffer_at);
	x->at += n;
	return 0;
}

static int expect_footer(struct indexer *x)
{
	uint64_t start = x->at;
	const uint8_t *p;
	int r;

	r = take(x, 5, &p);
	if (r < 0)
		return r;
	if (p[0] != QEMU_STREAM_HEAD_FOOTER ||
	    qemu_stream_head_be32(p + 1) != x->stream->ram_section)
		return bad(x, start, "the RAM section has no footer");
	return 0;
}

/* ---- Pages ---------------------------------------------------------------------------------------------------- */

static int pick_block(struct indexer *x)
{
	char name[QEMU_STREAM_NAME_MAX + 1];
	uint64_t start = x->at;
	const uint8_t *p;
	size_t len;
	int r;

	r = take(x, 1, &p);
	if (r < 0)
		return r;
	len = *p;
	r = take(x, len, &p);
	if (r < 0)
		return r;
	memcpy(name, p, len);
	name[len] = '\0';
	for (size_t i = 0; i < x->stream->block_count; i++) {
		if (strlen(name) == len && strcmp(x->stream->blocks[i].name, name) == 0) {
			x->block = &x->stream->blocks[i];
			return 0;
		}
	}
	return bad(x, start, "a page of a block that is not in the list");
}

/* A page record behind its address and flags. */
static int take_page(struct indexer *x, uint64_t address, unsigned flags, uint64_t start)
{
	uint64_t *page_at;
	const uint8_t *p;
	int r;

	if (!(flags & QEMU_STREAM_HEAD_RAM_CONTINUE)) {
		r = pick_block(x);
		if (r < 0)
			return r;
	}
	if (!x->block)
		return bad(x, start, "the first page names no block");
	if (address >= x->block->size)
		return err_say(x->err, EBADMSG,
			       "QEMU stream at offset %llu: page beyond the end of block %s",
			       (unsigned long long)start, x->block->name);
	page_at = &x->block->page_at[address / QEMU_STREAM_PAGE];

	if (flags & QEMU_STREAM_HEAD_RAM_ZERO) {
		start = x->at;
		r = take(x, 1, &p);
		if (r < 0)
			return r;
		if (*p)
			return bad(x, start, "a page filled with one byte that is not zero");
		*page_at = ZEROS;
		return 0;
	}
	if (x->size - x->at < QEMU_STREAM_PAGE)
		return bad(x, x->at, "the stream is cut off in this page");
	*page_at = x->at;
	x->at += QEMU_STREAM_PAGE;
	return 0;
}

/* Records that exist but must not be in a capture. */
static const struct {
	unsigned flag;
	const char *why;
} refused[] = {
	{ 0x001, "a record of an obsolete kind (full)" },
	{ QEMU_STREAM_HEAD_RAM_MEM_SIZE, "a second list of blocks" },
	{ 0x040, "an xbzrle page; turn the capability xbzrle off to capture" },
	{ 0x080, "an RDMA record; RDMA streams are not supported" },
	{ 0x100, "a compressed page; turn the capability compress off to capture" },
};

static int refuse(struct indexer *x, unsigned flags, uint64_t start)
{
	for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
		if (flags & refused[i].flag)
			return bad(x, start, refused[i].why);
	}
	return bad(x, start, "a RAM record with unknown flags");
}

/* The records of one section, up to its end mark. */
static int take_records(struct indexer *x)
{
	const uint8_t *p;
	int r;

	for (;;) {
		uint64_t start = x->at, word;
		unsigned flags;

		r = take(x, 8, &p);
		if (r < 0)
			return r;
		word = qemu_stream_head_be64(p);
		flags = word % QEMU_STREAM_PAGE;
		if (word == QEMU_STREAM_HEAD_RAM_EOS)
			return 0;
		switch (flags & ~(unsigned)QEMU_STREAM_HEAD_RAM_CONTINUE) {
		case QEMU_STREAM_HEAD_RAM_ZERO:
		case QEMU_STREAM_HEAD_RAM_PAGE:
			r = take_page(x, word - flags, flags, start);
			if (r < 0)
				return r;
			break;
		case QEMU_STREAM_HEAD_RAM_MULTIFD_FLUSH:
			x->multifd = true;
			break;
		default:
			return refuse(x, flags, start);
		}
	}
}

/* ---- Sections ------------------------------------------------------------------------------------------------- */

static int take_ram_section(struct indexer *x, uint8_t type)
{
	uint64_t start = x->at;
	const uint8_t *p;
	int r;

	if (x->ended)
		return bad(x, start - 1, "RAM goes on after its end");
	r = take(x, 4, &p);
	if (r < 0)
		return r;
	if (qemu_stream_head_be32(p) != x->stream->ram_section)
		return bad(x, start, "a device other than RAM is sent while it runs");
	r = take_records(x);
	if (r < 0)
		return r;
	x->ended = type == QEMU_STREAM_HEAD_END;
	return expect_footer(x);
}

/* QEMU 10 announces the switch-over between RAM sections; it means nothing to a file. */
static int take_command(struct indexer *x)
{
	uint64_t start = x->at - 1;
	const uint8_t *p;
	int r;

	r = take(x, 4, &p);
	if (r < 0)
		return r;
	if (qemu_stream_head_be32(p) != (uint32_t)COMMAND_SWITCHOVER_START << 16)
		return bad(x, start, "a command among the pages; turn postcopy-ram off to capture");
	return 0;
}

static int take_sections(struct indexer *x)
{
	const uint8_t *p = NULL;
	int r;

	for (;;) {
		r = take(x, 1, &p);
		if (r < 0)
			return r;
		switch (*p) {
		case QEMU_STREAM_HEAD_PART:
		case QEMU_STREAM_HEAD_END:
			r = take_ram_section(x, *p);
			break;
		case QEMU_STREAM_HEAD_COMMAND:
			r = take_command(x);
			break;
		case QEMU_STREAM_HEAD_FULL:
			x->stream->tail_at = x->at - 1;
			x->stream->tail_len = x->size - x->stream->tail_at;
			return 0;
		default:
			return bad(x, x->at - 1, "unknown section type");
		}
		if (r < 0)
			return r;
	}
}

static int take_head(struct indexer *x, uint64_t ram_max)
{
	struct qemu_stream *s = x->stream;
	CLEANUP_FREE struct qemu_stream_head *head = malloc(sizeof(*head));
	uint64_t left = ram_max;
	int r;

	if (!head)
		return err_set(x->err, ENOMEM, "index a QEMU stream");
	_Static_assert((int)BUFFER_LEN >= (int)QEMU_STREAM_HEAD_MAX, "the head fits the buffer");
	r = fill(x);
	if (r < 0)
		return r;
	r = qemu_stream_head_parse(head, x->buffer, x->buffer_len, x->err);
	if (r == QEMU_STREAM_HEAD_SHORT)
		return bad(x, x->buffer_len, "the stream is cut off before its first page");
	if (r < 0)
		return r;

	s->head_len = x->at = head->len;
	s->ram_section = head->ram_section;
	for (size_t i = 0; i < head->block_count; i++) {
		struct qemu_stream_block *b = &s->blocks[i];

		memcpy(b->name, head->blocks[i].name, sizeof(b->name));
		b->size = head->blocks[i].size;
		b->fd = s->fd;
		if (b->size > left)
			return err_say(
				x->err, EMSGSIZE,
				"QEMU stream: its RAM is larger than the %llu bytes expected",
				(unsigned long long)ram_max);
		left -= b->size;
		b->page_at = calloc(b->size / QEMU_STREAM_PAGE, sizeof(*b->page_at));
		if (!b->page_at)
			return err_set(x->err, ENOMEM, "index %llu bytes of RAM",
				       (unsigned long long)b->size);
		s->block_count++;
	}
	return 0;
}

/* The stream's last bytes: what tells a whole one from one that was cut off among the devices. */
static int check_end(struct indexer *x)
{
	struct qemu_stream *s = x->stream;
	size_t len = s->tail_len < DESCRIPTION_MAX ? (size_t)s->tail_len : DESCRIPTION_MAX;
	CLEANUP_FREE uint8_t *end = malloc(len);
	size_t devices_len;
	int r;

	if (s->tail_len > QEMU_STREAM_TAIL_MAX)
		return err_say(x->err, EMSGSIZE,
			       "QEMU stream: %llu bytes of device state, at most %d are accepted",
			       (unsigned long long)s->tail_len, QEMU_STREAM_TAIL_MAX);
	if (!end)
		return err_set(x->err, ENOMEM, "read the end of a QEMU stream");
	r = io_pread_full(s->fd, end, len, x->size - len);
	if (r)
		return err_set(x->err, r < 0 ? -r : EIO, "read the end of a QEMU stream");
	r = qemu_stream_devices_len(end, len, &devices_len, x->err);
	if (r < 0)
		return err_wrap(x->err, r, "QEMU stream of %llu bytes",
				(unsigned long long)x->size);
	return 0;
}

/* Let 0 stand for zeros, as the header promises. */
static int settle_zeros(struct indexer *x)
{
	for (size_t i = 0; i < x->stream->block_count; i++) {
		struct qemu_stream_block *b = &x->stream->blocks[i];

		for (uint64_t n = 0; n < b->size / QEMU_STREAM_PAGE; n++) {
			if (x->multifd && b->page_at[n] == 0)
				return err_say(x->err, EBADMSG,
					       "QEMU stream: page %llu of block %s is not in it; "
					       "turn the capability multifd off to capture",
					       (unsigned long long)n, b->name);
			if (b->page_at[n] == ZEROS)
				b->page_at[n] = 0;
		}
	}
	return 0;
}

int qemu_stream_index(struct qemu_stream **out, int fd, uint64_t ram_max, struct err *err)
{
	CLEANUP(qemu_stream_free) struct qemu_stream *s = calloc(1, sizeof(*s));
	CLEANUP_FREE uint8_t *buffer = malloc(BUFFER_LEN);
	struct indexer x = { .stream = s, .err = err, .buffer = buffer };
	struct stat st;
	int r;

	if (!s || !buffer)
		return err_set(err, ENOMEM, "index a QEMU stream");
	s->fd = fd;
	if (fstat(fd, &st) < 0)
		return err_set(err, errno, "index a QEMU stream");
	x.size = (uint64_t)st.st_size;

	r = take_head(&x, ram_max);
	if (r == 0)
		r = take_sections(&x);
	if (r == 0)
		r = check_end(&x);
	if (r == 0)
		r = settle_zeros(&x);
	if (r < 0)
		return r;
	*out = TAKE(s);
	return 0;
}

void qemu_stream_free(struct qemu_stream *stream)
{
	if (!stream)
		return;
	for (size_t i = 0; i < stream->block_count; i++)
		free(stream->blocks[i].page_at);
	free(stream);
}

/* ---- Beginning and end ---------------------------------------------------------------------------------------- */

int qemu_stream_instant_reached(const uint8_t *bytes, size_t len)
{
	CLEANUP_FREE struct qemu_stream_head *head = malloc(sizeof(*head));
	int r;

	if (!head)
		return -ENOMEM;
	r = qemu_stream_head_parse(head, bytes, len, NULL);
	if (r == QEMU_STREAM_HEAD_SHORT)
		return len < QEMU_STREAM_HEAD_MAX ? 0 : -EBADMSG;
	if (r < 0)
		return r;
	if (len == head->len)
		return 0;
	return bytes[head->len] == QEMU_STREAM_HEAD_PART ? 1 : -EBADMSG;
}

int qemu_stream_devices_len(const uint8_t *tail, size_t len, size_t *devices_len, struct err *err)
{
	enum { MARKS_LEN = 6 }; /* end of devices, description, its length */

	/* From behind: @at is where the text could begin. It contains no zero byte, so there is no need to look further. */
	for (size_t at = len; at > MARKS_LEN; at--) {
		const uint8_t *p = tail + at - MARKS_LEN;

		if (p[0] == QEMU_STREAM_HEAD_EOF && p[1] == QEMU_STREAM_HEAD_DESCRIPTION &&
		    qemu_stream_head_be32(p + 2) == len - at && at < len && tail[at] == '{') {
			*devices_len = at - MARKS_LEN;
			return 0;
		}
		if (at < len && tail[at] == 0)
			break;
	}
	return err_say(err, EBADMSG,
		       "the stream is cut off: it does not end with the devices' description");
}
