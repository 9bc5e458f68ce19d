/* name_tree.h - the path of each inode, put together after all directories were read.
 *
 * Directories are walked by inode, not by name, so depth and loops cost nothing; each inode keeps its first name only.
 */
#ifndef GODWIT_SCAN_NAME_TREE_H
#define GODWIT_SCAN_NAME_TREE_H

#include <stddef.h>
#include <stdint.h>

#include "common/base.h"

struct name_tree;

struct name_tree *name_tree_new(void); /* NULL: out of memory */
void name_tree_free(struct name_tree *tree);
DEFINE_CLEANUP(struct name_tree *, name_tree_free);

/* @inode is called @name in directory @parent; later names of it are ignored. Return 0 or -ENOMEM. */
int name_tree_add(struct name_tree *tree, uint64_t inode, uint64_t parent, const char *name,
		  size_t len);

/**
 * name_tree_path(tree, inode, root, buf, cap):
 * The path below @root into buf, not terminated. A chain that is broken, loops or is too long begins with
 * "<inode N>/" instead.
 *
 * Return its length.
 */
size_t name_tree_path(const struct name_tree *tree, uint64_t inode, uint64_t root, char *buf,
		      size_t cap);

#endif
