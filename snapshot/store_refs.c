#include "snapshot/store_refs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/hex.h"
#include "common/le.h"
#include "snapshot/store_refs_parts.h"
#include "snapshot/volume_tree.h"

_Static_assert((int)VOLUME_TREE_HEIGHT_MAX < (int)STORE_REFS_LEVEL_MANY, "a level fits a key");

/* ---- Counts ------------------------------------------------------------------------------------------------- */

int store_refs_new(struct store_refs **out, struct store *store, struct err *err)
{
	CLEANUP(store_refs_free) struct store_refs *refs = calloc(1, sizeof(*refs));

	if (!refs)
		return err_set(err, ENOMEM, "count references");
	refs->store = store;
	refs->record = malloc(CHUNK_MAX + PACK_RECORD_EXTRA);
	refs->cache = calloc(STORE_REFS_CACHE, sizeof(*refs->cache));
	if (!refs->record || !refs->cache)
		return err_set(err, ENOMEM, "count references");
	*out = TAKE(refs);
	return 0;
}

void store_refs_free(struct store_refs *refs)
{
	if (!refs)
		return;
	for (size_t i = 0; i < refs->pack_count; i++)
		free(refs->packs[i].counts);
	free(refs->packs);
	free(refs->table.slots);
	free(refs->done);
	free(refs->cache);
	free(refs->record);
	free(refs);
}

int store_refs_grow(struct store_refs *refs, uint32_t pack, struct err *err)
{
	size_t n = (size_t)pack + 64;
	struct store_refs_pack *packs;

	if (pack < refs->pack_count)
		return 0;
	packs = realloc(refs->packs, n * sizeof(*packs));
	if (!packs)
		return err_set(err, ENOMEM, "count references");
	memset(packs + refs->pack_count, 0, (n - refs->pack_count) * sizeof(*packs));
	refs->packs = packs;
	refs->pack_count = n;
	return 0;
}

bool store_refs_has(const struct store_refs *refs, uint32_t pack, uint32_t record)
{
	return pack < refs->pack_count && refs->packs[pack].counts &&
	       record < refs->packs[pack].records && refs->packs[pack].counts[record];
}

static uint32_t total_of(const struct store_refs *refs, uint32_t pack, uint32_t record)
{
	if (!store_refs_has(refs, pack, record))
		return 0;
	return refs->packs[pack].counts[record] < STORE_REFS_MANY
		       ? refs->packs[pack].counts[record]
		       : store_refs_table_get(&refs->table,
					      store_refs_key(pack, record, STORE_REFS_LEVEL_MANY));
}

/* Learn how many records the pack has, the first time. */
static int look_at_pack(struct store_refs *refs, uint32_t number, const struct pack *pack,
			struct err *err)
{
	struct store_refs_pack *p;
	int r = store_refs_grow(refs, number, err);

	if (r < 0 || refs->packs[number].records)
		return r;
	refs->changed = true;
	p = &refs->packs[number];
	p->records = pack->count;
	p->others = 0;
	for (uint32_t i = 0; i < pack->count; i++)
		p->others += pack->entries[i].type != PACK_CHUNK;
	return 0;
}

/* Open the pack of a place that came from the cache. */
static int place_open(struct store_refs *refs, struct store_place *place, struct err *err)
{
	return place->pack ? 0 : store_table_pack(refs->store, place->number, &place->pack, err);
}

/* A record begins or ceases to be referenced: the sums of its pack follow. */
static int set_live(struct store_refs *refs, struct store_place *place, bool live, struct err *err)
{
	struct store_refs_pack *p;
	int r = place_open(refs, place, err);

	if (r == 0)
		r = look_at_pack(refs, place->number, place->pack, err);
	if (r < 0)
		return r;
	p = &refs->packs[place->number];
	if (!p->counts)
		p->counts = calloc(1, p->records);
	if (!p->counts)
		return err_set(err, ENOMEM, "count references");
	if (live) {
		p->live++;
		p->live_bytes += pack_record_len(&place->pack->entries[place->record]);
	} else {
		p->live--;
		p->live_bytes -= pack_record_len(&place->pack->entries[place->record]);
	}
	return 0;
}

static int set_total(struct store_refs *refs, struct store_place *place, uint32_t total,
		     struct err *err)
{
	uint64_t key = store_refs_key(place->number, place->record, STORE_REFS_LEVEL_MANY);
	bool was_live = store_refs_has(refs, place->number, place->record);
	uint8_t *count;
	int r = 0;

	if (was_live != (total > 0))
		r = set_live(refs, place, total > 0, err);
	if (r < 0 || (!was_live && !total))
		return r;
	count = &refs->packs[place->number].counts[place->record];
	if (total >= STORE_REFS_MANY || *count == STORE_REFS_MANY)
		if (store_refs_table_set(&refs->table, key, total >= STORE_REFS_MANY ? total : 0) <
		    0)
			return err_set(err, ENOMEM, "count references");
	refs->changed = true;
	*count = (uint8_t)(total < STORE_REFS_MANY ? total : STORE_REFS_MANY);
	return 0;
}

static uint32_t node_count(const struct store_refs *refs, const struct store_place *place,
			   unsigned level)
{
	return store_refs_table_get(&refs->table,
				    store_refs_key(place->number, place->record, level));
}

/* One more (@by 1) or less (-1) at that place. Return 1 when a node began or ceased to be referenced, 0 otherwise, or -errno.
 * The same bytes may stand for different things at different levels: nodes are counted for each.
 */
static int bump(struct store_refs *refs, struct store_place *place, unsigned level, int by,
		struct err *err)
{
	uint32_t before = level ? node_count(refs, place, level) : 0;
	uint32_t total = total_of(refs, place->number, place->record);
	int r;

	if (by > 0 && (total == UINT32_MAX || before == UINT32_MAX))
		return err_say(err, EOVERFLOW, "a chunk is referenced more than %u times",
			       UINT32_MAX);
	r = set_total(refs, place, by > 0 ? total + 1 : total - 1, err);
	if (r < 0 || !level)
		return r;
	if (store_refs_table_set(&refs->table, store_refs_key(place->number, place->record, level),
				 by > 0 ? before + 1 : before - 1) < 0)
		return err_set(err, ENOMEM, "count references");
	return by > 0 ? before == 0 : before == 1;
}

/* ---- Trees -------------------------------------------------------------------------------------------------- */

struct walk {
	struct store_refs *refs;
	struct store_domain *domain;
	struct volume_tree tree;
	struct volume_progress *progress;
	int by;
};

static int children_read(struct store_refs *refs, const struct store_place *place, size_t count,
			 struct chunk_id *children, struct err *err)
{
	struct chunk_encoded chunk;
	int r;

	if (place->pack->entries[place->record].raw_len != count * CHUNK_ID_LEN)
		return err_say(err, EBADMSG,
			       "pack %s, record %u: a tree node of another size was expected",
			       place->pack->name_text, place->record);
	refs->bytes_read += pack_record_len(&place->pack->entries[place->record]);
	r = pack_read(place->pack, place->record, refs->record, &chunk, err);
	if (r == 0)
		r = chunk_decode(&chunk, children->bytes, err);
	return r == CHUNK_CORRUPT ? -EBADMSG : r;
}

static bool counted(const struct store_refs *refs, const struct store_place *place, unsigned level)
{
	return total_of(refs, place->number, place->record) &&
	       (!level || node_count(refs, place, level));
}

/* Where is the chunk counted? It may lie in two packs, and lookups need not always give the same. STORE_REFS_DOUBT: nowhere. */
static int find_counted(struct walk *walk, const struct chunk_id *id, unsigned level,
			struct store_place *out, struct err *err)
{
	struct store_place all[STORE_INDEX_CANDIDATES];
	int n, r = store_table_find(walk->domain, id, false, out, err);

	if (r < 0 || (r == 0 && counted(walk->refs, out, level)))
		return r;
	pack_unref(out->pack);
	out->pack = NULL;
	n = store_table_find_all(walk->domain, id, all, err);
	for (int i = 0; i < n; i++) {
		if (!out->pack && counted(walk->refs, &all[i], level))
			*out = all[i];
		else
			pack_unref(all[i].pack);
	}
	return n < 0 ? n : out->pack ? 0 : STORE_REFS_DOUBT;
}

static int search(struct walk *walk, const struct chunk_id *id, unsigned level,
		  struct store_place *out, struct err *err)
{
	int r;

	if (walk->by < 0)
		return find_counted(walk, id, level, out, err);
	r = store_table_find(walk->domain, id, true, out, err);
	if (r == STORE_ABSENT) {
		char text[CHUNK_ID_TEXT_LEN];

		hex_encode(id->bytes, CHUNK_ID_LEN, text);
		return err_say(err, ENOENT,
			       "chunk %s is missing; repair the store or forget this snapshot, "
			       "nothing was deleted",
			       text);
	}
	return r;
}

static bool remembered(const struct walk *walk, const uint8_t *tag, unsigned level,
		       struct store_place *out)
{
	const struct store_refs_cached *ways = walk->refs->cache[le_get32(tag) % STORE_REFS_CACHE];

	for (size_t i = 0; i < STORE_REFS_WAYS; i++) {
		if (ways[i].generation != walk->refs->generation ||
		    memcmp(ways[i].tag, tag, STORE_INDEX_TAG_LEN) != 0)
			continue;
		*out = (struct store_place){ NULL, ways[i].pack, ways[i].record };
		return walk->by > 0 || counted(walk->refs, out, level);
	}
	return false;
}

/* out->pack: NULL when the place was remembered. */
static int place_find(struct walk *walk, const struct chunk_id *id, unsigned level,
		      struct store_place *out, struct err *err)
{
	struct store_refs_cached *ways;
	uint8_t tag[STORE_INDEX_TAG_LEN];
	int r;

	store_table_tag(walk->domain, id, tag);
	if (remembered(walk, tag, level, out))
		return 0;
	*out = (struct store_place){ 0 };
	r = search(walk, id, level, out, err);
	if (r)
		return r;
	ways = walk->refs->cache[le_get32(tag) % STORE_REFS_CACHE];
	memmove(&ways[1], &ways[0], (STORE_REFS_WAYS - 1) * sizeof(*ways));
	memcpy(ways[0].tag, tag, sizeof(tag));
	ways[0].pack = out->number;
	ways[0].record = out->record;
	ways[0].generation = walk->refs->generation;
	return 0;
}

static int node_walk(struct walk *walk, unsigned level, uint64_t index, const struct chunk_id *id,
		     struct err *err)
{
	struct chunk_id children[VOLUME_FANOUT];
	struct store_place place = { 0 };
	size_t count = 0;
	int r;

	if (chunk_id_is_zero(id))
		return 0;
	r = place_find(walk, id, level, &place, err);
	if (r)
		return r;
	r = bump(walk->refs, &place, level, walk->by, err);
	if (r == 1) {
		count = volume_tree_children(&walk->tree, level, index);
		r = place_open(walk->refs, &place, err);
		if (r == 0)
			r = children_read(walk->refs, &place, count, children, err);
		if (walk->progress)
			atomic_fetch_add(&walk->progress->done_bytes, count * CHUNK_ID_LEN);
	}
	pack_unref(place.pack);
	if (r == 0 && level && walk->progress && atomic_load(&walk->progress->cancel))
		r = err_say(err, ECANCELED, "cancelled");
	for (size_t i = 0; r == 0 && i < count; i++)
		r = node_walk(walk, level - 1, index * VOLUME_FANOUT + i, &children[i], err);
	return r;
}

static int snapshot_walk(struct store_refs *refs, const struct store_snapshot *row, int by,
			 struct volume_progress *progress, struct err *err)
{
	struct walk walk = { .refs = refs, .progress = progress, .by = by };
	struct manifest m;
	int r;

	r = store_catalogue_read(refs->store, row, &m, err);
	if (r < 0)
		return r;
	refs->walked++;
	walk.domain = store_domain_get(refs->store, m.domain, err);
	if (!walk.domain)
		r = -ENOMEM;
	for (size_t i = 0; r == 0 && i < m.volume_count; i++) {
		volume_tree_init(&walk.tree, m.volumes[i].size, m.volumes[i].grid);
		if (!walk.tree.count[0])
			continue;
		r = node_walk(&walk, walk.tree.height, 0, &m.volumes[i].root, err);
		if (r < 0)
			err_wrap(err, r, "snapshot %s, volume %s", m.id, m.volumes[i].name);
	}
	manifest_deinit(&m);
	return r;
}

/* ---- Snapshots ---------------------------------------------------------------------------------------------- */

static int by_id(const void *a, const void *b)
{
	return memcmp(a, b, MANIFEST_ID_LEN);
}

static int row_by_id(const void *a, const void *b)
{
	return memcmp(((const struct store_snapshot *)a)->id,
		      ((const struct store_snapshot *)b)->id, MANIFEST_ID_LEN);
}

static const struct store_refs_done *done_find(const struct store_refs *refs, const char *id)
{
	return refs->done_count
		       ? bsearch(id, refs->done, refs->done_count, sizeof(*refs->done), by_id)
		       : NULL;
}

int store_refs_add(struct store_refs *refs, struct volume_progress *progress, struct err *err)
{
	CLEANUP_FREE struct store_snapshot *rows = NULL;
	struct store_refs_done *done;
	size_t n, added = 0;
	int r = store_catalogue_rows(refs->store, &rows, &n, err);

	if (r < 0)
		return r;
	refs->generation++;
	done = realloc(refs->done, (refs->done_count + n + 1) * sizeof(*done));
	if (!done)
		return err_set(err, ENOMEM, "count references");
	refs->done = done;
	for (size_t i = 0; r == 0 && i < n; i++) {
		struct store_refs_done *next = &done[refs->done_count + added];

		if (done_find(refs, rows[i].id))
			continue;
		memcpy(next->id, rows[i].id, MANIFEST_ID_LEN);
		next->created_wall_ms = rows[i].created_wall_ms;
		added++;
		r = snapshot_walk(refs, &rows[i], 1, progress, err);
	}
	refs->done_count += added;
	refs->changed |= added > 0;
	if (refs->done_count)
		qsort(done, refs->done_count, sizeof(*done), by_id);
	return r;
}

/* The row of a snapshot that is not listed any more, but whose manifest is still there. */
static bool forgotten_row(struct store *store, const struct store_refs_done *done,
			  struct store_snapshot *out)
{
	bool found = false;

	pthread_mutex_lock(&store->lock);
	for (size_t low = 0, high = store->snapshot_count; low < high && !found;) {
		size_t mid = (low + high) / 2;
		int order = memcmp(store->snapshots[mid].id, done->id, MANIFEST_ID_LEN);

		if (order == 0) {
			*out = store->snapshots[mid];
			found = out->pack != UINT32_MAX &&
				out->created_wall_ms == done->created_wall_ms;
			break;
		}
		if (order < 0)
			low = mid + 1;
		else
			high = mid;
	}
	pthread_mutex_unlock(&store->lock);
	return found;
}

int store_refs_drop(struct store_refs *refs, struct volume_progress *progress, struct err *err)
{
	CLEANUP_FREE struct store_snapshot *rows = NULL;
	size_t n, kept = 0;
	int r = store_catalogue_rows(refs->store, &rows, &n, err);

	if (r < 0)
		return r;
	if (n)
		qsort(rows, n, sizeof(*rows), row_by_id);
	for (size_t i = 0; r == 0 && i < refs->done_count; i++) {
		struct store_snapshot row = { 0 };
		struct err why = { 0 };

		memcpy(row.id, refs->done[i].id, MANIFEST_ID_LEN);
		if (n && bsearch(&row, rows, n, sizeof(*rows), row_by_id)) {
			refs->done[kept++] = refs->done[i];
			continue;
		}
		if (!forgotten_row(refs->store, &refs->done[i], &row))
			return STORE_REFS_DOUBT;
		r = snapshot_walk(refs, &row, -1, progress, &why);
		/* Whatever is wrong with a snapshot that nobody wants any more: counting anew does not need it. */
		if (r == -ENOENT || r == -EBADMSG || r == -EINVAL)
			return STORE_REFS_DOUBT;
		if (r < 0 && err)
			*err = why;
	}
	refs->changed |= kept != refs->done_count;
	refs->done_count = kept;
	return r;
}

/* ---- Moving and summing up ---------------------------------------------------------------------------------- */

/* The counts of one record go to @to. */
static int record_move(struct store_refs *refs, struct store_place *from, struct store_place *to,
		       struct err *err)
{
	uint32_t here = total_of(refs, from->number, from->record);
	uint32_t there = total_of(refs, to->number, to->record);
	int r;

	if (here > UINT32_MAX - there)
		return STORE_REFS_DOUBT;
	for (unsigned level = 1; level < STORE_REFS_LEVEL_MANY; level++) {
		uint32_t nodes = node_count(refs, from, level);

		if (!nodes)
			continue;
		/* Its children would be counted for one node instead of two. */
		if (node_count(refs, to, level))
			return STORE_REFS_DOUBT;
		if (store_refs_table_set(&refs->table,
					 store_refs_key(to->number, to->record, level),
					 nodes) < 0 ||
		    store_refs_table_set(&refs->table,
					 store_refs_key(from->number, from->record, level), 0) < 0)
			return err_set(err, ENOMEM, "count references");
	}
	r = set_total(refs, to, here + there, err);
	return r < 0 ? r : set_total(refs, from, 0, err);
}

int store_refs_move(struct store_refs *refs, uint32_t number, struct err *err)
{
	CLEANUP(pack_unref) struct pack *pack = NULL;
	struct store_domain *domain;
	int r = store_table_pack(refs->store, number, &pack, err);

	if (r < 0)
		return r;
	refs->generation++;
	domain = store_domain_get(refs->store, pack->domain, err);
	if (!domain)
		return -ENOMEM;
	for (uint32_t i = 0; r == 0 && i < pack->count; i++) {
		struct store_place from = { pack, number, i }, to = { 0 };

		if (!store_refs_has(refs, number, i))
			continue;
		r = store_table_find(domain, &pack->entries[i].id, false, &to, err);
		if (r == 0)
			r = record_move(refs, &from, &to, err);
		pack_unref(to.pack);
	}
	return r == STORE_ABSENT ? STORE_REFS_DOUBT : r;
}

int store_refs_summary(struct store_refs *refs, uint32_t number, struct store_refs_summary *out,
		       struct err *err)
{
	const struct store_refs_pack *p;
	struct store_pack row;
	int r = store_refs_grow(refs, number, err);

	if (r < 0)
		return r;
	if (!refs->packs[number].records) {
		CLEANUP(pack_unref) struct pack *pack = NULL;

		r = store_table_pack(refs->store, number, &pack, err);
		if (r == 0)
			r = look_at_pack(refs, number, pack, err);
		if (r < 0)
			return r;
	}
	pthread_mutex_lock(&refs->store->lock);
	row = refs->store->packs[number];
	pthread_mutex_unlock(&refs->store->lock);
	p = &refs->packs[number];
	*out = (struct store_refs_summary){
		.chunks = p->records - p->others,
		.live_chunks = p->live,
		.bytes = row.size - PACK_HEADER_LEN - pack_footer_len(p->records) -
			 PACK_CRYPT_TAG_LEN - PACK_TRAILER_LEN,
		.live_bytes = p->live_bytes,
	};
	return 0;
}

uint64_t store_refs_bytes_read(const struct store_refs *refs)
{
	return refs->bytes_read;
}

uint64_t store_refs_snapshots_walked(const struct store_refs *refs)
{
	return refs->walked;
}
