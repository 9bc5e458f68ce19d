#include "snapshot/store_mark.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "snapshot/volume_tree.h"

/* A set of words that are never 0. */
struct set {
	uint64_t *slots;
	size_t slot_count, used;
};

struct store_mark {
	struct store *store;
	uint8_t **bits;         /* by pack number; NULL: nothing marked there */
	uint64_t *counts;
	size_t packs;
	struct set nodes;       /* walked: pack, record, level */
	char (*done)[MANIFEST_ID_LEN]; /* snapshots that are marked, sorted */
	size_t done_count;
	uint8_t *record;        /* CHUNK_MAX + PACK_RECORD_EXTRA */
};

/* ---- Set ---------------------------------------------------------------------------------------------------- */

static size_t set_slot(const struct set *s, uint64_t word)
{
	return (size_t)(word * UINT64_C(0x9e3779b97f4a7c15) >> 20) & (s->slot_count - 1);
}

static bool set_put(struct set *s, uint64_t word)
{
	size_t slot = set_slot(s, word);

	while (s->slots[slot] && s->slots[slot] != word)
		slot = (slot + 1) & (s->slot_count - 1);
	if (s->slots[slot])
		return false;
	s->slots[slot] = word;
	s->used++;
	return true;
}

/* 1: it is new; 0: it was there; -ENOMEM. */
static int set_add(struct set *s, uint64_t word)
{
	if (s->used * 2 >= s->slot_count) {
		struct set bigger = { .slot_count = s->slot_count ? 2 * s->slot_count : 1024 };

		bigger.slots = calloc(bigger.slot_count, sizeof(*bigger.slots));
		if (!bigger.slots)
			return -ENOMEM;
		for (size_t i = 0; i < s->slot_count; i++)
			if (s->slots[i])
				set_put(&bigger, s->slots[i]);
		free(s->slots);
		*s = bigger;
	}
	return set_put(s, word);
}

/* ---- Marks -------------------------------------------------------------------------------------------------- */

int store_mark_new(struct store_mark **out, struct store *store, struct err *err)
{
	CLEANUP(store_mark_free) struct store_mark *mark = calloc(1, sizeof(*mark));

	if (!mark)
		return err_set(err, ENOMEM, "mark chunks");
	mark->store = store;
	mark->record = malloc(CHUNK_MAX + PACK_RECORD_EXTRA);
	if (!mark->record)
		return err_set(err, ENOMEM, "mark chunks");
	*out = TAKE(mark);
	return 0;
}

void store_mark_free(struct store_mark *mark)
{
	if (!mark)
		return;
	for (size_t i = 0; i < mark->packs; i++)
		free(mark->bits[i]);
	free(mark->bits);
	free(mark->counts);
	free(mark->nodes.slots);
	free(mark->done);
	free(mark->record);
	free(mark);
}

static int packs_grow(struct store_mark *mark, uint32_t pack, struct err *err)
{
	size_t n = (size_t)pack + 64;
	uint64_t *counts;
	uint8_t **bits;

	if (pack < mark->packs)
		return 0;
	bits = realloc(mark->bits, n * sizeof(*bits));
	if (bits)
		mark->bits = bits;
	counts = realloc(mark->counts, n * sizeof(*counts));
	if (counts)
		mark->counts = counts;
	if (!bits || !counts)
		return err_set(err, ENOMEM, "mark chunks");
	memset(bits + mark->packs, 0, (n - mark->packs) * sizeof(*bits));
	memset(counts + mark->packs, 0, (n - mark->packs) * sizeof(*counts));
	mark->packs = n;
	return 0;
}

static int mark_record(struct store_mark *mark, uint32_t pack, uint32_t record, struct err *err)
{
	int r = packs_grow(mark, pack, err);

	if (r < 0)
		return r;
	if (!mark->bits[pack]) {
		mark->bits[pack] = calloc(1, PACK_RECORDS_MAX / 8);
		if (!mark->bits[pack])
			return err_set(err, ENOMEM, "mark chunks");
	}
	if (!store_mark_has(mark, pack, record)) {
		mark->bits[pack][record / 8] |= (uint8_t)(1u << (record % 8));
		mark->counts[pack]++;
	}
	return 0;
}

bool store_mark_has(const struct store_mark *mark, uint32_t pack, uint32_t record)
{
	return pack < mark->packs && mark->bits[pack] &&
	       (mark->bits[pack][record / 8] >> (record % 8) & 1);
}

uint64_t store_mark_count(const struct store_mark *mark, uint32_t pack)
{
	return pack < mark->packs ? mark->counts[pack] : 0;
}

/* ---- Trees -------------------------------------------------------------------------------------------------- */

struct walk {
	struct store_mark *mark;
	struct store_domain *domain;
	struct volume_tree tree;
};

static int children_read(struct store_mark *mark, const struct store_place *place, size_t count,
			 struct chunk_id *children, struct err *err)
{
	struct chunk_encoded chunk;
	int r;

	if (place->pack->entries[place->record].raw_len != count * CHUNK_ID_LEN)
		return err_say(err, EBADMSG, "pack %s, record %u: a tree node of another size was expected",
			       place->pack->name_text, place->record);
	r = pack_read(place->pack, place->record, mark->record, &chunk, err);
	if (r == 0)
		r = chunk_decode(&chunk, children->bytes, err);
	return r == CHUNK_CORRUPT ? -EBADMSG : r;
}

static int mark_node(struct walk *walk, unsigned level, uint64_t index, const struct chunk_id *id,
		     struct err *err)
{
	struct chunk_id children[VOLUME_FANOUT];
	struct store_place place = { 0 };
	size_t count = level ? volume_tree_children(&walk->tree, level, index) : 0;
	int r;

	if (chunk_id_is_zero(id))
		return 0;
	r = store_table_find(walk->domain, id, true, &place, err);
	if (r == STORE_ABSENT)
		return err_say(err, ENOENT, "a chunk is missing");
	if (r < 0)
		return r;
	r = mark_record(walk->mark, place.number, place.record, err);
	if (r == 0 && level) {
		/* The same bytes may stand for different things at different levels: both have to be walked. */
		r = set_add(&walk->mark->nodes, (uint64_t)place.number << 32 |
							(uint64_t)place.record << 4 | level);
		if (r < 0)
			r = err_set(err, ENOMEM, "mark chunks");
		else if (r == 1)
			r = children_read(walk->mark, &place, count, children, err);
		else
			count = 0;
	}
	pack_unref(place.pack);
	for (size_t i = 0; r == 0 && i < count; i++)
		r = mark_node(walk, level - 1, index * VOLUME_FANOUT + i, &children[i], err);
	return r;
}

static int mark_manifest(struct store_mark *mark, const struct store_snapshot *row, struct err *err)
{
	struct walk walk = { .mark = mark };
	struct manifest m;
	int r;

	r = mark_record(mark, row->pack, row->record, err);
	if (r < 0)
		return r;
	r = store_catalogue_read(mark->store, row, &m, err);
	if (r < 0)
		return r;
	walk.domain = store_domain_get(mark->store, m.domain, err);
	if (!walk.domain)
		r = -ENOMEM;
	for (size_t i = 0; r == 0 && i < m.volume_count; i++) {
		volume_tree_init(&walk.tree, m.volumes[i].size, m.volumes[i].grid);
		if (!walk.tree.count[0])
			continue;
		r = mark_node(&walk, walk.tree.height, 0, &m.volumes[i].root, err);
		if (r < 0)
			err_wrap(err, r, "snapshot %s, volume %s", m.id, m.volumes[i].name);
	}
	manifest_deinit(&m);
	return r;
}

static int by_id(const void *a, const void *b)
{
	return memcmp(a, b, MANIFEST_ID_LEN);
}

int store_mark_snapshots(struct store_mark *mark, struct err *err)
{
	CLEANUP_FREE struct store_snapshot *rows = NULL;
	size_t n;
	int r = store_catalogue_rows(mark->store, &rows, &n, err);
	char(*done)[MANIFEST_ID_LEN];

	for (size_t i = 0; r == 0 && i < n; i++)
		if (!mark->done_count ||
		    !bsearch(rows[i].id, mark->done, mark->done_count, MANIFEST_ID_LEN, by_id))
			r = mark_manifest(mark, &rows[i], err);
	if (r < 0)
		return r;
	done = calloc(n + 1, MANIFEST_ID_LEN);
	if (!done)
		return err_set(err, ENOMEM, "mark chunks");
	for (size_t i = 0; i < n; i++)
		memcpy(done[i], rows[i].id, MANIFEST_ID_LEN);
	if (n)
		qsort(done, n, MANIFEST_ID_LEN, by_id);
	free(mark->done);
	mark->done = done;
	mark->done_count = n;
	return 0;
}
