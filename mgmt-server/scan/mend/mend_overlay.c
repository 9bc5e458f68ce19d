#include "mgmt-server/scan/mend/mend_overlay.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/io.h"

enum { BLOCK = CHUNK_GRID_DISK };

struct mend_overlay {
	const struct volume_input *base;
	int fd;
	uint64_t blocks, allow_from, allow_to;
	uint8_t *changed; /* one byte a block */
	uint8_t *piece;   /* BLOCK bytes */
};

static int overlay_read(void *ctx, uint8_t *buf, size_t len, uint64_t offset, struct err *err)
{
	struct mend_overlay *o = ctx;

	while (len) {
		uint64_t block = offset / BLOCK;
		size_t n = BLOCK - (size_t)(offset % BLOCK);
		int r;

		n = len < n ? len : n;
		if (o->changed[block])
			r = io_pread_full(o->fd, buf, n, offset) ? -EIO : 0;
		else
			r = o->base->read(o->base->ctx, buf, n, offset, err);
		if (r < 0)
			return r;
		buf += n;
		offset += n;
		len -= n;
	}
	return 0;
}

int mend_overlay_new(struct mend_overlay **out, const struct volume_input *base, const char *path,
		     struct err *err)
{
	CLEANUP(mend_overlay_free) struct mend_overlay *o = calloc(1, sizeof(*o));

	if (!o)
		return err_set(err, ENOMEM, "make %s", path);
	o->base = base;
	o->blocks = (base->size + BLOCK - 1) / BLOCK;
	o->changed = calloc(o->blocks ? o->blocks : 1, 1);
	o->piece = malloc(BLOCK);
	o->fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (o->fd < 0 || ftruncate(o->fd, (off_t)base->size) < 0)
		return err_set(err, errno, "make %s", path);
	if (!o->changed || !o->piece)
		return err_set(err, ENOMEM, "make %s", path);

	*out = TAKE(o);
	return 0;
}

void mend_overlay_free(struct mend_overlay *o)
{
	if (!o)
		return;
	base_close(o->fd);
	free(o->changed);
	free(o->piece);
	free(o);
}

struct volume_input mend_overlay_input(struct mend_overlay *o)
{
	return (struct volume_input){ .ctx = o, .size = o->base->size, .read = overlay_read };
}

void mend_overlay_allow(struct mend_overlay *o, uint64_t offset, uint64_t length)
{
	o->allow_from = offset;
	o->allow_to = offset + length;
}

/* @len bytes within one block. What is the same as before stays unchanged. */
static int write_block(struct mend_overlay *o, const uint8_t *buf, size_t len, uint64_t offset,
		       struct err *err)
{
	uint64_t block = offset / BLOCK, start = block * BLOCK;
	size_t size = o->base->size - start < BLOCK ? (size_t)(o->base->size - start) : BLOCK;
	size_t at = (size_t)(offset - start);
	int r = overlay_read(o, o->piece, size, start, err);

	if (r < 0 || !memcmp(o->piece + at, buf, len))
		return r;
	memcpy(o->piece + at, buf, len);
	r = io_pwrite_full(o->fd, o->piece, size, start);
	if (r < 0)
		return err_set(err, -r, "keep what was changed");
	o->changed[block] = 1;
	return 0;
}

int mend_overlay_write(void *ctx, const uint8_t *buf, size_t len, uint64_t offset, struct err *err)
{
	struct mend_overlay *o = ctx;

	if (offset < o->allow_from || offset > o->allow_to || len > o->allow_to - offset)
		return err_say(err, EPERM, "a mender wrote outside of its partition");
	while (len) {
		size_t n = BLOCK - (size_t)(offset % BLOCK);
		int r;

		n = len < n ? len : n;
		r = write_block(o, buf, n, offset, err);
		if (r < 0)
			return r;
		buf += n;
		offset += n;
		len -= n;
	}
	return 0;
}

int mend_overlay_extents(const struct mend_overlay *o, const char *path, uint64_t *bytes,
			 struct err *err)
{
	FILE *file = fopen(path, "wxe");

	if (!file)
		return err_set(err, errno, "make %s", path);
	*bytes = 0;
	for (uint64_t first = 0; first < o->blocks; first++) {
		uint64_t end = first, from = first * BLOCK, to;

		while (end < o->blocks && o->changed[end])
			end++;
		if (end == first)
			continue;
		to = end * BLOCK < o->base->size ? end * BLOCK : o->base->size;
		fprintf(file, "%llu %llu\n", (unsigned long long)from,
			(unsigned long long)(to - from));
		*bytes += to - from;
		first = end;
	}
	return fclose(file) ? err_set(err, errno, "write %s", path) : 0;
}
