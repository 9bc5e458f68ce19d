/* store_repair_parts.h - the inside of a repair, for store_repair.c (the course of it) and store_repair_donor.c (where content comes from). */
#ifndef GODWIT_SNAPSHOT_STORE_REPAIR_PARTS_H
#define GODWIT_SNAPSHOT_STORE_REPAIR_PARTS_H

#include "snapshot/store_hurt.h"
#include "snapshot/store_repair.h"

/* An image that may hold blocks. */
struct store_repair_image {
	const char *path;
	int fd;
	uint64_t size;
};

struct store_repair_donors {
	const struct store_repair *order;
	struct store_repair_image *images;
	size_t image_count;
	uint8_t *buf; /* CHUNK_MAX */
};

int store_repair_donors_open(struct store_repair_donors *donors, const struct store_repair *order,
			     struct err *err);
void store_repair_donors_close(struct store_repair_donors *donors);

/**
 * store_repair_donors_chunk(donors, piece, raw):
 * Look for a piece everywhere; what is returned was compared with its id.
 *
 * raw  uint8_t[piece->raw_len], out
 *
 * Return who had it, or NULL.
 */
const char *store_repair_donors_chunk(struct store_repair_donors *donors,
				      const struct store_hurt_piece *piece, uint8_t *raw);
/* The same for a chunk whose place in a volume is not known: the stores only. raw: uint8_t[raw_len], out. */
const char *store_repair_donors_stored(struct store_repair_donors *donors,
				       const struct chunk_id *id, size_t raw_len, uint8_t *raw);
/* The manifest of a snapshot from another store. Return who had it, or NULL. */
const char *store_repair_donors_manifest(struct store_repair_donors *donors, const char *id,
					 struct manifest *out);

#endif
