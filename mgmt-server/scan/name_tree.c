#include "mgmt-server/scan/name_tree.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct node {
	uint64_t inode; /* + 1; 0: empty slot */
	uint64_t parent;
	size_t name; /* offset in names */
	uint32_t len;
};

struct name_tree {
	struct node *slots; /* open addressing, at most half full, a power of two */
	size_t slot_count, used;
	char *names;
	size_t names_len, names_cap;
};

struct name_tree *name_tree_new(void)
{
	return calloc(1, sizeof(struct name_tree));
}

void name_tree_free(struct name_tree *t)
{
	if (!t)
		return;
	free(t->slots);
	free(t->names);
	free(t);
}

static struct node *slot_of(const struct name_tree *t, uint64_t inode)
{
	size_t i = (size_t)((inode * 0x9E3779B97F4A7C15ULL) >> 20) & (t->slot_count - 1);

	while (t->slots[i].inode && t->slots[i].inode != inode + 1)
		i = (i + 1) & (t->slot_count - 1);
	return &t->slots[i];
}

static int grow(struct name_tree *t)
{
	struct name_tree bigger = { .slot_count = t->slot_count ? t->slot_count * 2 : 4096 };

	bigger.slots = calloc(bigger.slot_count, sizeof(*bigger.slots));
	if (!bigger.slots)
		return -ENOMEM;
	for (size_t i = 0; i < t->slot_count; i++) {
		if (t->slots[i].inode)
			*slot_of(&bigger, t->slots[i].inode - 1) = t->slots[i];
	}
	free(t->slots);
	t->slots = bigger.slots;
	t->slot_count = bigger.slot_count;
	return 0;
}

int name_tree_add(struct name_tree *t, uint64_t inode, uint64_t parent, const char *name,
		  size_t len)
{
	struct node *node;

	if (t->used * 2 >= t->slot_count && grow(t) < 0)
		return -ENOMEM;
	node = slot_of(t, inode);
	if (node->inode)
		return 0;
	if (t->names_len + len > t->names_cap) {
		size_t cap = (t->names_len + len) * 2 + 4096;
		char *names = realloc(t->names, cap);

		if (!names)
			return -ENOMEM;
		t->names = names;
		t->names_cap = cap;
	}
	memcpy(t->names + t->names_len, name, len);
	*node = (struct node){
		.inode = inode + 1, .parent = parent, .name = t->names_len, .len = (uint32_t)len
	};
	t->names_len += len;
	t->used++;
	return 0;
}

size_t name_tree_path(const struct name_tree *t, uint64_t inode, uint64_t root, char *buf,
		      size_t cap)
{
	size_t at = cap, n;
	uint64_t here = inode;
	char broken[32];

	/* Written from the end; a loop ends when the buffer is full. */
	while (here != root) {
		const struct node *node = t->slot_count ? slot_of(t, here) : NULL;

		if (!node || !node->inode || node->len + 1 + sizeof(broken) > at) {
			int k = snprintf(broken, sizeof(broken), "<inode %llu>%s",
					 (unsigned long long)here, at < cap ? "/" : "");

			at -= (size_t)k;
			memcpy(buf + at, broken, (size_t)k);
			break;
		}
		if (at < cap)
			buf[--at] = '/';
		at -= node->len;
		memcpy(buf + at, t->names + node->name, node->len);
		here = node->parent;
	}
	n = cap - at;
	memmove(buf, buf + at, n);
	return n;
}
