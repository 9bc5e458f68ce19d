#include "snapshot/block_device.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/io.h"
#include "snapshot/overlay_file.h"
#include "snapshot/volume_tree.h"

enum { CACHE_DEFAULT = 16 << 20, STRIPES = 64 };

/* One block of the volume, decoded. */
struct cached {
	pthread_mutex_t lock;
	uint64_t block; /* UINT64_MAX: none */
	uint8_t *data;  /* heap, grid bytes; NULL until first used */
};

struct block_device {
	struct volume_tree tree;
	struct volume_reader *reader;
	struct overlay_file *overlay;     /* NULL: read-only */
	pthread_mutex_t stripes[STRIPES]; /* by block: copying up and writing exclude each other */
	size_t cache_count;
	struct cached *cache; /* direct-mapped */
};

int block_device_new(struct block_device **out, const struct block_device_options *options,
		     struct err *err)
{
	CLEANUP(block_device_free) struct block_device *p = calloc(1, sizeof(*p));
	size_t bytes = options->cache_bytes ? options->cache_bytes : CACHE_DEFAULT;
	int r;

	if (!p)
		return err_set(err, ENOMEM, "serve volume %s", options->volume->name);
	for (size_t i = 0; i < STRIPES; i++)
		pthread_mutex_init(&p->stripes[i], NULL);
	r = volume_reader_open(&p->reader, options->volume, options->source, err);
	if (r < 0)
		return r;
	volume_tree_init(&p->tree, options->volume->size, options->volume->grid);
	p->cache = calloc(bytes / p->tree.grid + 1, sizeof(*p->cache));
	if (!p->cache)
		return err_set(err, ENOMEM, "serve volume %s", options->volume->name);
	p->cache_count = bytes / p->tree.grid + 1;
	for (size_t i = 0; i < p->cache_count; i++) {
		pthread_mutex_init(&p->cache[i].lock, NULL);
		p->cache[i].block = UINT64_MAX;
	}
	if (options->overlay) {
		r = overlay_file_open(&p->overlay, options->overlay, options->volume, err);
		if (r < 0)
			return r;
	}
	*out = TAKE(p);
	return 0;
}

void block_device_free(struct block_device *p)
{
	if (!p)
		return;
	for (size_t i = 0; i < p->cache_count; i++) {
		pthread_mutex_destroy(&p->cache[i].lock);
		free(p->cache[i].data);
	}
	for (size_t i = 0; i < STRIPES; i++)
		pthread_mutex_destroy(&p->stripes[i]);
	free(p->cache);
	volume_reader_close(p->reader);
	overlay_file_close(p->overlay);
	free(p);
}

uint64_t block_device_size(const struct block_device *p)
{
	return p->tree.size;
}

bool block_device_writable(const struct block_device *p)
{
	return p->overlay != NULL;
}

static int check_range(const struct block_device *p, size_t len, uint64_t offset, struct err *err)
{
	if (offset <= p->tree.size && len <= p->tree.size - offset)
		return 0;
	return err_say(err, EINVAL, "%zu bytes at %llu are beyond the end of the volume", len,
		       (unsigned long long)offset);
}

/* Part of one block of the volume, through the cache. */
static int block_read(struct block_device *p, uint64_t block, size_t in_block, uint8_t *buf,
		      size_t len, struct err *err)
{
	struct cached *c = &p->cache[block % p->cache_count];
	int r = 0;

	pthread_mutex_lock(&c->lock);
	if (!c->data) {
		c->data = malloc(p->tree.grid);
		if (!c->data)
			r = err_set(err, ENOMEM, "read a block");
	}
	if (r == 0 && c->block != block) {
		c->block = UINT64_MAX;
		r = volume_reader_read(p->reader, c->data, volume_tree_block_len(&p->tree, block),
				       block * p->tree.grid, err);
		if (r == 0)
			c->block = block;
	}
	if (r == 0)
		memcpy(buf, c->data + in_block, len);
	pthread_mutex_unlock(&c->lock);
	return r;
}

/* From @offset on, the bytes that lie in one block. */
static size_t in_one_block(const struct block_device *p, size_t len, uint64_t offset)
{
	size_t left = p->tree.grid - (size_t)(offset % p->tree.grid);

	return len < left ? len : left;
}

static bool is_local(const struct block_device *p, uint64_t block)
{
	return p->overlay && overlay_file_has(p->overlay, block);
}

/* How many of @len bytes from @offset on are whole blocks of the volume, worth reading in one go? */
static size_t whole_blocks(const struct block_device *p, size_t len, uint64_t offset)
{
	uint64_t block = offset / p->tree.grid;
	size_t n = 0;

	if (offset % p->tree.grid)
		return 0;
	while (n + p->tree.grid <= len && !is_local(p, block++))
		n += p->tree.grid;
	return n > p->tree.grid ? n : 0;
}

int block_device_read(struct block_device *p, void *buf, size_t len, uint64_t offset,
		      struct err *err)
{
	uint8_t *to = buf;
	int r = check_range(p, len, offset, err);

	while (r == 0 && len) {
		uint64_t block = offset / p->tree.grid;
		size_t n = whole_blocks(p, len, offset);

		if (n) {
			r = volume_reader_read(p->reader, to, n, offset, err);
		} else {
			n = in_one_block(p, len, offset);
			r = is_local(p, block)
				    ? overlay_file_read(p->overlay, to, n, offset, err)
				    : block_read(p, block, (size_t)(offset % p->tree.grid), to, n,
						 err);
		}
		to += n;
		offset += n;
		len -= n;
	}
	return r;
}

/* Write within one block, which is copied up first unless it is overwritten as a whole; under its stripe's lock. */
static int block_write(struct block_device *p, uint64_t block, const uint8_t *buf, size_t len,
		       uint64_t offset, struct err *err)
{
	size_t block_len = volume_tree_block_len(&p->tree, block);
	CLEANUP_FREE uint8_t *whole = NULL;
	int r;

	if (overlay_file_has(p->overlay, block) || len == block_len) {
		r = overlay_file_write(p->overlay, buf, len, offset, err);
	} else {
		whole = malloc(block_len);
		if (!whole)
			return err_set(err, ENOMEM, "write a block");
		r = block_read(p, block, 0, whole, block_len, err);
		if (r < 0)
			return r;
		memcpy(whole + offset % p->tree.grid, buf, len);
		r = overlay_file_write(p->overlay, whole, block_len, block * p->tree.grid, err);
	}
	if (r == 0)
		overlay_file_mark(p->overlay, block);
	return r;
}

int block_device_write(struct block_device *p, const void *buf, size_t len, uint64_t offset,
		       struct err *err)
{
	const uint8_t *from = buf;
	int r = check_range(p, len, offset, err);

	if (r == 0 && !p->overlay)
		return err_say(err, EROFS, "the volume is served read-only");
	while (r == 0 && len) {
		uint64_t block = offset / p->tree.grid;
		size_t n = in_one_block(p, len, offset);
		pthread_mutex_t *stripe = &p->stripes[block % STRIPES];

		pthread_mutex_lock(stripe);
		r = block_write(p, block, from, n, offset, err);
		pthread_mutex_unlock(stripe);
		from += n;
		offset += n;
		len -= n;
	}
	return r;
}

int block_device_flush(struct block_device *p, struct err *err)
{
	return p->overlay ? overlay_file_flush(p->overlay, err) : 0;
}

int block_device_extent(struct block_device *p, uint64_t offset, uint64_t len, uint64_t *alike,
			bool *zero, struct err *err)
{
	uint64_t end = offset + len, n;
	int r = check_range(p, 1, offset, err);

	if (r < 0)
		return r;
	if (is_local(p, offset / p->tree.grid)) {
		for (n = offset; n < end && is_local(p, n / p->tree.grid);)
			n = (n / p->tree.grid + 1) * p->tree.grid;
		*zero = false;
		n -= offset;
	} else {
		r = volume_reader_extent(p->reader, offset, &n, zero, err);
		if (r < 0)
			return r;
		/* What lies behind the first local block is told by the next question. */
		for (uint64_t at = offset; p->overlay && at < offset + n; at += p->tree.grid)
			if (is_local(p, at / p->tree.grid))
				n = at / p->tree.grid * p->tree.grid - offset;
	}
	*alike = n < len ? n : len;
	return 0;
}
