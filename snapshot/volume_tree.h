/* volume_tree.h - the shape of a volume's tree: how many nodes stand at each level, and what each covers.
 *
 * Level 0 are the leaves (blocks), level `height` is the single root. A volume of one block has height 0: its root is
 * the block's id. Node i of level l covers the nodes i * 256 … of level l - 1. Source: snapshot/FORMAT.md, "Volumes".
 */
#ifndef GODWIT_SNAPSHOT_VOLUME_TREE_H
#define GODWIT_SNAPSHOT_VOLUME_TREE_H

#include "snapshot/volume.h"

enum { VOLUME_TREE_HEIGHT_MAX = 7 }; /* 2^64 bytes in blocks of 4 KiB */

struct volume_tree {
	uint64_t size;
	uint32_t grid;
	unsigned height;
	uint64_t count[VOLUME_TREE_HEIGHT_MAX + 1]; /* nodes of each level; count[0] blocks */
};

bool volume_tree_grid_valid(uint64_t grid);
void volume_tree_init(struct volume_tree *tree, uint64_t size, uint32_t grid);

/* Children of node @i of @level (≥ 1), 1..VOLUME_FANOUT. */
size_t volume_tree_children(const struct volume_tree *tree, unsigned level, uint64_t i);

/* Bytes of block @i, 1..grid. */
size_t volume_tree_block_len(const struct volume_tree *tree, uint64_t i);

#endif
