/* How an upload ends: everything the manifest needs is there, all of it is durable, and then the manifest's own pack gets its name.
 * Notes and repacked records end the same way.
 */
#include "snapshot/store_session_parts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/hex.h"

/* ---- Committing -------------------------------------------------------------------------------------------- */

static int session_get(void *ctx, const struct chunk_id *ids, size_t n, chunk_arrived *fn,
		       void *arg, struct err *err)
{
	for (size_t i = 0; i < n; i++) {
		struct store_place place = { 0 };
		char text[CHUNK_ID_TEXT_LEN];
		int r = store_session_find(ctx, &ids[i], true, &place, err);

		hex_encode(ids[i].bytes, CHUNK_ID_LEN, text);
		if (r == STORE_ABSENT)
			return err_say(err, ENOENT, "chunk %s is missing", text);
		if (r == 0)
			r = store_source_read(&place, 1, fn, arg, err);
		pack_unref(place.pack);
		if (r < 0)
			return r;
	}
	return 0;
}

static int check_chunk(void *arg, const struct chunk_id *id, bool is_node, struct err *err)
{
	struct store_place place = { 0 };
	char text[CHUNK_ID_TEXT_LEN];
	int r;

	if (is_node)
		return 0; /* the walk reads it, which says the same */
	r = store_session_find(arg, id, true, &place, err);
	pack_unref(place.pack);
	if (r != STORE_ABSENT)
		return r;
	hex_encode(id->bytes, CHUNK_ID_LEN, text);
	return err_say(err, ENOENT, "chunk %s is missing", text);
}

/* The manifest of the parent, if its chunks may be taken for granted: it is there and of the same domain. */
static int parent_load(struct store_session *session, const struct manifest *manifest,
		       struct manifest *parent, bool *has_parent, struct err *err)
{
	int r;

	*has_parent = false;
	if (!manifest->parent[0])
		return 0;
	r = store_manifest(session->store, manifest->parent, parent, err);
	if (r < 0)
		return r;
	if (r == STORE_ABSENT)
		return 0;
	*has_parent = strcmp(parent->domain, session->domain->name) == 0;
	if (!*has_parent)
		manifest_deinit(parent);
	return 0;
}

static int check_volumes(struct store_session *session, const struct manifest *manifest,
			 struct err *err)
{
	const struct chunk_source source = { .ctx = session, .get = session_get };
	struct manifest parent;
	bool has_parent;
	int r;

	r = parent_load(session, manifest, &parent, &has_parent, err);
	if (r < 0)
		return r;
	for (size_t i = 0; r == 0 && i < manifest->volume_count; i++) {
		const struct volume *v = &manifest->volumes[i];
		const struct volume *base = has_parent ? manifest_volume(&parent, v->name) : NULL;

		r = volume_walk(v, base, source, check_chunk, session, err);
	}
	if (has_parent)
		manifest_deinit(&parent);
	return r;
}

/* A record that is no chunk, as bytes in @buf (CHUNK_MAX). */
static int text_encode(const char *text, uint8_t *buf, struct chunk_encoded *out, struct err *err)
{
	size_t len = strlen(text);

	if (len > CHUNK_MAX)
		return err_say(err, EFBIG, "a manifest of %zu bytes; %d are allowed", len,
			       CHUNK_MAX);
	chunk_id_of(text, len, &out->id);
	return chunk_encode(CHUNK_CODEC_ZSTD, (const uint8_t *)text, len, buf, out, err);
}

/* Append a record to the open pack and close that; under session->lock. */
static int append_last(struct store_session *session, enum pack_record_type type, const char *text,
		       struct store_session_slot **last, struct err *err)
{
	CLEANUP_FREE uint8_t *buf = malloc(CHUNK_MAX);
	struct chunk_encoded chunk;
	uint32_t record;
	int r;

	if (!buf)
		return err_set(err, ENOMEM, "write a manifest");
	r = text_encode(text, buf, &chunk, err);
	if (r < 0)
		return r;
	r = store_session_slot_for(session, chunk.len, last, err);
	if (r < 0)
		return r;
	record = pack_writer_reserve((*last)->writer, type, &chunk);
	r = pack_writer_write((*last)->writer, record, &chunk, 1, err);
	if (r < 0)
		store_session_fail(session, r, err);
	return r;
}

static int wait_until_alone(struct store_session *session, const struct store_session_slot *last,
			    struct err *err)
{
	while (!session->failure.code && (session->slots != last || (last && last->in_flight)))
		pthread_cond_wait(&session->changed, &session->lock);
	return session->failure.code ? store_session_failed(session, err) : 0;
}

/* Write @text as the last record, after everything else is durable. *number: the pack that holds it. */
static int finish(struct store_session *session, enum pack_record_type type, const char *text,
		  struct err *err)
{
	CLEANUP(pack_unref) struct pack *pack = NULL;
	struct store *store = session->store;
	struct store_session_slot *last = NULL;
	uint32_t number = 0;
	int r;

	pthread_mutex_lock(&session->lock);
	r = append_last(session, type, text, &last, err);
	if (r == 0)
		r = wait_until_alone(session, last, err);
	if (r == 0) {
		r = store_sync_folder(store, err);
		if (r == 0)
			r = store_session_slot_seal(session, last, &number, err);
		if (r < 0) {
			store_session_fail(session, r, err);
		} else {
			pack = pack_ref(pack_writer_pack(last->writer));
			store_session_slot_remove(session, last);
		}
	}
	pthread_mutex_unlock(&session->lock);
	if (r < 0)
		return r;
	/* The pack has its name: durable or not, the next index made from the packs has what it says, so this one must, too. */
	r = store_sync_folder(store, err);
	if (r < 0) {
		store_catalogue_take(store, pack, number, NULL);
		return r;
	}
	return store_catalogue_take(store, pack, number, err);
}

static int commit(struct store_session *session, struct manifest *manifest, struct err *err)
{
	CLEANUP(json_decref) json_t *value = NULL;
	CLEANUP_FREE char *text = NULL;
	struct manifest check;
	int r;

	r = check_volumes(session, manifest, err);
	if (r < 0)
		return r;
	if (!manifest->id[0])
		manifest_new_id(manifest->created_wall_ms, manifest->id);
	value = manifest_to_json(manifest);
	text = value ? json_text(value) : NULL;
	if (!text)
		return err_set(err, ENOMEM, "write the manifest");
	/* What could not be read back must not be written. */
	r = manifest_parse(&check, text, strlen(text), err);
	manifest_deinit(&check);
	return r < 0 ? r : finish(session, PACK_MANIFEST, text, err);
}

int store_session_commit(struct store_session *session, struct manifest *manifest, struct err *err)
{
	int r;

	if (strcmp(manifest->desktop, session->desktop) != 0)
		return err_say(err, EINVAL,
			       "a session of desktop %s cannot commit a snapshot of %s",
			       session->desktop, manifest->desktop);
	if (!manifest->created_wall_ms)
		manifest->created_wall_ms = clock_wall_ms();
	snprintf(manifest->domain, sizeof(manifest->domain), "%.*s", MANIFEST_DESKTOP_MAX,
		 session->domain->name);
	pthread_rwlock_rdlock(&session->store->commit_lock);
	r = commit(session, manifest, err);
	pthread_rwlock_unlock(&session->store->commit_lock);
	return r < 0 ? err_wrap(err, r, "commit a snapshot of %s", session->desktop) : 0;
}

/* The last note closes the pack; those before it go in as the chunks of an upload do. */
int store_session_write_notes(struct store *store, const char *const *texts, size_t n,
			      struct err *err)
{
	CLEANUP(store_session_close) struct store_session *session = NULL;
	CLEANUP_FREE uint8_t *buf = malloc(CHUNK_MAX);
	struct chunk_encoded chunk;
	size_t done;
	int r;

	if (!buf)
		return err_set(err, ENOMEM, "write notes");
	r = store_session_open(&session, store, "notes", err);
	for (size_t i = 0; r == 0 && i + 1 < n; i++) {
		r = text_encode(texts[i], buf, &chunk, err);
		if (r < 0)
			break;
		pthread_mutex_lock(&session->lock);
		r = store_session_put_some(session, PACK_NOTE, &chunk, 1, &done, err);
		pthread_mutex_unlock(&session->lock);
	}
	return r < 0 ? r : finish(session, PACK_NOTE, texts[n - 1], err);
}

/* ---- Repacking ---------------------------------------------------------------------------------------------- */

int store_session_copy(struct store_session *session, enum pack_record_type type,
		       const struct chunk_encoded *chunk, struct err *err)
{
	size_t done;
	int r = 0;

	pthread_mutex_lock(&session->lock);
	session->copies = true;
	if (!store_session_pending(session, &chunk->id, NULL))
		r = store_session_put_some(session, type, chunk, 1, &done, err);
	pthread_mutex_unlock(&session->lock);
	return r;
}

int store_session_finish_copies(struct store_session *session, struct err *err)
{
	struct store_session_slot *last;
	uint32_t number;
	int r;

	pthread_mutex_lock(&session->lock);
	last = store_session_open_slot(session);
	r = wait_until_alone(session, last, err);
	if (r == 0 && last) {
		r = store_session_slot_seal(session, last, &number, err);
		if (r < 0)
			store_session_fail(session, r, err);
		else
			store_session_slot_remove(session, last);
	}
	pthread_mutex_unlock(&session->lock);
	return r < 0 ? r : store_sync_folder(session->store, err);
}
