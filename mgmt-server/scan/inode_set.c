#include "mgmt-server/scan/inode_set.h"

#include <errno.h>
#include <stdlib.h>

void inode_set_deinit(struct inode_set *s)
{
	free(s->slots);
	*s = (struct inode_set){ 0 };
}

static uint64_t *slot_of(const struct inode_set *s, uint64_t number)
{
	size_t i = (size_t)((number * 0x9E3779B97F4A7C15ULL) >> 20) & (s->slot_count - 1);

	while (s->slots[i] && s->slots[i] != number + 1)
		i = (i + 1) & (s->slot_count - 1);
	return &s->slots[i];
}

static int grow(struct inode_set *s)
{
	struct inode_set bigger = { .slot_count = s->slot_count ? s->slot_count * 2 : 1024,
				    .used = s->used };

	bigger.slots = calloc(bigger.slot_count, sizeof(*bigger.slots));
	if (!bigger.slots)
		return -ENOMEM;
	for (size_t i = 0; i < s->slot_count; i++) {
		if (s->slots[i])
			*slot_of(&bigger, s->slots[i] - 1) = s->slots[i];
	}
	free(s->slots);
	*s = bigger;
	return 0;
}

int inode_set_add(struct inode_set *s, uint64_t number)
{
	uint64_t *slot;

	if (s->used * 2 >= s->slot_count && grow(s) < 0)
		return -ENOMEM;
	slot = slot_of(s, number);
	if (*slot)
		return INODE_SET_SEEN;
	*slot = number + 1;
	s->used++;
	return 0;
}
