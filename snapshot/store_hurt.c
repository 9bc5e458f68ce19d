#include "snapshot/store_hurt.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "snapshot/store_refs_parts.h"

enum { WHOLE = 0, LOST = STORE_HURT_LOST }; /* of a subtree */

struct walk {
	const struct store_hurt *hurt;
	struct store_refs_table
		whole;   /* nodes that were walked and below which nothing is missing */
	uint8_t *record; /* CHUNK_MAX + PACK_RECORD_EXTRA */
	uint8_t *raw;    /* CHUNK_MAX */
	/* of the volume that is being walked */
	const struct manifest *manifest;
	const struct volume *volume;
	struct store_domain *domain;
	struct volume_tree tree;
};

static bool sound(const struct walk *w, const struct chunk_id *id, const struct store_place *place)
{
	return !w->hurt->sound || w->hurt->sound(w->hurt->arg, id, place);
}

/* Damage is what this is about; anything else is a failure. */
static bool is_damage(int r)
{
	return r == -EBADMSG || r == -EIO || r == -ENOENT || r == -EINVAL;
}

/* A sound copy of the chunk. Return 0, STORE_ABSENT or -errno. */
static int find(const struct walk *w, const struct chunk_id *id, struct store_place *out,
		struct err *err)
{
	struct store_place all[STORE_INDEX_CANDIDATES];
	int n, r = store_table_find(w->domain, id, false, out, err);

	if (r || sound(w, id, out))
		return r;
	pack_unref(out->pack);
	out->pack = NULL;
	n = store_table_find_all(w->domain, id, all, err);
	for (int i = 0; i < n; i++) {
		if (!out->pack && sound(w, id, &all[i]))
			*out = all[i];
		else
			pack_unref(all[i].pack);
	}
	return n < 0 ? n : out->pack ? 0 : STORE_ABSENT;
}

/* How many bytes of plaintext has the chunk at that place of the tree? */
static size_t chunk_len(const struct volume_tree *tree, unsigned level, uint64_t index)
{
	return level ? volume_tree_children(tree, level, index) * CHUNK_ID_LEN
		     : volume_tree_block_len(tree, index);
}

static int missing(struct walk *w, unsigned level, uint64_t index, const struct chunk_id *id,
		   const char *why, struct err *err)
{
	struct store_hurt_piece piece = { .manifest = w->manifest,
					  .volume = w->volume,
					  .domain = w->domain,
					  .tree = &w->tree,
					  .level = level,
					  .index = index,
					  .id = id,
					  .why = why };
	unsigned shift = 8 * level;
	uint64_t blocks = UINT64_C(1) << shift, end;

	piece.offset = (index << shift) * w->tree.grid;
	end = blocks > (w->tree.size - piece.offset) / w->tree.grid
		      ? w->tree.size
		      : piece.offset + blocks * w->tree.grid;
	piece.length = end - piece.offset;
	piece.raw_len = chunk_len(&w->tree, level, index);
	return w->hurt->piece(w->hurt->arg, &piece, w->raw, err);
}

/* The plaintext of a node into w->raw. */
static int node_read(struct walk *w, const struct store_place *place, size_t len, struct err *err)
{
	struct chunk_encoded chunk;
	int r;

	if (place->pack->entries[place->record].raw_len != len)
		return err_say(err, EBADMSG,
			       "pack %s, record %u: a tree node of another size was expected",
			       place->pack->name_text, place->record);
	r = pack_read(place->pack, place->record, w->record, &chunk, err);
	if (r == 0)
		r = chunk_decode(&chunk, w->raw, err);
	return r == CHUNK_CORRUPT ? -EBADMSG : r;
}

/* Return WHOLE, LOST or -errno. */
static int node_walk(struct walk *w, unsigned level, uint64_t index, const struct chunk_id *id,
		     struct err *err)
{
	struct chunk_id children[VOLUME_FANOUT];
	struct store_place place = { 0 };
	struct err why = { 0 };
	uint64_t key = 0;
	size_t count;
	int r, found, state = WHOLE;

	if (chunk_id_is_zero(id))
		return WHOLE;
	if (w->hurt->cancel && atomic_load(w->hurt->cancel))
		return err_say(err, ECANCELED, "cancelled");
	found = find(w, id, &place, &why);
	if (found == 0)
		key = store_refs_key(place.number, place.record, level);
	if (found == 0 && (!level || store_refs_table_get(&w->whole, key))) {
		pack_unref(place.pack);
		return WHOLE;
	}
	count = level ? volume_tree_children(&w->tree, level, index) : 0;
	r = found == 0 ? node_read(w, &place, count * CHUNK_ID_LEN, &why) : found;
	pack_unref(place.pack);
	if (r && r != STORE_ABSENT && !is_damage(r)) {
		if (err)
			*err = why;
		return r;
	}
	if (r) {
		found = STORE_ABSENT;
		r = missing(w, level, index, id, r == STORE_ABSENT ? NULL : err_text(&why), err);
	}
	if (r || !level)
		return r;
	memcpy(children, w->raw, count * CHUNK_ID_LEN);
	for (size_t i = 0; i < count; i++) {
		r = node_walk(w, level - 1, index * VOLUME_FANOUT + i, &children[i], err);
		if (r < 0)
			return r;
		state |= r;
	}
	if (state == WHOLE && found == 0 && store_refs_table_set(&w->whole, key, 1) < 0)
		return err_set(err, ENOMEM, "walk snapshots");
	return state;
}

static int manifest_walk(struct walk *w, const struct manifest *m, struct err *err)
{
	int r = 0;

	w->manifest = m;
	w->domain = store_domain_get(w->hurt->store, m->domain, err);
	if (!w->domain)
		return -ENOMEM;
	for (size_t i = 0; r >= 0 && i < m->volume_count; i++) {
		w->volume = &m->volumes[i];
		volume_tree_init(&w->tree, w->volume->size, w->volume->grid);
		if (w->tree.count[0])
			r = node_walk(w, w->tree.height, 0, &w->volume->root, err);
	}
	return r < 0 ? r : 0;
}

static int walk_all(struct walk *w, struct err *err)
{
	CLEANUP_FREE struct store_snapshot *rows = NULL;
	size_t n;
	int r = store_catalogue_rows(w->hurt->store, &rows, &n, err);

	for (size_t i = 0; r == 0 && i < n; i++) {
		struct err why = { 0 };
		struct manifest m;

		r = store_manifest(w->hurt->store, rows[i].id, &m, &why);
		if (r == STORE_ABSENT) { /* forgotten meanwhile */
			r = 0;
			continue;
		}
		if (r < 0 && is_damage(r))
			r = w->hurt->manifest(w->hurt->arg, &rows[i], err_text(&why), &m, err);
		else if (r < 0 && err)
			*err = why;
		if (r == STORE_HURT_LOST) {
			r = 0;
			continue;
		}
		if (r < 0)
			return r;
		r = manifest_walk(w, &m, err);
		manifest_deinit(&m);
	}
	return r;
}

int store_hurt_walk(const struct store_hurt *hurt, struct err *err)
{
	struct walk w = { .hurt = hurt,
			  .record = malloc(CHUNK_MAX + PACK_RECORD_EXTRA),
			  .raw = malloc(CHUNK_MAX) };
	int r = w.record && w.raw ? walk_all(&w, err) : err_set(err, ENOMEM, "walk snapshots");

	free(w.whole.slots);
	free(w.record);
	free(w.raw);
	return r;
}
