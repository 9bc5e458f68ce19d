#include "mgmt-server/scan/volume_channel.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/io.h"

enum { WHAT_BYTES, WHAT_EXTENT, WHAT_WRITE };

/* Of an extent's length: it is zeros. */
#define EXTENT_ZERO (1ULL << 63)

struct request {
	uint64_t offset;
	uint32_t len;
	uint32_t what;
};

struct reply {
	int32_t status;
	uint32_t len;
};

/* ---- the parent's side ---- */

static int answer(int fd, int status, const void *data, size_t len)
{
	struct reply reply = { .status = (int32_t)htole32((uint32_t)status),
			       .len = htole32((uint32_t)len) };
	int r;

	r = io_write_full(fd, &reply, sizeof(reply));
	if (r < 0)
		return r;
	return len ? io_write_full(fd, data, len) : 0;
}

static int serve_extent(int fd, const struct volume_input *input, uint64_t offset)
{
	uint64_t len = input->size - offset;
	struct err unread = { 0 };
	bool zero = false;
	int r = 0;

	if (!len)
		return answer(fd, -EINVAL, NULL, 0);
	if (input->extent)
		r = input->extent(input->ctx, offset, &len, &zero, &unread);
	len = htole64(zero ? len | EXTENT_ZERO : len);
	return r < 0 ? answer(fd, r, NULL, 0) : answer(fd, 0, &len, sizeof(len));
}

struct served {
	int fd;
	const struct volume_input *input;
	volume_channel_write_fn *write; /* NULL: reading only */
	uint8_t *buf;                   /* VOLUME_CHANNEL_MAX bytes */
};

static int serve_write(const struct served *s, size_t len, uint64_t offset, bool outside)
{
	struct err refused = { 0 };
	int r = io_read_full(s->fd, s->buf, len);

	if (r)
		return r < 0 ? r : -EPIPE;
	if (outside)
		return answer(s->fd, -EINVAL, NULL, 0);
	r = s->write ? s->write(s->input->ctx, s->buf, len, offset, &refused) : -EROFS;
	return answer(s->fd, r, NULL, 0);
}

static int serve_one(const struct served *s, const struct request *q, struct err *err)
{
	const struct volume_input *input = s->input;
	uint64_t offset = le64toh(q->offset);
	uint32_t len = le32toh(q->len), what = le32toh(q->what);
	bool outside = offset > input->size || len > input->size - offset;
	struct err unread = { 0 };
	int r;

	if (what > WHAT_WRITE || !len || len > VOLUME_CHANNEL_MAX)
		return err_say(err, EBADMSG, "a reader asked for %u bytes at once", len);
	if (what == WHAT_WRITE)
		return serve_write(s, len, offset, outside);
	if (offset <= input->size && what == WHAT_EXTENT)
		return serve_extent(s->fd, input, offset);
	if (outside)
		return answer(s->fd, -EINVAL, NULL, 0);

	r = input->read(input->ctx, s->buf, len, offset, &unread);
	return r < 0 ? answer(s->fd, r, NULL, 0) : answer(s->fd, 0, s->buf, len);
}

int volume_channel_serve(int fd, const struct volume_input *input, struct err *err)
{
	return volume_channel_serve_writable(fd, input, NULL, err);
}

int volume_channel_serve_writable(int fd, const struct volume_input *input,
				  volume_channel_write_fn *write, struct err *err)
{
	CLEANUP_FREE uint8_t *buf = malloc(VOLUME_CHANNEL_MAX);
	const struct served served = { .fd = fd, .input = input, .write = write, .buf = buf };
	struct request q;
	int r;

	if (!buf)
		return err_set(err, ENOMEM, "serve a volume");

	for (;;) {
		r = io_read_full(fd, &q, sizeof(q));
		if (r == IO_SHORT || r == -ECONNRESET)
			return 0;
		if (r < 0)
			return err_set(err, -r, "read a reader's request");
		r = serve_one(&served, &q, err);
		if (r == -EPIPE || r == -ECONNRESET)
			return 0;
		if (r < 0)
			return err_wrap(err, r, "serve a volume");
	}
}

/* ---- the reader's side ---- */

enum { BLOCK = 64 << 10, CACHE_SLOTS = 1024 };

/* Direct-mapped: slot = block % CACHE_SLOTS. Metadata is read in small pieces that lie near each other. */
struct volume_channel {
	int fd;
	uint64_t base, size;
	uint64_t cached[CACHE_SLOTS]; /* block number + 1; 0: empty */
	uint8_t *blocks;              /* CACHE_SLOTS * BLOCK, touched as used */
};

int volume_channel_open(struct volume_channel **out, int fd, uint64_t base, uint64_t size,
			struct err *err)
{
	CLEANUP(volume_channel_close) struct volume_channel *c = calloc(1, sizeof(*c));

	if (!c)
		return err_set(err, ENOMEM, "open a volume channel");
	c->fd = fd;
	c->base = base;
	c->size = size;
	c->blocks = malloc((size_t)CACHE_SLOTS * BLOCK);
	if (!c->blocks)
		return err_set(err, ENOMEM, "open a volume channel");

	*out = TAKE(c);
	return 0;
}

void volume_channel_close(struct volume_channel *c)
{
	if (!c)
		return;
	free(c->blocks);
	free(c);
}

uint64_t volume_channel_size(const struct volume_channel *c)
{
	return c->size;
}

/* One request, at most VOLUME_CHANNEL_MAX bytes, within the volume. */
static int ask(struct volume_channel *c, uint32_t what, void *buf, size_t len, uint64_t offset)
{
	struct request q = { .offset = htole64(c->base + offset),
			     .len = htole32((uint32_t)len),
			     .what = htole32(what) };
	struct reply reply;
	int32_t status;
	int r;

	r = io_write_full(c->fd, &q, sizeof(q));
	if (r < 0)
		return r;
	r = io_read_full(c->fd, &reply, sizeof(reply));
	if (r)
		return r < 0 ? r : -EPIPE;
	status = (int32_t)le32toh((uint32_t)reply.status);
	if (status < 0)
		return status;
	if (status || le32toh(reply.len) != len)
		return -EBADMSG;
	r = io_read_full(c->fd, buf, len);
	return r == IO_SHORT ? -EPIPE : r;
}

static int fetch(struct volume_channel *c, void *buf, size_t len, uint64_t offset)
{
	return ask(c, WHAT_BYTES, buf, len, offset);
}

static int read_cached(struct volume_channel *c, uint8_t *buf, size_t len, uint64_t offset)
{
	uint64_t block = offset / BLOCK;
	size_t slot = block % CACHE_SLOTS;
	uint8_t *data = c->blocks + slot * BLOCK;
	int r;

	if (c->cached[slot] != block + 1) {
		uint64_t start = block * BLOCK;
		size_t n = c->size - start < BLOCK ? (size_t)(c->size - start) : BLOCK;

		c->cached[slot] = 0;
		r = fetch(c, data, n, start);
		if (r < 0)
			return r;
		c->cached[slot] = block + 1;
	}
	memcpy(buf, data + offset % BLOCK, len);
	return 0;
}

int volume_channel_read(struct volume_channel *c, void *buf, size_t len, uint64_t offset)
{
	uint8_t *to = buf;
	int r;

	if (offset > c->size || len > c->size - offset)
		return -EIO;

	while (len) {
		size_t n;

		if (len >= BLOCK) {
			n = len < VOLUME_CHANNEL_MAX ? len : VOLUME_CHANNEL_MAX;
			r = fetch(c, to, n, offset);
		} else {
			n = BLOCK - (size_t)(offset % BLOCK);
			n = len < n ? len : n;
			r = read_cached(c, to, n, offset);
		}
		if (r < 0)
			return r;
		to += n;
		offset += n;
		len -= n;
	}
	return 0;
}

int volume_channel_extent(struct volume_channel *c, uint64_t offset, uint64_t *len, bool *zero)
{
	uint64_t answer;
	int r;

	if (offset >= c->size)
		return -EIO;
	r = ask(c, WHAT_EXTENT, &answer, sizeof(answer), offset);
	if (r < 0)
		return r;
	answer = le64toh(answer);
	*zero = answer & EXTENT_ZERO;
	*len = answer & ~EXTENT_ZERO;
	if (*len > c->size - offset)
		*len = c->size - offset;
	return *len ? 0 : -EBADMSG;
}

static int put(struct volume_channel *c, const uint8_t *buf, size_t len, uint64_t offset)
{
	struct request q = { .offset = htole64(c->base + offset),
			     .len = htole32((uint32_t)len),
			     .what = htole32(WHAT_WRITE) };
	struct reply reply;
	int r = io_write_full(c->fd, &q, sizeof(q));

	if (r == 0)
		r = io_write_full(c->fd, buf, len);
	if (r == 0)
		r = io_read_full(c->fd, &reply, sizeof(reply));
	if (r)
		return r < 0 ? r : -EPIPE;
	if (reply.len)
		return -EBADMSG;
	return (int32_t)le32toh((uint32_t)reply.status);
}

int volume_channel_write(struct volume_channel *c, const void *buf, size_t len, uint64_t offset)
{
	const uint8_t *from = buf;

	if (offset > c->size || len > c->size - offset)
		return -EIO;
	while (len) {
		size_t n = len < VOLUME_CHANNEL_MAX ? len : VOLUME_CHANNEL_MAX;
		int r;

		for (uint64_t block = offset / BLOCK; block <= (offset + n - 1) / BLOCK; block++) {
			if (c->cached[block % CACHE_SLOTS] == block + 1)
				c->cached[block % CACHE_SLOTS] = 0;
		}
		r = put(c, from, n, offset);
		if (r < 0)
			return r;
		from += n;
		offset += n;
		len -= n;
	}
	return 0;
}
