/* inode_set.h - a set of numbers: what a walk has already seen. */
#ifndef GODWIT_SCAN_INODE_SET_H
#define GODWIT_SCAN_INODE_SET_H

#include <stddef.h>
#include <stdint.h>

struct inode_set {
	uint64_t *
		slots; /* number + 1; 0: empty. Open addressing, at most half full, a power of two */
	size_t slot_count, used;
};

/* Zero-initialise before use. */
void inode_set_deinit(struct inode_set *set);

enum { INODE_SET_SEEN = 1 };
/* Return 0: new and added; INODE_SET_SEEN; or -ENOMEM. */
int inode_set_add(struct inode_set *set, uint64_t number);

#endif
