#include "snapshot/volume_tree.h"

#include <assert.h>

bool volume_tree_grid_valid(uint64_t grid)
{
	return grid >= 4096 && grid <= CHUNK_MAX && (grid & (grid - 1)) == 0;
}

void volume_tree_init(struct volume_tree *tree, uint64_t size, uint32_t grid)
{
	assert(volume_tree_grid_valid(grid));
	*tree = (struct volume_tree){ .size = size, .grid = grid };
	tree->count[0] = size / grid + (size % grid != 0);
	while (tree->count[tree->height] > 1) {
		uint64_t below = tree->count[tree->height++];

		tree->count[tree->height] = below / VOLUME_FANOUT + (below % VOLUME_FANOUT != 0);
	}
}

size_t volume_tree_children(const struct volume_tree *tree, unsigned level, uint64_t i)
{
	uint64_t left = tree->count[level - 1] - i * VOLUME_FANOUT;

	assert(level >= 1 && level <= tree->height && i < tree->count[level]);
	return left < VOLUME_FANOUT ? (size_t)left : VOLUME_FANOUT;
}

size_t volume_tree_block_len(const struct volume_tree *tree, uint64_t i)
{
	uint64_t left = tree->size - i * tree->grid;

	assert(i < tree->count[0]);
	return left < tree->grid ? (size_t)left : tree->grid;
}
