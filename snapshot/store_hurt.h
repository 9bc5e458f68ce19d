/* store_hurt.h - what is damaged or missing, in terms of those whom it hurts: which desktop, snapshot, volume, and which bytes of it.
 *
 * All trees are walked; a subtree that was found whole is not walked again for the next snapshot. Used for saying what is
 * hurt (verify) and for making it whole (repair).
 */
#ifndef GODWIT_SNAPSHOT_STORE_HURT_H
#define GODWIT_SNAPSHOT_STORE_HURT_H

#include "snapshot/store_internal.h"
#include "snapshot/volume_tree.h"

/* A node or block that cannot be read. Everything is borrowed. */
struct store_hurt_piece {
	const struct manifest *manifest;
	const struct volume *volume;
	struct store_domain *domain;
	const struct volume_tree *tree;
	unsigned level;          /* 0: a block */
	uint64_t index;          /* in its level */
	uint64_t offset, length; /* bytes of the volume that depend on it */
	size_t raw_len;          /* of the chunk */
	const struct chunk_id *id;
	const char *why; /* NULL: it is not in the store */
};

enum { STORE_HURT_LOST = 1 };

struct store_hurt {
	struct store *store;
	/* May the chunk be used that lies there? NULL: wherever it is. */
	bool (*sound)(void *arg, const struct chunk_id *id, const struct store_place *place);
	/* Called for each snapshot and place that needs it. Return STORE_HURT_LOST; 0 with its content in @raw (piece->raw_len
	 * bytes): the walk goes on below it; or -errno. */
	int (*piece)(void *arg, const struct store_hurt_piece *piece, uint8_t *raw,
		     struct err *err);
	/* A manifest that cannot be read. Return STORE_HURT_LOST, 0 with *out filled, or -errno. */
	int (*manifest)(void *arg, const struct store_snapshot *row, const char *why,
			struct manifest *out, struct err *err);
	void *arg;
	const atomic_bool *cancel; /* may be NULL */
};

/* Return 0, -ECANCELED, or -errno when the walk itself could not be done. */
int store_hurt_walk(const struct store_hurt *hurt, struct err *err);

#endif
