#include "snapshot/store_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/io.h"
#include "snapshot/store_state.h"

void store_table_tag(const struct store_domain *domain, const struct chunk_id *id,
		     uint8_t tag[STORE_INDEX_TAG_LEN])
{
	siphash(domain->key, id->bytes, sizeof(id->bytes), tag);
}

char *store_table_path(const struct store *store, const struct pack_name *name)
{
	char text[PACK_NAME_TEXT_LEN], *path, *staged;

	pack_name_text(name, text);
	path = io_printf("%s/%s.pack", store->packs_path, text);
	if (!path || store->mode == STORE_WRITE || access(path, F_OK) == 0)
		return path;
	/* A reader of a mirror that is in between (store_staged.h). */
	staged = io_printf("%s/incoming/%s.pack", store->path, text);
	if (!staged || access(staged, F_OK) != 0) {
		free(staged);
		return path;
	}
	free(path);
	return staged;
}

/* A new row; under store->lock. NULL: out of memory. */
static struct store_pack *row_new(struct store *store)
{
	if (store->pack_count == store->pack_capacity) {
		size_t n = store->pack_capacity ? 2 * store->pack_capacity : 64;
		struct store_pack *packs = realloc(store->packs, n * sizeof(*packs));

		if (!packs)
			return NULL;
		store->packs = packs;
		store->pack_capacity = n;
	}
	store->packs[store->pack_count] = (struct store_pack){ .state = STORE_PACK_GONE };
	return &store->packs[store->pack_count++];
}

static int add_unreadable(struct store *store, const struct pack_name *name,
			  enum store_pack_state state, struct err *err)
{
	struct store_pack *row;

	pthread_mutex_lock(&store->lock);
	row = row_new(store);
	if (row)
		*row = (struct store_pack){ .name = *name, .state = state };
	pthread_mutex_unlock(&store->lock);
	return row ? 0 : err_set(err, ENOMEM, "list a pack");
}

int store_table_add_damaged(struct store *store, const struct pack_name *name, struct err *err)
{
	return add_unreadable(store, name, STORE_PACK_DAMAGED, err);
}

int store_table_add_gone(struct store *store, const struct pack_name *name, struct err *err)
{
	return add_unreadable(store, name, STORE_PACK_GONE, err);
}

void store_table_init(struct store *store)
{
	struct rlimit files;
	rlim_t part =
		getrlimit(RLIMIT_NOFILE, &files) == 0 ? files.rlim_cur / STORE_CACHE_FILES_PART : 0;

	store->cache_slots = part < 1                   ? 1
			     : part < STORE_CACHE_PACKS ? (size_t)part
							: STORE_CACHE_PACKS;
}

size_t store_table_packs_held(const struct store *store)
{
	size_t part = store->cache_slots / STORE_CACHE_FILES_PART;

	return part ? part : 1;
}

/* Empty @slot; under store->lock. */
static void cache_drop(struct store *store, size_t slot)
{
	if (!store->cache[slot].pack)
		return;
	store->packs[store->cache[slot].number].cached = 0;
	store->cache_entries -= store->cache[slot].pack->count;
	pack_unref(store->cache[slot].pack);
	store->cache[slot].pack = NULL;
}

/* An empty slot, made so by dropping those that were not used for longest until @entries more fit; under store->lock. */
static size_t cache_slot(struct store *store, uint64_t entries)
{
	for (;;) {
		const size_t none = store->cache_slots;
		size_t empty = none, oldest = none;

		for (size_t i = 0; i < store->cache_slots; i++)
			if (!store->cache[i].pack)
				empty = i;
			else if (oldest == none || store->cache[i].used < store->cache[oldest].used)
				oldest = i;
		if (oldest == none ||
		    (empty < none && store->cache_entries + entries <= STORE_CACHE_ENTRIES))
			return empty;
		cache_drop(store, oldest);
	}
}

/* Give descriptors back: drop the half of the cache that was not used for longest. Return false if it was empty. */
static bool cache_halve(struct store *store)
{
	size_t filled = 0;

	pthread_mutex_lock(&store->lock);
	for (size_t i = 0; i < store->cache_slots; i++)
		filled += store->cache[i].pack != NULL;
	for (size_t drop = (filled + 1) / 2; drop; drop--) {
		size_t oldest = store->cache_slots;

		for (size_t i = 0; i < store->cache_slots; i++)
			if (store->cache[i].pack &&
			    (oldest == store->cache_slots ||
			     store->cache[i].used < store->cache[oldest].used))
				oldest = i;
		cache_drop(store, oldest);
	}
	pthread_mutex_unlock(&store->lock);
	return filled > 0;
}

/* Put @pack into the cache; under store->lock. */
static void cache_put(struct store *store, uint32_t number, struct pack *pack)
{
	size_t slot = cache_slot(store, pack->count);

	store->cache[slot].number = number;
	store->cache[slot].used = ++store->cache_clock;
	store->cache[slot].pack = pack_ref(pack);
	store->cache_entries += pack->count;
	store->packs[number].cached = (uint32_t)slot + 1;
}

/* A reference to pack @number if it is in the cache; under store->lock. */
static struct pack *cache_get(struct store *store, uint32_t number)
{
	uint32_t at = store->packs[number].cached;

	if (!at)
		return NULL;
	store->cache[at - 1].used = ++store->cache_clock;
	return pack_ref(store->cache[at - 1].pack);
}

int store_table_index(struct store *store, struct pack *pack, uint32_t number, struct err *err)
{
	CLEANUP_FREE struct store_index_entry *entries = calloc(pack->count + 1, sizeof(*entries));
	struct store_domain *domain = store_domain_get(store, pack->domain, err);
	size_t n = 0;

	if (!domain)
		return -ENOMEM;
	if (!entries)
		return err_set(err, ENOMEM, "index pack %s", pack->name_text);
	for (uint32_t i = 0; i < pack->count; i++) {
		if (pack->entries[i].type != PACK_CHUNK)
			continue;
		store_table_tag(domain, &pack->entries[i].id, entries[n].tag);
		entries[n].pack = number;
		entries[n++].record = i;
	}
	return store_index_add(store->index, entries, n, err);
}

int store_table_add(struct store *store, struct pack *pack, uint64_t session, uint32_t *number,
		    struct err *err)
{
	struct store_domain *domain = store_domain_get(store, pack->domain, err);
	struct store_pack *row;
	uint32_t manifests = 0;
	int r;

	if (!domain)
		return -ENOMEM;
	for (uint32_t i = 0; i < pack->count; i++)
		manifests += pack->entries[i].type == PACK_MANIFEST;
	pthread_mutex_lock(&store->add_lock);
	pthread_mutex_lock(&store->lock);
	row = row_new(store);
	if (row) {
		*number = (uint32_t)(row - store->packs);
		*row = (struct store_pack){ .name = pack->name,
					    .state = STORE_PACK_LIVE,
					    .domain = domain,
					    .size = pack->size,
					    .records = pack->count,
					    .manifests = manifests,
					    .session = session };
		store->state_stale = true;
	}
	pthread_mutex_unlock(&store->lock);
	r = row ? store_table_index(store, pack, *number, err)
		: err_set(err, ENOMEM, "index pack %s", pack->name_text);
	pthread_mutex_unlock(&store->add_lock);
	return r;
}

int store_table_pack(struct store *store, uint32_t number, struct pack **out, struct err *err)
{
	CLEANUP_FREE char *path = NULL;
	struct pack *pack = NULL;
	struct pack_name name;
	int r;

	pthread_mutex_lock(&store->lock);
	assert(number < store->pack_count);
	name = store->packs[number].name;
	pack = cache_get(store, number);
	pthread_mutex_unlock(&store->lock);
	if (pack) {
		*out = pack;
		return 0;
	}

	path = store_table_path(store, &name);
	if (!path)
		return err_set(err, ENOMEM, "open a pack");
	do
		r = pack_open(&pack, path, &store->keys, store->id, err);
	while ((r == -EMFILE || r == -ENFILE) && cache_halve(store));
	if (r == -EACCES)
		return err_wrap(err, r, "key file %s", store->key_path);
	if (r < 0)
		return r;
	pthread_mutex_lock(&store->lock);
	if (!store->packs[number].cached)
		cache_put(store, number, pack);
	pthread_mutex_unlock(&store->lock);
	*out = pack;
	return 0;
}

/* May a chunk of @domain be taken from that pack? Under store->lock. */
static bool usable(const struct store_domain *domain, uint32_t number, bool condemned)
{
	const struct store *store = domain->store;

	return number < store->pack_count && store->packs[number].domain == domain &&
	       (store->packs[number].state == STORE_PACK_LIVE ||
		(condemned && store->packs[number].state == STORE_PACK_CONDEMNED));
}

static void rescue_pack(struct store *store, uint32_t number)
{
	pthread_mutex_lock(&store->lock);
	if (store->packs[number].state == STORE_PACK_CONDEMNED)
		store->packs[number].state = STORE_PACK_LIVE;
	pthread_mutex_unlock(&store->lock);
}

/* Why a candidate was no use: its pack may not be used (any more), or its file is not there. */
enum missed { MISSED_NOTHING, MISSED_STATE, MISSED_FILE };
enum { FIND_TRIES = 4 };

/* Is @id what candidate @c says? Return 0 with *out filled, STORE_ABSENT, or -errno. *missed: why not. */
static int look(struct store_domain *domain, const struct chunk_id *id,
		const struct store_index_entry *c, bool condemned, struct store_place *out,
		enum missed *missed, struct err *err)
{
	struct store *store = domain->store;
	struct pack *pack;
	bool may;
	int r;

	pthread_mutex_lock(&store->lock);
	may = usable(domain, c->pack, condemned);
	pthread_mutex_unlock(&store->lock);
	if (!may) {
		if (*missed == MISSED_NOTHING)
			*missed = MISSED_STATE;
		return STORE_ABSENT;
	}
	r = store_table_pack(store, c->pack, &pack, err);
	if (r == -ENOENT) { /* deleted meanwhile */
		*missed = MISSED_FILE;
		return STORE_ABSENT;
	}
	if (r < 0)
		return r;
	if (c->record < pack->count && pack->entries[c->record].type == PACK_CHUNK &&
	    chunk_id_equal(&pack->entries[c->record].id, id)) {
		*out = (struct store_place){ pack, c->pack, c->record };
		return 0;
	}
	pack_unref(pack);
	return STORE_ABSENT;
}

static int find(struct store_domain *domain, const struct chunk_id *id,
		const struct store_index_entry *candidates, size_t n, bool condemned,
		struct store_place *out, enum missed *missed, struct err *err)
{
	int r = STORE_ABSENT;

	for (size_t i = 0; i < n && r == STORE_ABSENT; i++)
		r = look(domain, id, &candidates[i], condemned, out, missed, err);
	return r;
}

/* ---- Where the last ones were ------------------------------------------------------------------------------- */

/* Chunks that were stored together are asked for together: try the packs of the last hits, whose footers are in memory. */
static bool find_hot(struct store_domain *domain, const struct chunk_id *id,
		     struct store_place *out)
{
	struct store *store = domain->store;
	bool found = false;

	pthread_mutex_lock(&store->lock);
	for (size_t i = 0; i < STORE_HOT_PACKS && !found; i++) {
		uint32_t number = store->hot[i], at;

		if (!usable(domain, number, false) || !store->packs[number].cached)
			continue;
		at = store->packs[number].cached - 1;
		found = pack_find(store->cache[at].pack, id, &out->record);
		if (found) {
			out->pack = cache_get(store, number);
			out->number = number;
		}
	}
	pthread_mutex_unlock(&store->lock);
	return found;
}

static void heat(struct store *store, uint32_t number)
{
	bool known = false;

	pthread_mutex_lock(&store->lock);
	for (size_t i = 0; i < STORE_HOT_PACKS; i++)
		known |= store->hot[i] == number;
	if (!known)
		store->hot[store->hot_next++ % STORE_HOT_PACKS] = number;
	pthread_mutex_unlock(&store->lock);
}

/* ---- Finding ------------------------------------------------------------------------------------------------ */

static int candidates_of(struct store_domain *domain, const struct chunk_id *id,
			 struct store_index_entry *candidates, size_t *n, struct err *err)
{
	struct store_index *index = domain->store->index;
	uint8_t tag[STORE_INDEX_TAG_LEN];
	int r;

	store_table_tag(domain, id, tag);
	r = store_index_find(index, tag, candidates, STORE_INDEX_CANDIDATES, n, err);
	if (r != -EBADMSG)
		return r;
	/* A damaged index costs time, never data. */
	r = store_state_rebuild(domain->store, err);
	return r < 0 ? r : store_index_find(index, tag, candidates, STORE_INDEX_CANDIDATES, n, err);
}

int store_table_find(struct store_domain *domain, const struct chunk_id *id, bool rescue,
		     struct store_place *out, struct err *err)
{
	struct store_index_entry candidates[STORE_INDEX_CANDIDATES];
	int r = STORE_ABSENT, refreshed = 0;
	size_t n;

	if (find_hot(domain, id, out))
		return 0;
	/* GC may have moved the chunk between the index's answer and the look at the pack: then ask once more. */
	for (int try = 0; try < FIND_TRIES && r == STORE_ABSENT; try++) {
		enum missed missed = MISSED_NOTHING;

		r = candidates_of(domain, id, candidates, &n, err);
		if (r < 0)
			return r;
		r = find(domain, id, candidates, n, false, out, &missed, err);
		if (r != STORE_ABSENT || missed == MISSED_NOTHING ||
		    (missed == MISSED_STATE && try))
			break;
		if (missed == MISSED_FILE)
			refreshed = store_folder_refresh(domain->store, err);
		if (refreshed < 0)
			return refreshed;
	}
	if (r == STORE_ABSENT && rescue) {
		enum missed missed = MISSED_NOTHING;

		r = find(domain, id, candidates, n, true, out, &missed, err);
		if (r == 0)
			rescue_pack(domain->store, out->number);
	}
	if (r == 0)
		heat(domain->store, out->number);
	return r;
}

int store_table_find_all(struct store_domain *domain, const struct chunk_id *id,
			 struct store_place out[STORE_INDEX_CANDIDATES], struct err *err)
{
	struct store_index_entry candidates[STORE_INDEX_CANDIDATES];
	size_t n;
	int count = 0, r = candidates_of(domain, id, candidates, &n, err);

	for (size_t i = 0; r >= 0 && i < n; i++) {
		enum missed missed = MISSED_NOTHING;

		r = look(domain, id, &candidates[i], false, &out[count], &missed, err);
		count += r == 0;
	}
	for (int i = 0; r < 0 && i < count; i++)
		pack_unref(out[i].pack);
	return r < 0 ? r : count;
}

void store_table_uncache(struct store *store, uint32_t number)
{
	pthread_mutex_lock(&store->lock);
	if (store->packs[number].cached)
		cache_drop(store, store->packs[number].cached - 1);
	pthread_mutex_unlock(&store->lock);
}

void store_table_clear(struct store *store)
{
	for (size_t i = 0; i < STORE_CACHE_PACKS; i++)
		pack_unref(store->cache[i].pack);
	memset(store->cache, 0, sizeof(store->cache));
	store->cache_entries = 0;
	free(store->packs);
	store->packs = NULL;
	memset(store->hot, 0, sizeof(store->hot));
	store->pack_count = store->pack_capacity = 0;
}
