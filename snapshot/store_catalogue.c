/* Which snapshots there are: the manifests in the packs, less what notes say is forgotten. */
#include "snapshot/store_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- Rows -------------------------------------------------------------------------------------------------- */

/* Where @id is or belongs in the sorted list; under store->lock. */
static size_t position(const struct store *store, const char *id)
{
	size_t low = 0, high = store->snapshot_count;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (strcmp(store->snapshots[mid].id, id) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* The row of @id, made if there is none; under store->lock. NULL: out of memory. A note may come before its manifest. */
static struct store_snapshot *row_get(struct store *store, const char *id)
{
	size_t at = position(store, id);
	struct store_snapshot *row;

	if (at < store->snapshot_count && strcmp(store->snapshots[at].id, id) == 0)
		return &store->snapshots[at];
	if (store->snapshot_count == store->snapshot_capacity) {
		size_t n = store->snapshot_capacity ? 2 * store->snapshot_capacity : 64;

		row = realloc(store->snapshots, n * sizeof(*row));
		if (!row)
			return NULL;
		store->snapshots = row;
		store->snapshot_capacity = n;
	}
	row = &store->snapshots[at];
	memmove(row + 1, row, (store->snapshot_count - at) * sizeof(*row));
	store->snapshot_count++;
	*row = (struct store_snapshot){ .pack = UINT32_MAX };
	memcpy(row->id, id, sizeof(row->id));
	return row;
}

static int manifest_take(struct store *store, const struct manifest *m, uint32_t pack,
			 uint32_t record, struct err *err)
{
	struct store_snapshot *row;

	pthread_mutex_lock(&store->lock);
	row = row_get(store, m->id);
	if (row) {
		row->pack = pack;
		row->record = record;
		row->created_wall_ms = m->created_wall_ms;
	}
	pthread_mutex_unlock(&store->lock);
	return row ? 0 : err_set(err, ENOMEM, "list snapshot %s", m->id);
}

/* ---- Notes ------------------------------------------------------------------------------------------------- */

static int note_take(struct store *store, const char *text, size_t len, struct err *err)
{
	CLEANUP(json_decref) json_t *value = NULL;
	const char *id = NULL, *op = NULL;
	uint64_t at = 0;
	const struct json_field fields[] = {
		{ "snapshot", JSON_KIND_STRING, false, &id },
		{ "op", JSON_KIND_STRING, false, &op },
		{ "at_ms", JSON_KIND_UINT, false, &at },
	};
	struct store_snapshot *row;
	int r;

	r = json_parse(&value, text, len, "note", err);
	if (r < 0)
		return r;
	r = json_fields(value, fields, ARRAY_LEN(fields), "note", err);
	if (r < 0)
		return r;
	if (!manifest_id_valid(id))
		return err_say(err, EINVAL, "note: '%s' is not a snapshot id", id);
	pthread_mutex_lock(&store->lock);
	row = row_get(store, id);
	if (row && strcmp(op, "forget") == 0) {
		row->forgotten = true;
	} else if (row && at >= row->noted_at_ms) {
		/* Notes come in any order: the newest of the others holds. */
		row->noted_at_ms = at;
		row->pinned = strcmp(op, "pin") == 0;
	}
	pthread_mutex_unlock(&store->lock);
	return row ? 0 : err_set(err, ENOMEM, "list snapshot %s", id);
}

/* ---- Records ----------------------------------------------------------------------------------------------- */

/* The plaintext of record @i; heap. Return 0, -EBADMSG or -errno. */
static int record_text(const struct pack *pack, uint32_t i, uint8_t **out, struct err *err)
{
	CLEANUP_FREE uint8_t *buf = malloc(CHUNK_MAX + PACK_RECORD_EXTRA);
	CLEANUP_FREE uint8_t *text = malloc(pack->entries[i].raw_len);
	struct chunk_encoded chunk;
	int r;

	if (!buf || !text)
		return err_set(err, ENOMEM, "read a manifest");
	r = pack_read(pack, i, buf, &chunk, err);
	if (r < 0)
		return r;
	r = chunk_decode(&chunk, text, err);
	if (r == CHUNK_CORRUPT)
		return err_wrap(err, -EBADMSG, "pack %s, offset %u", pack->name_text,
				pack->entries[i].offset);
	if (r < 0)
		return r;
	*out = TAKE(text);
	return 0;
}

static int record_take(struct store *store, struct pack *pack, uint32_t number, uint32_t i,
		       struct err *err)
{
	CLEANUP_FREE uint8_t *text = NULL;
	struct manifest m;
	int r;

	r = record_text(pack, i, &text, err);
	if (r < 0)
		return r;
	if (pack->entries[i].type == PACK_NOTE)
		return note_take(store, (char *)text, pack->entries[i].raw_len, err);
	r = manifest_parse(&m, (char *)text, pack->entries[i].raw_len, err);
	if (r == 0)
		r = manifest_take(store, &m, number, i, err);
	manifest_deinit(&m);
	return r;
}

int store_catalogue_take(struct store *store, struct pack *pack, uint32_t number, struct err *err)
{
	for (uint32_t i = 0; i < pack->count; i++) {
		int r;

		if (pack->entries[i].type == PACK_CHUNK)
			continue;
		r = record_take(store, pack, number, i, err);
		/* One damaged record must not hide all other snapshots: verify names it. */
		if (r < 0 && r != -EBADMSG && r != -EINVAL)
			return err_wrap(err, r, "pack %s, record %u", pack->name_text, i);
	}
	return 0;
}

int store_catalogue_read(struct store *store, const struct store_snapshot *row,
			 struct manifest *out, struct err *err)
{
	CLEANUP(pack_unref) struct pack *pack = NULL;
	CLEANUP_FREE uint8_t *text = NULL;
	int r;

	r = store_table_pack(store, row->pack, &pack, err);
	if (r == 0)
		r = record_text(pack, row->record, &text, err);
	if (r < 0)
		return err_wrap(err, r, "snapshot %s", row->id);
	r = manifest_parse(out, (char *)text, pack->entries[row->record].raw_len, err);
	if (r < 0)
		manifest_deinit(out);
	return r;
}

/* ---- What others ask --------------------------------------------------------------------------------------- */

static int by_age(const void *a, const void *b)
{
	const struct store_snapshot *x = a, *y = b;

	if (x->created_wall_ms != y->created_wall_ms)
		return x->created_wall_ms < y->created_wall_ms ? -1 : 1;
	return strcmp(x->id, y->id);
}

static bool listed(const struct store_snapshot *row)
{
	return row->pack != UINT32_MAX && !row->forgotten;
}

int store_catalogue_rows(struct store *store, struct store_snapshot **out, size_t *count,
			 struct err *err)
{
	struct store_snapshot *rows;
	size_t n = 0;

	pthread_mutex_lock(&store->lock);
	rows = calloc(store->snapshot_count + 1, sizeof(*rows));
	for (size_t i = 0; rows && i < store->snapshot_count; i++)
		if (listed(&store->snapshots[i]))
			rows[n++] = store->snapshots[i];
	pthread_mutex_unlock(&store->lock);
	if (!rows)
		return err_set(err, ENOMEM, "list snapshots");
	qsort(rows, n, sizeof(*rows), by_age);
	*out = rows;
	*count = n;
	return 0;
}

int store_list(struct store *store, store_listed *fn, void *arg, struct err *err)
{
	CLEANUP_FREE struct store_snapshot *rows = NULL;
	size_t n;
	int r = store_catalogue_rows(store, &rows, &n, err);

	for (size_t i = 0; r == 0 && i < n; i++) {
		struct manifest m;

		r = store_catalogue_read(store, &rows[i], &m, err);
		if (r == 0) {
			r = fn(arg, &m, err);
			manifest_deinit(&m);
		} else if (r == -ENOENT) {
			r = 0; /* forgotten and collected meanwhile by the process that writes */
		}
	}
	return r;
}

int store_manifest(struct store *store, const char *id, struct manifest *out, struct err *err)
{
	struct store_snapshot row;
	bool found = false;
	size_t at;

	pthread_mutex_lock(&store->lock);
	at = position(store, id);
	if (at < store->snapshot_count && strcmp(store->snapshots[at].id, id) == 0) {
		row = store->snapshots[at];
		found = listed(&row);
	}
	pthread_mutex_unlock(&store->lock);
	return found ? store_catalogue_read(store, &row, out, err) : STORE_ABSENT;
}

int store_stat(struct store *store, struct store_stat *out, struct err *err)
{
	memset(out, 0, sizeof(*out));
	pthread_mutex_lock(&store->lock);
	for (size_t i = 0; i < store->snapshot_count; i++)
		out->snapshots += listed(&store->snapshots[i]);
	pthread_mutex_unlock(&store->lock);

	for (uint32_t i = 0; i < store->pack_count; i++) {
		CLEANUP(pack_unref) struct pack *pack = NULL;
		enum store_pack_state state;
		int r;

		pthread_mutex_lock(&store->lock);
		state = store->packs[i].state;
		pthread_mutex_unlock(&store->lock);
		if (state == STORE_PACK_GONE || state == STORE_PACK_DAMAGED)
			continue;
		r = store_table_pack(store, i, &pack, err);
		if (r == -ENOENT)
			continue;
		if (r < 0)
			return r;
		out->packs++;
		out->pack_bytes += pack->size;
		for (uint32_t k = 0; k < pack->count; k++) {
			out->chunks += pack->entries[k].type == PACK_CHUNK;
			out->plain_bytes += pack->entries[k].raw_len;
		}
	}
	out->index_bytes = store_index_bytes(store->index);
	return 0;
}
