/* index/refs: what was counted, from one GC to the next. Source: snapshot/FORMAT.md, "Index". */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/io.h"
#include "common/le.h"
#include "snapshot/crc32c.h"
#include "snapshot/store_refs_parts.h"

enum {
	HEADER_LEN = 32,
	HEADER_PACKS = 8,
	HEADER_SNAPSHOTS = 12,
	HEADER_TABLE = 16,
	HEADER_COUNTS = 24,
	SNAPSHOT_LEN = 40,
	PACK_LEN = 40,
	SLOT_LEN = 16,
	NOWHERE = -1, /* a pack that is not in the list */
};
#define FILE_MAX ((uint64_t)16 << 30)

static const char magic[8] = "GODWREF1";

static char *refs_path(const struct store *store)
{
	return io_printf("%s/refs", store->index_path);
}

/* ---- Writing ------------------------------------------------------------------------------------------------ */

static bool listed(const struct store_refs *refs, size_t i)
{
	return refs->packs[i].records && refs->store->packs[i].state != STORE_PACK_GONE;
}

/* How long will the file be? *places: for each pack number its place in the list; heap. */
static size_t measure(const struct store_refs *refs, int32_t **places, uint32_t *packs,
		      uint64_t *counts)
{
	*places = malloc((refs->pack_count + 1) * sizeof(**places));
	*packs = 0;
	*counts = 0;
	for (size_t i = 0; *places && i < refs->pack_count; i++) {
		if (!listed(refs, i)) {
			(*places)[i] = NOWHERE;
			continue;
		}
		(*places)[i] = (int32_t)(*packs)++;
		*counts += refs->packs[i].live ? refs->packs[i].records : 0;
	}
	return HEADER_LEN + refs->done_count * SNAPSHOT_LEN + (size_t)*packs * PACK_LEN +
	       refs->table.used * SLOT_LEN + (size_t)*counts + 4;
}

static uint8_t *packs_write(const struct store_refs *refs, uint8_t *p)
{
	for (size_t i = 0; i < refs->pack_count; i++) {
		const struct store_refs_pack *pack = &refs->packs[i];

		if (!listed(refs, i))
			continue;
		memcpy(p, refs->store->packs[i].name.bytes, PACK_NAME_LEN);
		le_put32(p + 16, pack->records);
		le_put32(p + 20, pack->others);
		le_put32(p + 24, pack->live);
		le_put64(p + 32, pack->live_bytes);
		p += PACK_LEN;
	}
	return p;
}

/* The list of packs is that of measure(): rows only come, and none is taken from the table while a GC runs. Under store->lock. */
static uint8_t *encode(const struct store_refs *refs, size_t *len)
{
	CLEANUP_FREE int32_t *places = NULL;
	uint64_t counts;
	uint32_t packs;
	uint8_t *bytes, *p;

	*len = measure(refs, &places, &packs, &counts);
	bytes = places ? calloc(1, *len) : NULL;
	if (!bytes)
		return NULL;
	memcpy(bytes, magic, 8);
	le_put32(bytes + HEADER_PACKS, packs);
	le_put32(bytes + HEADER_SNAPSHOTS, (uint32_t)refs->done_count);
	le_put64(bytes + HEADER_TABLE, refs->table.used);
	le_put64(bytes + HEADER_COUNTS, counts);
	p = bytes + HEADER_LEN;
	for (size_t i = 0; i < refs->done_count; i++, p += SNAPSHOT_LEN) {
		memcpy(p, refs->done[i].id, MANIFEST_ID_LEN);
		le_put64(p + 32, refs->done[i].created_wall_ms);
	}
	p = packs_write(refs, p);
	for (size_t i = 0; i < refs->table.slot_count; i++) {
		const struct store_refs_slot *slot = &refs->table.slots[i];

		if (slot->key == UINT64_MAX)
			continue;
		le_put64(p,
			 (uint64_t)(uint32_t)places[slot->key >> 32] << 32 | (uint32_t)slot->key);
		le_put32(p + 8, slot->count);
		p += SLOT_LEN;
	}
	for (size_t i = 0; i < refs->pack_count; i++) {
		if (!listed(refs, i) || !refs->packs[i].live)
			continue;
		memcpy(p, refs->packs[i].counts, refs->packs[i].records);
		p += refs->packs[i].records;
	}
	le_put32(p, crc32c(0, bytes, (size_t)(p - bytes)));
	return bytes;
}

int store_refs_save(struct store_refs *refs, struct err *err)
{
	CLEANUP_FREE char *path = refs_path(refs->store);
	CLEANUP_FREE uint8_t *bytes = NULL;
	size_t len = 0;
	int r;

	if (!refs->changed)
		return 0;
	pthread_mutex_lock(&refs->store->lock);
	bytes = encode(refs, &len);
	pthread_mutex_unlock(&refs->store->lock);
	if (!path || !bytes)
		return err_set(err, ENOMEM, "write the reference counts");
	r = io_replace_file(path, bytes, len, 0600, err);
	refs->changed = r < 0;
	return r;
}

/* ---- Reading ------------------------------------------------------------------------------------------------ */

struct parts {
	uint32_t packs, snapshots;
	uint64_t slots, counts;
	const uint8_t *snapshot, *pack, *slot, *count;
};

static bool take_apart(const uint8_t *bytes, size_t len, struct parts *parts)
{
	uint64_t need;

	if (len < HEADER_LEN + 4 || memcmp(bytes, magic, 8) != 0 ||
	    le_get32(bytes + len - 4) != crc32c(0, bytes, len - 4))
		return false;
	parts->packs = le_get32(bytes + HEADER_PACKS);
	parts->snapshots = le_get32(bytes + HEADER_SNAPSHOTS);
	parts->slots = le_get64(bytes + HEADER_TABLE);
	parts->counts = le_get64(bytes + HEADER_COUNTS);
	if (parts->slots > len / SLOT_LEN || parts->counts > len)
		return false;
	need = HEADER_LEN + (uint64_t)parts->snapshots * SNAPSHOT_LEN +
	       (uint64_t)parts->packs * PACK_LEN + parts->slots * SLOT_LEN + parts->counts + 4;
	parts->snapshot = bytes + HEADER_LEN;
	parts->pack = parts->snapshot + (size_t)parts->snapshots * SNAPSHOT_LEN;
	parts->slot = parts->pack + (size_t)parts->packs * PACK_LEN;
	parts->count = parts->slot + (size_t)parts->slots * SLOT_LEN;
	return need == len;
}

/* Packs of the table that can be used, by name. */
struct known {
	struct pack_name name;
	uint32_t number, records;
};

static int by_name(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct pack_name));
}

static struct known *known_packs(struct store *store, size_t *count)
{
	struct known *known;
	size_t n = 0;

	pthread_mutex_lock(&store->lock);
	known = calloc(store->pack_count + 1, sizeof(*known));
	for (uint32_t i = 0; known && i < store->pack_count; i++)
		if (store->packs[i].state == STORE_PACK_LIVE)
			known[n++] =
				(struct known){ store->packs[i].name, i, store->packs[i].records };
	pthread_mutex_unlock(&store->lock);
	if (known && n)
		qsort(known, n, sizeof(*known), by_name);
	*count = n;
	return known;
}

/* One pack's counts. *left: bytes of counts that were not used yet. */
static int pack_take(struct store_refs *refs, const uint8_t *p, const struct known *known,
		     const uint8_t **counts, uint64_t *left, struct err *err)
{
	struct store_refs_pack pack = { .records = le_get32(p + 16),
					.others = le_get32(p + 20),
					.live = le_get32(p + 24),
					.live_bytes = le_get64(p + 32) };
	uint32_t live = 0;
	int r;

	if (!known)
		return pack.live ? STORE_REFS_DOUBT : 0;
	if (pack.records != known->records || pack.others > pack.records ||
	    (pack.live && pack.records > *left))
		return STORE_REFS_DOUBT;
	r = store_refs_grow(refs, known->number, err);
	if (r < 0)
		return r;
	if (pack.live) {
		pack.counts = malloc(pack.records);
		if (!pack.counts)
			return err_set(err, ENOMEM, "read the reference counts");
		memcpy(pack.counts, *counts, pack.records);
		for (uint32_t i = 0; i < pack.records; i++)
			live += pack.counts[i] != 0;
		*counts += pack.records;
		*left -= pack.records;
	}
	refs->packs[known->number] = pack;
	return live == pack.live ? 0 : STORE_REFS_DOUBT;
}

static int packs_take(struct store_refs *refs, const struct parts *parts, int64_t *numbers,
		      struct err *err)
{
	size_t n = 0;
	CLEANUP_FREE struct known *known = known_packs(refs->store, &n);
	const uint8_t *counts = parts->count;
	uint64_t left = parts->counts;
	int r = known ? 0 : err_set(err, ENOMEM, "read the reference counts");

	for (uint32_t i = 0; r == 0 && i < parts->packs; i++) {
		const uint8_t *p = parts->pack + (size_t)i * PACK_LEN;
		const struct known *found =
			n ? bsearch(p, known, n, sizeof(*known), by_name) : NULL;

		numbers[i] = found ? (int64_t)found->number : NOWHERE;
		r = pack_take(refs, p, found, &counts, &left, err);
	}
	return r == 0 && left ? STORE_REFS_DOUBT : r;
}

static int table_take(struct store_refs *refs, const struct parts *parts, const int64_t *numbers,
		      struct err *err)
{
	for (uint64_t i = 0; i < parts->slots; i++) {
		const uint8_t *p = parts->slot + (size_t)i * SLOT_LEN;
		uint64_t key = le_get64(p);
		uint32_t place = (uint32_t)(key >> 32), low = (uint32_t)key,
			 count = le_get32(p + 8);

		if (place >= parts->packs || numbers[place] < 0 || !count ||
		    !store_refs_has(refs, (uint32_t)numbers[place], low >> STORE_REFS_LEVEL_BITS))
			return STORE_REFS_DOUBT;
		if (store_refs_table_set(&refs->table, (uint64_t)numbers[place] << 32 | low,
					 count) < 0)
			return err_set(err, ENOMEM, "read the reference counts");
	}
	return refs->table.used == parts->slots ? 0 : STORE_REFS_DOUBT;
}

static int done_take(struct store_refs *refs, const struct parts *parts, struct err *err)
{
	refs->done = calloc((size_t)parts->snapshots + 1, sizeof(*refs->done));
	if (!refs->done)
		return err_set(err, ENOMEM, "read the reference counts");
	for (uint32_t i = 0; i < parts->snapshots; i++) {
		const uint8_t *p = parts->snapshot + (size_t)i * SNAPSHOT_LEN;

		memcpy(refs->done[i].id, p, MANIFEST_ID_LEN);
		refs->done[i].id[MANIFEST_ID_LEN - 1] = '\0';
		refs->done[i].created_wall_ms = le_get64(p + 32);
		if (!manifest_id_valid(refs->done[i].id) ||
		    (i && strcmp(refs->done[i - 1].id, refs->done[i].id) >= 0))
			return STORE_REFS_DOUBT;
	}
	refs->done_count = parts->snapshots;
	return 0;
}

int store_refs_load(struct store_refs *refs, struct err *err)
{
	CLEANUP_FREE char *path = refs_path(refs->store);
	CLEANUP_FREE int64_t *numbers = NULL;
	CLEANUP_FREE uint8_t *bytes = NULL;
	struct err why = { 0 };
	struct parts parts;
	size_t len;
	int r;

	if (!path)
		return err_set(err, ENOMEM, "read the reference counts");
	if (io_read_file(path, FILE_MAX, &bytes, &len, &why) < 0 || !take_apart(bytes, len, &parts))
		return STORE_REFS_DOUBT;
	numbers = calloc((size_t)parts.packs + 1, sizeof(*numbers));
	if (!numbers)
		return err_set(err, ENOMEM, "read the reference counts");
	r = done_take(refs, &parts, err);
	if (r == 0)
		r = packs_take(refs, &parts, numbers, err);
	return r ? r : table_take(refs, &parts, numbers, err);
}
