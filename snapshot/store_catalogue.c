/* Which snapshots there are: the manifests in the packs, less what notes say is forgotten. */
#include "snapshot/store_dead.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "snapshot/store_session.h"

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

/* Inside a store's no-delete window a note that forgets has no effect yet: a mirror with a window must outlive whoever commands
 * the store that it mirrors.
 */
static bool listed(const struct store *store, const struct store_snapshot *row)
{
	uint64_t now;

	if (row->pack == UINT32_MAX)
		return false;
	if (!row->forgotten || !store->no_delete_ms)
		return !row->forgotten;
	now = clock_wall_cautious_ms();
	return row->created_wall_ms > now || now - row->created_wall_ms <= store->no_delete_ms;
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

struct note {
	char id[MANIFEST_ID_LEN];
	bool forget, pin;
	uint64_t at_ms;
};

static int note_parse(struct note *note, const char *text, size_t len, struct err *err)
{
	CLEANUP(json_decref) json_t *value = NULL;
	const char *id = NULL, *op = NULL;
	const struct json_field fields[] = {
		{ "snapshot", JSON_KIND_STRING, false, &id },
		{ "op", JSON_KIND_STRING, false, &op },
		{ "at_ms", JSON_KIND_UINT, false, &note->at_ms },
	};
	int r;

	r = json_parse(&value, text, len, "note", err);
	if (r < 0)
		return r;
	r = json_fields(value, fields, ARRAY_LEN(fields), "note", err);
	if (r < 0)
		return r;
	if (!manifest_id_valid(id))
		return err_say(err, EINVAL, "note: '%s' is not a snapshot id", id);
	memcpy(note->id, id, sizeof(note->id));
	note->forget = strcmp(op, "forget") == 0;
	note->pin = strcmp(op, "pin") == 0;
	/* Not to be taken for its opposite: a note of a later version has no effect here. */
	if (!note->forget && !note->pin && strcmp(op, "unpin") != 0)
		return err_say(err, EINVAL, "note: '%s' is no operation", op);
	return 0;
}

static int note_take(struct store *store, const char *text, size_t len, struct err *err)
{
	struct store_snapshot *row;
	struct note note;
	int r = note_parse(&note, text, len, err);

	if (r < 0)
		return r;
	pthread_mutex_lock(&store->lock);
	row = row_get(store, note.id);
	if (row && note.forget) {
		row->forgotten = true;
	} else if (row && note.at_ms >= row->noted_at_ms) {
		/* Notes come in any order: the newest of the others holds. */
		row->noted_at_ms = note.at_ms;
		row->pinned = note.pin;
	}
	pthread_mutex_unlock(&store->lock);
	return row ? 0 : err_set(err, ENOMEM, "list snapshot %s", note.id);
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
	bool unread = false;

	for (uint32_t i = 0; i < pack->count; i++) {
		int r;

		if (pack->entries[i].type == PACK_CHUNK)
			continue;
		r = record_take(store, pack, number, i, err);
		/* One damaged record must not hide all other snapshots: verify names it. */
		if (r < 0 && r != -EBADMSG && r != -EINVAL)
			return err_wrap(err, r, "pack %s, record %u", pack->name_text, i);
		unread |= r == -EBADMSG;
	}
	pthread_mutex_lock(&store->lock);
	store->packs[number].unread = unread;
	pthread_mutex_unlock(&store->lock);
	return 0;
}

int store_catalogue_read(struct store *store, const struct store_snapshot *row,
			 struct manifest *out, struct err *err)
{
	static const struct pack_name none;
	CLEANUP(pack_unref) struct pack *pack = NULL;
	CLEANUP_FREE uint8_t *text = NULL;
	bool lost;
	int r;

	pthread_mutex_lock(&store->lock);
	/* A name of zeros: repair put the pack away. (Of others that GC deleted, the reason is told by whoever opens them.) */
	lost = store->packs[row->pack].state == STORE_PACK_GONE &&
	       memcmp(&store->packs[row->pack].name, &none, sizeof(none)) == 0;
	pthread_mutex_unlock(&store->lock);
	if (lost)
		return err_say(
			err, ENOENT,
			"snapshot %s is lost: its manifest was in a damaged pack; repair the "
			"store from one that has it, or forget it",
			row->id);
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

bool store_catalogue_note_needed(struct store *store, const struct store_dead *dead,
				 const struct pack *pack, uint32_t i)
{
	CLEANUP_FREE uint8_t *text = NULL;
	struct err err = { 0 };
	struct note note;
	bool needed = true;
	size_t at;

	/* What cannot be understood is not thrown away. */
	if (record_text(pack, i, &text, &err) < 0 ||
	    note_parse(&note, (char *)text, pack->entries[i].raw_len, &err) < 0)
		return true;
	if (store_dead_has(dead, note.id))
		return true;
	pthread_mutex_lock(&store->lock);
	at = position(store, note.id);
	if (at == store->snapshot_count || strcmp(store->snapshots[at].id, note.id) != 0)
		needed = false;
	else
		needed = store->snapshots[at].pack != UINT32_MAX &&
			 store->packs[store->snapshots[at].pack].state != STORE_PACK_GONE;
	pthread_mutex_unlock(&store->lock);
	return needed;
}

/* Under store->lock. note: NULL for a manifest. */
static int known(const struct store *store, const char *id, const struct note *note,
		 uint32_t *number)
{
	size_t at = position(store, id);
	const struct store_snapshot *row = &store->snapshots[at];

	if (at == store->snapshot_count || strcmp(row->id, id) != 0 || row->pack == UINT32_MAX)
		return note ? STORE_CATALOGUE_POINTLESS : STORE_CATALOGUE_NEWS;
	*number = row->pack;
	if (note && !(note->forget ? row->forgotten : row->noted_at_ms >= note->at_ms))
		return STORE_CATALOGUE_NEWS;
	return STORE_CATALOGUE_KNOWN;
}

int store_catalogue_knows(struct store *store, const struct pack *pack, uint32_t i,
			  uint32_t *number, struct err *err)
{
	bool is_note = pack->entries[i].type == PACK_NOTE;
	CLEANUP_FREE uint8_t *text = NULL;
	struct note note = { 0 };
	int r = record_text(pack, i, &text, err);

	if (r == 0 && is_note) {
		r = note_parse(&note, (char *)text, pack->entries[i].raw_len, err);
	} else if (r == 0) {
		struct manifest m;

		r = manifest_parse(&m, (char *)text, pack->entries[i].raw_len, err);
		memcpy(note.id, m.id, sizeof(note.id));
		manifest_deinit(&m);
	}
	if (r < 0)
		return r;
	pthread_mutex_lock(&store->lock);
	r = known(store, note.id, is_note ? &note : NULL, number);
	pthread_mutex_unlock(&store->lock);
	return r;
}

void store_catalogue_drop_gone(struct store *store)
{
	size_t kept = 0;

	pthread_mutex_lock(&store->lock);
	for (size_t i = 0; i < store->snapshot_count; i++) {
		const struct store_snapshot *row = &store->snapshots[i];

		if (row->forgotten && row->pack != UINT32_MAX &&
		    store->packs[row->pack].state == STORE_PACK_GONE)
			store->state_stale = true;
		else
			store->snapshots[kept++] = *row;
	}
	store->snapshot_count = kept;
	pthread_mutex_unlock(&store->lock);
}

/* ---- Forgetting and pinning --------------------------------------------------------------------------------- */

static char *note_text(const char *id, const char *op, uint64_t at_ms)
{
	json_t *value =
		json_pack("{ss ss sI}", "snapshot", id, "op", op, "at_ms", (json_int_t)at_ms);
	char *text = value ? json_text(value) : NULL;

	json_decref(value);
	return text;
}

/* The row of a snapshot that is listed; under store->lock. NULL: none. */
static struct store_snapshot *listed_row(struct store *store, const char *id)
{
	size_t at = position(store, id);

	return at < store->snapshot_count && strcmp(store->snapshots[at].id, id) == 0 &&
			       listed(store, &store->snapshots[at])
		       ? &store->snapshots[at]
		       : NULL;
}

static int may_forget(struct store *store, const char *id, struct err *err)
{
	uint64_t now = clock_wall_cautious_ms();
	struct store_snapshot row = { 0 };
	bool found = false;

	pthread_mutex_lock(&store->lock);
	if (listed_row(store, id)) {
		row = *listed_row(store, id);
		found = true;
	}
	pthread_mutex_unlock(&store->lock);
	if (!found)
		return err_say(err, ENOENT, "there is no snapshot '%s'", id);
	if (row.pinned)
		return err_say(err, EPERM, "snapshot %s is pinned", id);
	if (store->no_delete_ms &&
	    (row.created_wall_ms > now || now - row.created_wall_ms <= store->no_delete_ms))
		return err_say(
			err, EPERM,
			"snapshot %s is younger than the store's no-delete window of %llu hours",
			id, (unsigned long long)(store->no_delete_ms / 3600000));
	return 0;
}

int store_forget(struct store *store, const char *const *ids, size_t n, struct err *err)
{
	CLEANUP_FREE char **texts = calloc(n + 1, sizeof(*texts));
	int r = texts ? store_check_writable(store, err) : err_set(err, ENOMEM, "forget snapshots");

	for (size_t i = 0; r == 0 && i < n; i++)
		r = may_forget(store, ids[i], err);
	for (size_t i = 0; r == 0 && i < n; i++) {
		texts[i] = note_text(ids[i], "forget", clock_wall_ms());
		if (!texts[i])
			r = err_set(err, ENOMEM, "forget snapshots");
	}
	if (r == 0 && n)
		r = store_session_write_notes(store, (const char *const *)texts, n, err);
	for (size_t i = 0; texts && i < n; i++)
		free(texts[i]);
	return r;
}

int store_pin(struct store *store, const char *id, bool pinned, struct err *err)
{
	CLEANUP_FREE char *text = NULL;
	const struct store_snapshot *row;
	const char *texts[1];
	uint64_t at_ms = clock_wall_ms();
	bool found;

	pthread_mutex_lock(&store->lock);
	row = listed_row(store, id);
	found = row != NULL;
	/* The newest note holds: also when the clock was ahead when the one before was written. */
	if (found && at_ms <= row->noted_at_ms)
		at_ms = row->noted_at_ms + 1;
	pthread_mutex_unlock(&store->lock);
	if (!found)
		return err_say(err, ENOENT, "there is no snapshot '%s'", id);
	text = note_text(id, pinned ? "pin" : "unpin", at_ms);
	if (!text)
		return err_set(err, ENOMEM, "pin snapshot %s", id);
	texts[0] = text;
	return store_session_write_notes(store, texts, 1, err);
}

bool store_is_pinned(struct store *store, const char *id)
{
	bool pinned;

	pthread_mutex_lock(&store->lock);
	pinned = listed_row(store, id) && listed_row(store, id)->pinned;
	pthread_mutex_unlock(&store->lock);
	return pinned;
}

/* ---- What others ask --------------------------------------------------------------------------------------- */

static int by_age(const void *a, const void *b)
{
	const struct store_snapshot *x = a, *y = b;

	if (x->created_wall_ms != y->created_wall_ms)
		return x->created_wall_ms < y->created_wall_ms ? -1 : 1;
	return strcmp(x->id, y->id);
}

int store_catalogue_rows(struct store *store, struct store_snapshot **out, size_t *count,
			 struct err *err)
{
	struct store_snapshot *rows;
	size_t n = 0;

	pthread_mutex_lock(&store->lock);
	rows = calloc(store->snapshot_count + 1, sizeof(*rows));
	for (size_t i = 0; rows && i < store->snapshot_count; i++)
		if (listed(store, &store->snapshots[i]))
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

		r = store_manifest(store, rows[i].id, &m, err);
		if (r == 0) {
			r = fn(arg, &m, err);
			manifest_deinit(&m);
		} else if (r == STORE_ABSENT || r == -ENOENT || r == -EBADMSG) {
			/* Forgotten meanwhile; or lost or damaged, which verify names: the others are listed all the same. */
			atomic_fetch_add(&store->unlisted, r != STORE_ABSENT);
			r = 0;
		}
	}
	return r;
}

int store_manifest(struct store *store, const char *id, struct manifest *out, struct err *err)
{
	uint32_t before = UINT32_MAX;

	for (;;) {
		const struct store_snapshot *found;
		struct store_snapshot row;
		int r;

		pthread_mutex_lock(&store->lock);
		found = listed_row(store, id);
		if (found)
			row = *found;
		pthread_mutex_unlock(&store->lock);
		if (!found)
			return STORE_ABSENT;
		r = store_catalogue_read(store, &row, out, err);
		/* GC may have moved it between the two; or that of another process did, some time ago. */
		if (r != -ENOENT || row.pack == before)
			return r;
		before = row.pack;
		r = store_folder_refresh(store, err);
		if (r < 0)
			return r;
	}
}

size_t store_packs_unread(struct store *store)
{
	size_t n = 0;

	pthread_mutex_lock(&store->lock);
	for (size_t i = 0; i < store->pack_count; i++)
		n += store->packs[i].state == STORE_PACK_DAMAGED ||
		     (store->packs[i].state != STORE_PACK_GONE && store->packs[i].unread);
	pthread_mutex_unlock(&store->lock);
	return n ? n : atomic_load(&store->unlisted);
}

int store_stat(struct store *store, struct store_stat *out, struct err *err)
{
	memset(out, 0, sizeof(*out));
	pthread_mutex_lock(&store->lock);
	for (size_t i = 0; i < store->snapshot_count; i++)
		out->snapshots += listed(store, &store->snapshots[i]);
	pthread_mutex_unlock(&store->lock);

	for (uint32_t i = 0; i < store->pack_count; i++) {
		CLEANUP(pack_unref) struct pack *pack = NULL;
		enum store_pack_state state;
		int r;

		pthread_mutex_lock(&store->lock);
		state = store->packs[i].state;
		pthread_mutex_unlock(&store->lock);
		out->packs_damaged += state == STORE_PACK_DAMAGED;
		if (state == STORE_PACK_GONE || state == STORE_PACK_DAMAGED)
			continue;
		r = store_table_pack(store, i, &pack, err);
		if (r == -EBADMSG)
			out->packs_damaged++;
		if (r == -ENOENT || r == -EBADMSG)
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
