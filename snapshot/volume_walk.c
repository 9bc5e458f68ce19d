/* Two trees are compared from the top: where both have the same id at the same place, all below is the same. */
#include "snapshot/volume.h"

#include <errno.h>
#include <string.h>

#include "snapshot/volume_tree.h"

struct walk {
	const struct volume *volume;
	struct volume_tree tree, base_tree;
	struct chunk_source source;
	volume_visit *fn;
	void *arg;
};

struct node {
	struct chunk_id ids[VOLUME_FANOUT];
	size_t count;
};

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

static int node_load(const struct walk *walk, const struct volume_tree *tree, unsigned level,
		     uint64_t index, const struct chunk_id *id, struct node *node, struct err *err)
{
	memset(node, 0, sizeof(*node));
	if (chunk_id_is_zero(id))
		return 0;
	node->count = volume_tree_children(tree, level, index);
	return walk->source.get(walk->source.ctx, id, 1, node_arrived, node, err);
}

/* @old: what stands at this place of the base; the zero id when nothing does. */
static int visit(const struct walk *walk, unsigned level, uint64_t index, const struct chunk_id *id,
		 const struct chunk_id *old, struct err *err)
{
	struct node node, old_node;
	int r;

	if (chunk_id_is_zero(id) || chunk_id_equal(id, old))
		return 0;
	r = walk->fn(walk->arg, id, level > 0, err);
	if (r < 0 || level == 0)
		return r;
	r = node_load(walk, &walk->tree, level, index, id, &node, err);
	if (r < 0)
		return r;
	r = node_load(walk, &walk->base_tree, level, index, old, &old_node, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < node.count; i++) {
		r = visit(walk, level - 1, index * VOLUME_FANOUT + i, &node.ids[i],
			  &old_node.ids[i], err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Could the base's tree be compared place by place? Only one of the same grid and height has the same places. */
static bool comparable(const struct volume *volume, const struct volume *base)
{
	struct volume_tree a, b;

	if (!base || base->grid != volume->grid)
		return false;
	volume_tree_init(&a, volume->size, volume->grid);
	volume_tree_init(&b, base->size, base->grid);
	return a.height == b.height;
}

int volume_walk(const struct volume *volume, const struct volume *base, struct chunk_source source,
		volume_visit *fn, void *arg, struct err *err)
{
	static const struct chunk_id zero;
	struct walk walk = { .volume = volume, .source = source, .fn = fn, .arg = arg };
	bool has_base;
	int r;

	if (!volume_tree_grid_valid(volume->grid))
		return err_say(err, EINVAL, "volume %s: a grid of %u bytes is not valid",
			       volume->name, volume->grid);
	has_base = comparable(volume, base);
	volume_tree_init(&walk.tree, volume->size, volume->grid);
	if (has_base)
		volume_tree_init(&walk.base_tree, base->size, base->grid);
	if (!walk.tree.count[0])
		return 0;
	r = visit(&walk, walk.tree.height, 0, &volume->root, has_base ? &base->root : &zero, err);
	return r < 0 ? err_wrap(err, r, "volume %s", volume->name) : 0;
}
