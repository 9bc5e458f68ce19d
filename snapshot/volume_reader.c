/* Nodes are kept in a table of fixed size, direct-mapped by (level, index): a collision forgets the older one. Readers copy what
 * they need out of a node under the lock; fetching happens outside of it, a whole level's missing nodes at a time.
 */
#include "snapshot/volume.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "snapshot/volume_tree.h"

enum {
	NODE_SLOTS = 1024, /* of 8 KiB each, at most */
	FETCH_MAX = 64,    /* nodes or blocks in one request */
};

struct node {
	unsigned level;
	uint64_t index;
	size_t count;
	struct chunk_id ids[];
};

struct volume_reader {
	char name[VOLUME_NAME_MAX + 1];
	struct chunk_id root;
	struct volume_tree tree;
	struct chunk_source source;
	pthread_mutex_t lock;
	struct node *slots[NODE_SLOTS]; /* under lock */
};

int volume_reader_open(struct volume_reader **out, const struct volume *volume,
		       struct chunk_source source, struct err *err)
{
	struct volume_reader *reader;

	if (!volume_tree_grid_valid(volume->grid))
		return err_say(err, EINVAL, "volume %s: a grid of %u bytes is not valid",
			       volume->name, volume->grid);
	reader = calloc(1, sizeof(*reader));
	if (!reader)
		return err_set(err, ENOMEM, "open volume %s", volume->name);
	memcpy(reader->name, volume->name, sizeof(reader->name));
	reader->root = volume->root;
	reader->source = source;
	volume_tree_init(&reader->tree, volume->size, volume->grid);
	pthread_mutex_init(&reader->lock, NULL);
	*out = reader;
	return 0;
}

void volume_reader_close(struct volume_reader *reader)
{
	if (!reader)
		return;
	for (size_t i = 0; i < NODE_SLOTS; i++)
		free(reader->slots[i]);
	pthread_mutex_destroy(&reader->lock);
	free(reader);
}

static size_t slot_of(unsigned level, uint64_t index)
{
	return (size_t)((index + level * 131) % NODE_SLOTS);
}

/* The id of node (level, index) out of its cached parent. True: found. */
static bool cached_id(struct volume_reader *reader, unsigned level, uint64_t index,
		      struct chunk_id *id)
{
	struct node *node;
	bool found = false;

	if (level == reader->tree.height) {
		*id = reader->root;
		return true;
	}
	pthread_mutex_lock(&reader->lock);
	node = reader->slots[slot_of(level + 1, index / VOLUME_FANOUT)];
	if (node && node->level == level + 1 && node->index == index / VOLUME_FANOUT) {
		*id = node->ids[index % VOLUME_FANOUT];
		found = true;
	}
	pthread_mutex_unlock(&reader->lock);
	return found;
}

static bool node_cached(struct volume_reader *reader, unsigned level, uint64_t index)
{
	struct node *node;
	bool found;

	pthread_mutex_lock(&reader->lock);
	node = reader->slots[slot_of(level, index)];
	found = node && node->level == level && node->index == index;
	pthread_mutex_unlock(&reader->lock);
	return found;
}

struct fetch {
	struct volume_reader *reader;
	unsigned level;
	uint64_t index[FETCH_MAX];
	struct chunk_id ids[FETCH_MAX];
	size_t count;
};

static void node_keep(struct volume_reader *reader, struct node *node)
{
	struct node **slot = &reader->slots[slot_of(node->level, node->index)];

	pthread_mutex_lock(&reader->lock);
	free(*slot);
	*slot = node;
	pthread_mutex_unlock(&reader->lock);
}

static int node_arrived(void *arg, size_t i, const uint8_t *data, size_t len, struct err *err)
{
	struct fetch *fetch = arg;
	struct volume_reader *reader = fetch->reader;
	size_t count = volume_tree_children(&reader->tree, fetch->level, fetch->index[i]);
	struct node *node;

	if (len != count * CHUNK_ID_LEN)
		return err_say(
			err, EBADMSG,
			"volume %s: node %llu of level %u has %zu bytes, %zu children need %zu",
			reader->name, (unsigned long long)fetch->index[i], fetch->level, len, count,
			count * CHUNK_ID_LEN);
	node = malloc(sizeof(*node) + len);
	if (!node)
		return err_set(err, ENOMEM, "volume %s: keep a node", reader->name);
	*node = (struct node){ .level = fetch->level, .index = fetch->index[i], .count = count };
	memcpy(node->ids, data, len);
	node_keep(reader, node);
	return 0;
}

/* A node of zeros has no chunk. */
static int node_zero(struct fetch *fetch, uint64_t index, struct err *err)
{
	size_t count = volume_tree_children(&fetch->reader->tree, fetch->level, index);
	struct node *node = calloc(1, sizeof(*node) + count * CHUNK_ID_LEN);

	if (!node)
		return err_set(err, ENOMEM, "volume %s: keep a node", fetch->reader->name);
	node->level = fetch->level;
	node->index = index;
	node->count = count;
	node_keep(fetch->reader, node);
	return 0;
}

static int fetch_flush(struct fetch *fetch, struct err *err)
{
	size_t n = fetch->count;

	fetch->count = 0;
	return n ? fetch->reader->source.get(fetch->reader->source.ctx, fetch->ids, n, node_arrived,
					     fetch, err)
		 : 0;
}

static int load_path(struct volume_reader *reader, uint64_t block, unsigned down_to,
		     struct err *err);

/* Have nodes first..last of @level in the cache (as far as it holds them). */
static int load_level(struct volume_reader *reader, unsigned level, uint64_t first, uint64_t last,
		      struct err *err)
{
	struct fetch fetch = { .reader = reader, .level = level };
	int r;

	for (uint64_t i = first; i <= last; i++) {
		struct chunk_id id;

		if (node_cached(reader, level, i))
			continue;
		if (!cached_id(reader, level, i, &id)) {
			/* Another thread's nodes pushed the parent out: get it again. */
			r = load_path(reader, i << (8 * level), level + 1, err);
			if (r < 0)
				return r;
			if (!cached_id(reader, level, i, &id))
				continue; /* the caller meets the gap and loads that path again */
		}
		if (chunk_id_is_zero(&id)) {
			r = node_zero(&fetch, i, err);
			if (r < 0)
				return r;
			continue;
		}
		fetch.index[fetch.count] = i;
		fetch.ids[fetch.count++] = id;
		if (fetch.count == FETCH_MAX) {
			r = fetch_flush(&fetch, err);
			if (r < 0)
				return r;
		}
	}
	return fetch_flush(&fetch, err);
}

/* Have all nodes above @block in the cache, down to level @down_to. */
static int load_path(struct volume_reader *reader, uint64_t block, unsigned down_to,
		     struct err *err)
{
	for (unsigned level = reader->tree.height; level >= down_to; level--) {
		uint64_t i = block >> (8 * level);
		int r = load_level(reader, level, i, i, err);

		if (r < 0)
			return r;
	}
	return 0;
}

int volume_reader_ids(struct volume_reader *reader, uint64_t first, size_t n, struct chunk_id *ids,
		      struct err *err)
{
	int r;

	if (!n)
		return 0;
	if (first >= reader->tree.count[0] || n > reader->tree.count[0] - first)
		return err_say(err, EINVAL, "volume %s has %llu blocks, %llu + %zu were asked for",
			       reader->name, (unsigned long long)reader->tree.count[0],
			       (unsigned long long)first, n);
	for (unsigned level = reader->tree.height; level >= 1; level--) {
		r = load_level(reader, level, first >> (8 * level), (first + n - 1) >> (8 * level),
			       err);
		if (r < 0)
			return r;
	}
	for (size_t i = 0; i < n; i++) {
		while (!cached_id(reader, 0, first + i, &ids[i])) {
			r = load_path(reader, first + i, 1, err);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

struct copy {
	struct volume_reader *reader;
	uint8_t *buf;
	uint64_t offset, end; /* of the request */
	uint64_t block[FETCH_MAX];
	struct chunk_id ids[FETCH_MAX];
	size_t count;
};

/* The part of block @block that the request wants: where it lies in the block and in the buffer. */
static size_t wanted(const struct copy *copy, uint64_t block, size_t *in_block, uint8_t **to)
{
	uint64_t start = block * copy->reader->tree.grid;
	uint64_t end = start + volume_tree_block_len(&copy->reader->tree, block);
	uint64_t from = start > copy->offset ? start : copy->offset;

	if (end > copy->end)
		end = copy->end;
	*in_block = (size_t)(from - start);
	*to = copy->buf + (from - copy->offset);
	return (size_t)(end - from);
}

static int block_arrived(void *arg, size_t i, const uint8_t *data, size_t len, struct err *err)
{
	struct copy *copy = arg;
	size_t want = volume_tree_block_len(&copy->reader->tree, copy->block[i]);
	size_t in_block, n;
	uint8_t *to;

	if (len != want)
		return err_say(err, EBADMSG, "volume %s: block %llu has %zu bytes instead of %zu",
			       copy->reader->name, (unsigned long long)copy->block[i], len, want);
	n = wanted(copy, copy->block[i], &in_block, &to);
	memcpy(to, data + in_block, n);
	return 0;
}

static int copy_flush(struct copy *copy, struct err *err)
{
	size_t n = copy->count;

	copy->count = 0;
	return n ? copy->reader->source.get(copy->reader->source.ctx, copy->ids, n, block_arrived,
					    copy, err)
		 : 0;
}

int volume_reader_read(struct volume_reader *reader, uint8_t *buf, size_t len, uint64_t offset,
		       struct err *err)
{
	struct copy copy = { .reader = reader, .buf = buf, .offset = offset, .end = offset + len };
	struct chunk_id ids[FETCH_MAX];
	uint64_t block, last;
	int r;

	if (!len)
		return 0;
	if (offset > reader->tree.size || len > reader->tree.size - offset)
		return err_say(err, EINVAL,
			       "volume %s ends at byte %llu, %zu bytes from %llu were asked for",
			       reader->name, (unsigned long long)reader->tree.size, len,
			       (unsigned long long)offset);

	last = (copy.end - 1) / reader->tree.grid;
	for (block = offset / reader->tree.grid; block <= last;) {
		size_t n = last - block + 1 < FETCH_MAX ? (size_t)(last - block + 1) : FETCH_MAX;

		r = volume_reader_ids(reader, block, n, ids, err);
		if (r < 0)
			return r;
		for (size_t i = 0; i < n; i++, block++) {
			if (chunk_id_is_zero(&ids[i])) {
				uint8_t *to;
				size_t in_block, zeros = wanted(&copy, block, &in_block, &to);

				memset(to, 0, zeros);
				continue;
			}
			copy.block[copy.count] = block;
			copy.ids[copy.count++] = ids[i];
		}
		r = copy_flush(&copy, err);
		if (r < 0)
			return err_wrap(err, r, "volume %s near byte %llu", reader->name,
					(unsigned long long)(block - n) * reader->tree.grid);
	}
	return 0;
}

int volume_reader_extent(struct volume_reader *reader, uint64_t offset, uint64_t *len, bool *zero,
			 struct err *err)
{
	const struct volume_tree *tree = &reader->tree;
	uint64_t first, block, end;

	if (offset >= tree->size)
		return err_say(err, EINVAL,
			       "volume %s ends at byte %llu, block status of %llu was asked for",
			       reader->name, (unsigned long long)tree->size,
			       (unsigned long long)offset);
	/* One leaf node at a time: enough for an answer, and a bounded cost. */
	first = offset / tree->grid;
	end = (first / VOLUME_FANOUT + 1) * VOLUME_FANOUT;
	if (end > tree->count[0])
		end = tree->count[0];
	for (block = first; block < end; block++) {
		struct chunk_id id;
		int r = volume_reader_ids(reader, block, 1, &id, err);

		if (r < 0)
			return r;
		if (block == first)
			*zero = chunk_id_is_zero(&id);
		else if (*zero != chunk_id_is_zero(&id))
			break;
	}
	*len = (block == tree->count[0] ? tree->size : block * tree->grid) - offset;
	return 0;
}
