#include "snapshot/store_state.h"

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/le.h"
#include "common/io.h"
#include "snapshot/crc32c.h"

enum {
	HEADER_LEN = 48,
	PACK_LEN = 48,
	SNAPSHOT_LEN = 56,
	RUN_LEN = 8,
	HEADER_KEY = 8,
	HEADER_PACKS = 16,
	HEADER_SNAPSHOTS = 20,
	HEADER_RUNS = 24,
	HEADER_DOMAINS = 28,
	FILE_MAX = 1 << 30,
	FLAG_FORGOTTEN = 1,
	FLAG_PINNED = 2,
};

static const char magic[8] = "GODWIDX2";

static char *state_path(const struct store *store)
{
	return io_printf("%s/state", store->index_path);
}

/* ---- Writing ------------------------------------------------------------------------------------------------ */

static uint32_t domain_number(const struct store *store, const struct store_domain *wanted)
{
	uint32_t i = 0;

	for (const struct store_domain *d = store->domains; d; d = d->next, i++)
		if (d == wanted)
			return i;
	return 0;
}

static void pack_write(const struct store *store, const struct store_pack *pack, uint8_t *p)
{
	/* What GC had in mind ends with the process: the next GC finds out again. */
	memcpy(p, pack->name.bytes, PACK_NAME_LEN);
	p[16] = (uint8_t)(pack->state == STORE_PACK_CONDEMNED ? STORE_PACK_LIVE : pack->state);
	p[17] = pack->unread;
	le_put32(p + 28, pack->manifests);
	le_put32(p + 20, pack->records);
	le_put32(p + 24, domain_number(store, pack->domain));
	le_put64(p + 32, pack->size);
	le_put64(p + 40, pack->verified_wall_ms);
}

static void snapshot_write(const struct store_snapshot *s, uint8_t *p)
{
	memcpy(p, s->id, MANIFEST_ID_LEN);
	p[25] = (uint8_t)((s->forgotten ? FLAG_FORGOTTEN : 0) | (s->pinned ? FLAG_PINNED : 0));
	le_put32(p + 28, s->pack);
	le_put32(p + 32, s->record);
	le_put64(p + 40, s->created_wall_ms);
	le_put64(p + 48, s->noted_at_ms);
}

/* The first @packs rows and what belongs to them, as bytes; under store->lock. */
static uint8_t *encode(struct store *store, uint32_t packs, const uint64_t *runs, size_t run_count,
		       size_t *len)
{
	uint32_t domains = 0, snapshots = 0;
	uint8_t *bytes, *p;

	for (struct store_domain *d = store->domains; d; d = d->next)
		domains++;
	bytes = calloc(1, HEADER_LEN + (size_t)packs * PACK_LEN +
				  store->snapshot_count * SNAPSHOT_LEN + run_count * RUN_LEN +
				  (size_t)domains * PACK_DOMAIN_LEN + 4);
	if (!bytes)
		return NULL;
	p = bytes + HEADER_LEN;
	for (const struct store_domain *d = store->domains; d; d = d->next, p += PACK_DOMAIN_LEN)
		memcpy(p, d->name, PACK_DOMAIN_LEN);
	for (size_t i = 0; i < run_count; i++, p += RUN_LEN)
		le_put64(p, runs[i]);
	for (uint32_t i = 0; i < packs; i++, p += PACK_LEN)
		pack_write(store, &store->packs[i], p);
	for (size_t i = 0; i < store->snapshot_count; i++) {
		if (store->snapshots[i].pack != UINT32_MAX && store->snapshots[i].pack >= packs)
			continue;
		snapshot_write(&store->snapshots[i], p);
		p += SNAPSHOT_LEN;
		snapshots++;
	}
	memcpy(bytes, magic, 8);
	memcpy(bytes + HEADER_KEY, store->index_key->id, STORE_KEY_ID_LEN);
	le_put32(bytes + HEADER_PACKS, packs);
	le_put32(bytes + HEADER_SNAPSHOTS, snapshots);
	le_put32(bytes + HEADER_RUNS, (uint32_t)run_count);
	le_put32(bytes + HEADER_DOMAINS, domains);
	*len = (size_t)(p - bytes) + 4;
	le_put32(p, crc32c(0, bytes, (size_t)(p - bytes)));
	return bytes;
}

static bool keep_pack(void *arg, uint32_t number)
{
	struct store *store = arg;
	bool keep;

	pthread_mutex_lock(&store->lock);
	keep = number < store->pack_count && store->packs[number].state != STORE_PACK_GONE;
	pthread_mutex_unlock(&store->lock);
	return keep;
}

/* All rows keep their numbers: only the entries are made again. */
static int reread(struct store *store, struct err *err)
{
	size_t n;

	pthread_mutex_lock(&store->lock);
	n = store->pack_count;
	pthread_mutex_unlock(&store->lock);
	store_index_clear(store->index);
	for (uint32_t i = 0; i < n; i++) {
		CLEANUP(pack_unref) struct pack *pack = NULL;
		enum store_pack_state state;
		int r;

		pthread_mutex_lock(&store->lock);
		state = store->packs[i].state;
		pthread_mutex_unlock(&store->lock);
		if (state != STORE_PACK_LIVE && state != STORE_PACK_CONDEMNED)
			continue;
		r = store_table_pack(store, i, &pack, err);
		if (r == -EBADMSG || r == -ENOENT)
			continue; /* verify will say so */
		if (r == 0)
			r = store_table_index(store, pack, i, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* A run that was to be merged is damaged: all entries from the footers, in a run of their own. Under flush_lock. */
static int make_again(struct store *store, uint32_t *packs, struct err *err)
{
	int r;

	pthread_mutex_lock(&store->add_lock);
	*packs = (uint32_t)store->pack_count;
	r = reread(store, err);
	if (r == 0)
		r = store_index_flush(store->index, err);
	pthread_mutex_unlock(&store->add_lock);
	return r == 0 ? store_sync_folder(store, err) : r;
}

int store_state_save(struct store *store, struct err *err)
{
	uint64_t runs[STORE_INDEX_RUNS_MAX];
	CLEANUP_FREE char *path = state_path(store);
	uint8_t *bytes = NULL;
	size_t len = 0, run_count;
	uint32_t packs;
	int r;

	if (!path)
		return err_set(err, ENOMEM, "write the index");
	pthread_mutex_lock(&store->flush_lock);
	/* Rows below this number have all their entries in the index: what comes later is found by its footer. */
	pthread_mutex_lock(&store->add_lock);
	packs = (uint32_t)store->pack_count;
	r = store_index_flush(store->index, err);
	store->state_stale = r < 0;
	pthread_mutex_unlock(&store->add_lock);
	/* A pack that the state names must not vanish in a power cut that the state survives. */
	if (r == 0)
		r = store_sync_folder(store, err);
	if (r == 0)
		r = store_index_merge(store->index, keep_pack, store, err);
	if (r == -EBADMSG)
		r = make_again(store, &packs, err);
	if (r == 0) {
		run_count = store_index_runs(store->index, runs);
		pthread_mutex_lock(&store->lock);
		bytes = encode(store, packs, runs, run_count, &len);
		pthread_mutex_unlock(&store->lock);
		r = bytes ? io_replace_file(path, bytes, len, 0600, err)
			  : err_set(err, ENOMEM, "write the index");
	}
	if (r == 0)
		store_index_tidy(store->index);
	pthread_mutex_unlock(&store->flush_lock);
	free(bytes);
	return r;
}

int store_state_maybe_flush(struct store *store, struct err *err)
{
	return store_index_table_count(store->index) < STORE_INDEX_TABLE_MAX
		       ? 0
		       : store_state_save(store, err);
}

/* ---- Reading ------------------------------------------------------------------------------------------------ */

struct parts {
	uint32_t packs, snapshots, runs, domains;
	const uint8_t *domain, *run, *pack, *snapshot;
};

/* Is the file whole, and of a key that we have? */
static bool take_apart(struct store *store, const uint8_t *bytes, size_t len, struct parts *parts)
{
	uint64_t need;

	if (len < HEADER_LEN + 4 || memcmp(bytes, magic, 8) != 0 ||
	    le_get32(bytes + len - 4) != crc32c(0, bytes, len - 4))
		return false;
	store->index_key = store_key_find(&store->keys, bytes + HEADER_KEY);
	parts->packs = le_get32(bytes + HEADER_PACKS);
	parts->snapshots = le_get32(bytes + HEADER_SNAPSHOTS);
	parts->runs = le_get32(bytes + HEADER_RUNS);
	parts->domains = le_get32(bytes + HEADER_DOMAINS);
	need = HEADER_LEN + (uint64_t)parts->packs * PACK_LEN +
	       (uint64_t)parts->snapshots * SNAPSHOT_LEN + (uint64_t)parts->runs * RUN_LEN +
	       (uint64_t)parts->domains * PACK_DOMAIN_LEN + 4;
	parts->domain = bytes + HEADER_LEN;
	parts->run = parts->domain + (size_t)parts->domains * PACK_DOMAIN_LEN;
	parts->pack = parts->run + (size_t)parts->runs * RUN_LEN;
	parts->snapshot = parts->pack + (size_t)parts->packs * PACK_LEN;
	return store->index_key && need == len && parts->runs <= STORE_INDEX_RUNS_MAX;
}

/* The name of domain @i, checked; NULL: nonsense. */
static const char *domain_name(const struct parts *parts, uint32_t i)
{
	const char *name = (const char *)parts->domain + (size_t)i * PACK_DOMAIN_LEN;

	return i < parts->domains && memchr(name, 0, PACK_DOMAIN_LEN) &&
			       manifest_desktop_valid(name)
		       ? name
		       : NULL;
}

static bool packs_take(struct store *store, const struct parts *parts, struct err *err)
{
	store->packs = calloc((size_t)parts->packs + 1, sizeof(*store->packs));
	if (!store->packs)
		return false;
	store->pack_capacity = (size_t)parts->packs + 1;
	for (uint32_t i = 0; i < parts->packs; i++) {
		const uint8_t *p = parts->pack + (size_t)i * PACK_LEN;
		struct store_pack *row = &store->packs[i];
		const char *domain = domain_name(parts, le_get32(p + 24));

		memcpy(row->name.bytes, p, PACK_NAME_LEN);
		row->state =
			p[16] <= STORE_PACK_GONE ? (enum store_pack_state)p[16] : STORE_PACK_GONE;
		row->unread = p[17];
		row->manifests = le_get32(p + 28);
		row->records = le_get32(p + 20);
		row->size = le_get64(p + 32);
		row->verified_wall_ms = le_get64(p + 40);
		if (row->state != STORE_PACK_LIVE)
			continue;
		row->domain = domain ? store_domain_get(store, domain, err) : NULL;
		if (!row->domain)
			return false;
	}
	store->pack_count = parts->packs;
	return true;
}

static bool snapshots_take(struct store *store, const struct parts *parts)
{
	store->snapshots = calloc((size_t)parts->snapshots + 1, sizeof(*store->snapshots));
	if (!store->snapshots)
		return false;
	store->snapshot_capacity = (size_t)parts->snapshots + 1;
	for (uint32_t i = 0; i < parts->snapshots; i++) {
		const uint8_t *p = parts->snapshot + (size_t)i * SNAPSHOT_LEN;
		struct store_snapshot *row = &store->snapshots[i];

		memcpy(row->id, p, MANIFEST_ID_LEN);
		row->id[MANIFEST_ID_LEN - 1] = '\0';
		row->forgotten = p[25] & FLAG_FORGOTTEN;
		row->pinned = p[25] & FLAG_PINNED;
		row->pack = le_get32(p + 28);
		row->record = le_get32(p + 32);
		row->created_wall_ms = le_get64(p + 40);
		row->noted_at_ms = le_get64(p + 48);
		if (!manifest_id_valid(row->id) ||
		    (row->pack != UINT32_MAX && row->pack >= parts->packs) ||
		    (i && strcmp(store->snapshots[i - 1].id, row->id) >= 0))
			return false;
	}
	store->snapshot_count = parts->snapshots;
	return true;
}

void store_state_drop(struct store *store)
{
	store_table_clear(store);
	free(store->snapshots);
	store->snapshots = NULL;
	store->snapshot_count = store->snapshot_capacity = 0;
	store_index_clear(store->index);
	store->index_key = store_key_newest(&store->keys);
	/* Tags are made with another key from now on. */
	while (store->domains) {
		struct store_domain *d = store->domains;

		store->domains = d->next;
		free(d);
	}
}

int store_state_load(struct store *store, struct err *err)
{
	CLEANUP_FREE char *path = state_path(store);
	CLEANUP_FREE uint8_t *bytes = NULL;
	struct err why = { 0 };
	struct parts parts;
	size_t len;
	bool ok;

	if (!path)
		return err_set(err, ENOMEM, "read the index");
	if (io_read_file(path, FILE_MAX, &bytes, &len, &why) < 0)
		return STORE_STATE_UNUSABLE;
	ok = take_apart(store, bytes, len, &parts) && packs_take(store, &parts, &why) &&
	     snapshots_take(store, &parts);
	for (uint32_t i = 0; ok && i < parts.runs; i++)
		ok = store_index_add_run(store->index, le_get64(parts.run + (size_t)i * RUN_LEN),
					 &why) == 0;
	if (ok)
		return 0;
	store_state_drop(store);
	return STORE_STATE_UNUSABLE;
}

/* ---- Rebuilding --------------------------------------------------------------------------------------------- */

int store_state_rebuild(struct store *store, struct err *err)
{
	int r;

	pthread_mutex_lock(&store->flush_lock);
	pthread_mutex_lock(&store->add_lock);
	r = reread(store, err);
	store->state_stale = true;
	pthread_mutex_unlock(&store->add_lock);
	pthread_mutex_unlock(&store->flush_lock);
	return r;
}
