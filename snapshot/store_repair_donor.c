#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/io.h"
#include "snapshot/store_repair_parts.h"

int store_repair_donors_open(struct store_repair_donors *donors, const struct store_repair *order,
			     struct err *err)
{
	*donors = (struct store_repair_donors){ .order = order };
	donors->images = calloc(order->image_count + 1, sizeof(*donors->images));
	donors->buf = malloc(CHUNK_MAX);
	if (!donors->images || !donors->buf)
		return err_set(err, ENOMEM, "repair");
	for (size_t i = 0; i < order->image_count; i++) {
		struct store_repair_image *image = &donors->images[donors->image_count];
		off_t end;

		image->path = order->images[i];
		image->fd = open(image->path, O_RDONLY | O_CLOEXEC);
		if (image->fd < 0)
			return err_set(err, errno, "open %s", image->path);
		donors->image_count++;
		/* Works for block devices, too. */
		end = lseek(image->fd, 0, SEEK_END);
		if (end < 0)
			return err_set(err, errno, "find the size of %s", image->path);
		image->size = (uint64_t)end;
	}
	return 0;
}

void store_repair_donors_close(struct store_repair_donors *donors)
{
	for (size_t i = 0; i < donors->image_count; i++)
		base_close(donors->images[i].fd);
	free(donors->images);
	free(donors->buf);
}

/* ---- Stores ------------------------------------------------------------------------------------------------- */

static bool from_store(struct store_repair_donors *donors, struct store *store,
		       const struct chunk_id *id, size_t raw_len, uint8_t *raw)
{
	struct chunk_encoded chunk;
	struct err why = { 0 };

	return store_get_encoded(store, id, donors->buf, &chunk, &why) == 0 &&
	       chunk.raw_len == raw_len && chunk_decode(&chunk, raw, &why) == 0;
}

const char *store_repair_donors_stored(struct store_repair_donors *donors,
				       const struct chunk_id *id, size_t raw_len, uint8_t *raw)
{
	for (size_t i = 0; i < donors->order->store_count; i++)
		if (from_store(donors, donors->order->stores[i], id, raw_len, raw))
			return donors->order->store_paths[i];
	return NULL;
}

/* ---- Images ------------------------------------------------------------------------------------------------- */

/* What the image has in that place of the tree: the id of it, and its content in @raw. False: it cannot be read. */
static bool content_of(const struct store_repair_donors *donors,
		       const struct store_repair_image *image, const struct volume_tree *tree,
		       unsigned level, uint64_t index, uint8_t *raw, size_t *len)
{
	if (level) {
		struct chunk_id ids[VOLUME_FANOUT];
		size_t n = volume_tree_children(tree, level, index);

		memset(ids, 0, sizeof(ids));
		for (size_t i = 0; i < n; i++) {
			size_t child;

			if (!content_of(donors, image, tree, level - 1, index * VOLUME_FANOUT + i,
					raw, &child))
				return false;
			if (!chunk_is_zero(raw, child))
				chunk_id_of(raw, child, &ids[i]);
		}
		*len = n * CHUNK_ID_LEN;
		memcpy(raw, ids, *len);
		return true;
	}
	*len = volume_tree_block_len(tree, index);
	return index * tree->grid + *len <= image->size &&
	       io_pread_full(image->fd, raw, *len, index * tree->grid) == 0;
}

static bool from_image(const struct store_repair_donors *donors,
		       const struct store_repair_image *image, const struct store_hurt_piece *piece,
		       uint8_t *raw)
{
	struct chunk_id id;
	size_t len;

	if (!content_of(donors, image, piece->tree, piece->level, piece->index, raw, &len) ||
	    len != piece->raw_len)
		return false;
	chunk_id_of(raw, len, &id);
	return chunk_id_equal(&id, piece->id);
}

/* ---- All of them -------------------------------------------------------------------------------------------- */

const char *store_repair_donors_chunk(struct store_repair_donors *donors,
				      const struct store_hurt_piece *piece, uint8_t *raw)
{
	const char *from = store_repair_donors_stored(donors, piece->id, piece->raw_len, raw);

	for (size_t i = 0; !from && i < donors->image_count; i++)
		if (from_image(donors, &donors->images[i], piece, raw))
			from = donors->images[i].path;
	return from;
}

const char *store_repair_donors_manifest(struct store_repair_donors *donors, const char *id,
					 struct manifest *out)
{
	for (size_t i = 0; i < donors->order->store_count; i++) {
		struct err why = { 0 };

		if (store_manifest(donors->order->stores[i], id, out, &why) == 0)
			return donors->order->store_paths[i];
	}
	return NULL;
}
