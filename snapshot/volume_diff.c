/* volume_diff.c - see volume_diff.h. */
#include "snapshot/volume_diff.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "snapshot/volume_tree.h"

struct compare {
	struct volume_tree tree, base_tree;
	struct chunk_source source, base_source;
	uint64_t size;
	struct volume_diff *diff;
};

struct node {
	struct chunk_id ids[VOLUME_FANOUT];
	size_t count;
};

void volume_diff_deinit(struct volume_diff *diff)
{
	free(diff->extents);
	*diff = (struct volume_diff){ 0 };
}

static int add(struct volume_diff *diff, uint64_t offset, uint64_t len, struct err *err)
{
	struct volume_extent *last = diff->count ? &diff->extents[diff->count - 1] : NULL;

	if (last && last->offset + last->length == offset) {
		last->length += len;
		return 0;
	}
	if (diff->count == diff->capacity) {
		size_t capacity = diff->capacity ? diff->capacity * 2 : 64;
		struct volume_extent *more =
			realloc(diff->extents, capacity * sizeof(*diff->extents));

		if (!more)
			return err_set(err, ENOMEM, "compare two volumes");
		diff->extents = more;
		diff->capacity = capacity;
	}
	diff->extents[diff->count++] = (struct volume_extent){ .offset = offset, .length = len };
	return 0;
}

static int node_arrived(void *arg, size_t i, const uint8_t *data, size_t len, struct err *err)
{
	struct node *node = arg;

	(void)i;
	if (len != node->count * CHUNK_ID_LEN)
		return err_say(err, EBADMSG, "a tree node has %zu bytes instead of %zu", len,
			       node->count * CHUNK_ID_LEN);
	memcpy(node->ids, data, len);
	return 0;
}

static int node_load(const struct volume_tree *tree, struct chunk_source source, unsigned level,
		     uint64_t index, const struct chunk_id *id, struct node *node, struct err *err)
{
	memset(node, 0, sizeof(*node));
	if (chunk_id_is_zero(id))
		return 0;
	node->count = volume_tree_children(tree, level, index);
	return source.get(source.ctx, id, 1, node_arrived, node, err);
}

/* Bytes that one node of @level covers; a product that does not fit covers everything anyway. */
static uint64_t span(const struct compare *c, unsigned level)
{
	uint64_t bytes = c->tree.grid;

	while (level--) {
		if (__builtin_mul_overflow(bytes, (uint64_t)VOLUME_FANOUT, &bytes))
			return UINT64_MAX;
	}
	return bytes;
}

static int visit(const struct compare *c, unsigned level, uint64_t index, const struct chunk_id *id,
		 const struct chunk_id *old, struct err *err)
{
	struct node node, old_node;
	int r;

	if (chunk_id_equal(id, old))
		return 0;
	if (level == 0 || chunk_id_is_zero(id) || chunk_id_is_zero(old)) {
		uint64_t each = span(c, level), offset = index ? index * each : 0;

		return add(c->diff, offset, each < c->size - offset ? each : c->size - offset, err);
	}
	r = node_load(&c->tree, c->source, level, index, id, &node, err);
	if (r == 0)
		r = node_load(&c->base_tree, c->base_source, level, index, old, &old_node, err);
	for (size_t i = 0; r == 0 && i < node.count; i++)
		r = visit(c, level - 1, index * VOLUME_FANOUT + i, &node.ids[i], &old_node.ids[i],
			  err);
	return r;
}

int volume_diff(const struct volume *volume, const struct volume *base, struct chunk_source source,
		struct chunk_source base_source, struct volume_diff *diff, struct err *err)
{
	struct compare c = {
		.source = source, .base_source = base_source, .size = volume->size, .diff = diff
	};
	int r;

	if (!volume_tree_grid_valid(volume->grid))
		return err_say(err, EINVAL, "volume %s: a grid of %u bytes is not valid",
			       volume->name, volume->grid);
	if (!volume->size)
		return 0;
	volume_tree_init(&c.tree, volume->size, volume->grid);
	volume_tree_init(&c.base_tree, base->size, base->grid);
	if (base->grid != volume->grid || c.tree.height != c.base_tree.height)
		return add(diff, 0, volume->size, err);
	r = visit(&c, c.tree.height, 0, &volume->root, &base->root, err);
	return r < 0 ? err_wrap(err, r, "compare volume %s", volume->name) : 0;
}

bool volume_diff_meets(const struct volume_extent *extents, size_t count, uint64_t offset,
		       uint64_t len)
{
	size_t low = 0, high = count; /* the first extent that ends behind @offset */

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (extents[middle].offset + extents[middle].length > offset)
			high = middle;
		else
			low = middle + 1;
	}
	return len && low < count && extents[low].offset < offset + len;
}
