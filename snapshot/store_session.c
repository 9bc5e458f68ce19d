/* An upload on its way into packs.
 *
 * Chunks go to the open pack; a full pack is closed and a background thread seals it, so that no worker waits for the disk. A
 * sealed pack is in the store's table at once: its chunks are durable after the next fsync of packs/, which every commit
 * does before its own manifest appears. The manifest is the last record of the last pack: one rename makes the
 * snapshot exist.
 */
#include "snapshot/store_session.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/hex.h"
#include "snapshot/pack_writer.h"
#include "snapshot/store_state.h"

enum { CLOSED_MAX = 2 }; /* packs that wait for being sealed: more would only fill memory with dirty pages */

/* A pack that is being written. */
struct slot {
	struct pack_writer *writer;
	unsigned in_flight; /* threads that write records into it */
	bool closed;        /* takes no more records */
	struct slot *next;
};

struct store_session {
	struct store *store;
	struct store_domain *domain;
	char desktop[MANIFEST_DESKTOP_MAX + 1];
	uint64_t sequence;
	struct store_session *next; /* store->lock */

	pthread_mutex_t lock;       /* everything below */
	pthread_cond_t changed;     /* any of it */
	struct slot *slots;         /* the open one, if any, is the last */
	struct err failure;         /* code != 0: no commit is possible any more */
	pthread_t sealer;
	bool has_sealer, ending;
	bool copies;                /* set before the first pack: records other than chunks are listed when sealed */
};

/* ---- Opening and closing ----------------------------------------------------------------------------------- */

uint64_t store_session_oldest(const struct store *store)
{
	uint64_t oldest = UINT64_MAX;

	for (const struct store_session *s = store->sessions; s; s = s->next)
		if (s->sequence < oldest)
			oldest = s->sequence;
	return oldest;
}

int store_session_open_in(struct store_session **out, struct store *store, const char *desktop,
			  const char *domain, struct err *err)
{
	struct store_session *session;
	int r;

	r = store_check_writable(store, err);
	if (r < 0)
		return r;
	if (!manifest_desktop_valid(desktop) || !manifest_desktop_valid(domain))
		return err_say(err, EINVAL,
			       "'%s' in domain '%s': names are 1 to %d of a-z 0-9 - and do not start with -",
			       desktop, domain, MANIFEST_DESKTOP_MAX);
	session = calloc(1, sizeof(*session));
	if (!session)
		return err_set(err, ENOMEM, "open a session for %s", desktop);
	session->store = store;
	session->domain = store_domain_get(store, domain, err);
	if (!session->domain) {
		free(session);
		return -ENOMEM;
	}
	snprintf(session->desktop, sizeof(session->desktop), "%s", desktop);
	pthread_mutex_init(&session->lock, NULL);
	pthread_cond_init(&session->changed, NULL);
	pthread_mutex_lock(&store->lock);
	session->sequence = ++store->sequence;
	session->next = store->sessions;
	store->sessions = session;
	pthread_mutex_unlock(&store->lock);
	*out = session;
	return 0;
}

int store_session_open(struct store_session **out, struct store *store, const char *desktop,
		       struct err *err)
{
	return store_session_open_in(out, store, desktop, "default", err);
}

static void slot_free(struct slot *slot)
{
	pack_writer_free(slot->writer);
	free(slot);
}

static void leave_store(struct store_session *session)
{
	struct store *store = session->store;
	struct store_session **p;

	pthread_mutex_lock(&store->lock);
	for (p = &store->sessions; *p != session;)
		p = &(*p)->next;
	*p = session->next;
	for (size_t i = 0; i < store->pack_count; i++)
		if (store->packs[i].session == session->sequence)
			store->packs[i].session = 0;
	pthread_mutex_unlock(&store->lock);
}

void store_session_close(struct store_session *session)
{
	struct slot *slot, *next;

	if (!session)
		return;
	if (session->has_sealer) {
		pthread_mutex_lock(&session->lock);
		session->ending = true;
		pthread_cond_broadcast(&session->changed);
		pthread_mutex_unlock(&session->lock);
		pthread_join(session->sealer, NULL);
	}
	leave_store(session);
	for (slot = session->slots; slot; slot = next) {
		next = slot->next;
		slot_free(slot);
	}
	pthread_cond_destroy(&session->changed);
	pthread_mutex_destroy(&session->lock);
	free(session);
}

/* ---- Sealing ----------------------------------------------------------------------------------------------- */

static void fail(struct store_session *session, int r, const struct err *err)
{
	if (!session->failure.code) {
		session->failure = *err;
		session->failure.code = -r;
	}
	pthread_cond_broadcast(&session->changed);
}

static int failed(const struct store_session *session, struct err *err)
{
	return err_say(err, session->failure.code, "%s", err_text(&session->failure));
}

/* Give a pack its name and list it. Nobody writes into it any more. */
static int slot_seal(struct store_session *session, struct slot *slot, uint32_t *number,
		     struct err *err)
{
	struct store *store = session->store;
	int r;

	r = pack_writer_seal(slot->writer, err);
	if (r < 0)
		return r;
	pthread_mutex_lock(&store->lock);
	store->folder_dirty = true;
	pthread_mutex_unlock(&store->lock);
	r = store_table_add(store, pack_writer_pack(slot->writer), session->sequence, number, err);
	if (r == 0 && session->copies)
		r = store_catalogue_take(store, pack_writer_pack(slot->writer), *number, err);
	return r < 0 ? r : store_state_maybe_flush(store, err);
}

static void slot_remove(struct store_session *session, struct slot *slot)
{
	struct slot **p;

	for (p = &session->slots; *p != slot;)
		p = &(*p)->next;
	*p = slot->next;
	slot_free(slot);
	pthread_cond_broadcast(&session->changed);
}

static struct slot *next_to_seal(struct store_session *session)
{
	for (struct slot *s = session->slots; s; s = s->next)
		if (s->closed && !s->in_flight)
			return s;
	return NULL;
}

static void *sealer_run(void *arg)
{
	struct store_session *session = arg;

	pthread_mutex_lock(&session->lock);
	for (;;) {
		struct err err = { 0 };
		struct slot *slot;
		uint32_t number;
		int r;

		while (!session->ending &&
		       (session->failure.code || !(slot = next_to_seal(session))))
			pthread_cond_wait(&session->changed, &session->lock);
		if (session->ending)
			break;
		slot->in_flight = 1; /* ours: next_to_seal must not find it again */
		pthread_mutex_unlock(&session->lock);
		r = slot_seal(session, slot, &number, &err);
		pthread_mutex_lock(&session->lock);
		slot->in_flight = 0;
		if (r < 0)
			fail(session, r, &err);
		else
			slot_remove(session, slot);
	}
	pthread_mutex_unlock(&session->lock);
	return NULL;
}

static int sealer_start(struct store_session *session, struct err *err)
{
	int r;

	if (session->has_sealer)
		return 0;
	r = pthread_create(&session->sealer, NULL, sealer_run, session);
	if (r)
		return err_set(err, r, "start a thread");
	session->has_sealer = true;
	return 0;
}

/* ---- Putting ----------------------------------------------------------------------------------------------- */

static struct slot *open_slot(struct store_session *session)
{
	for (struct slot *s = session->slots; s; s = s->next)
		if (!s->closed)
			return s;
	return NULL;
}

static int slot_new(struct store_session *session, struct slot **out, struct err *err)
{
	struct store *store = session->store;
	const struct pack_writer_options options = { .temp_folder = store->temp_path,
						     .pack_folder = store->packs_path,
						     .key = store_key_newest(&store->keys),
						     .store_id = store->id,
						     .domain = session->domain->name };
	struct slot *slot = calloc(1, sizeof(*slot)), **p;
	int r;

	if (!slot)
		return err_set(err, ENOMEM, "make a pack");
	r = pack_writer_new(&slot->writer, &options, err);
	if (r < 0) {
		free(slot);
		return r;
	}
	for (p = &session->slots; *p;)
		p = &(*p)->next;
	*p = slot;
	*out = slot;
	return 0;
}

static unsigned closed_count(const struct store_session *session)
{
	unsigned n = 0;

	for (const struct slot *s = session->slots; s; s = s->next)
		n += s->closed;
	return n;
}

/* The open pack, with room for @len bytes of payload; under session->lock, which may be released meanwhile. */
static int slot_for(struct store_session *session, size_t len, struct slot **out, struct err *err)
{
	for (;;) {
		struct slot *slot = open_slot(session);
		int r;

		if (session->failure.code)
			return failed(session, err);
		if (slot && pack_writer_has_room(slot->writer, len)) {
			*out = slot;
			return 0;
		}
		if (!slot)
			return slot_new(session, out, err);
		if (closed_count(session) < CLOSED_MAX) {
			slot->closed = true;
			pthread_cond_broadcast(&session->changed);
			r = sealer_start(session, err);
			if (r < 0)
				return r;
		} else {
			pthread_cond_wait(&session->changed, &session->lock);
		}
	}
}

/* Is the chunk in a pack of this session that is not in the table yet? Under session->lock. */
static bool pending_find(struct store_session *session, const struct chunk_id *id,
			 struct store_place *out)
{
	for (struct slot *s = session->slots; s; s = s->next) {
		uint32_t record;

		if (!pack_writer_find(s->writer, id, &record))
			continue;
		if (out)
			*out = (struct store_place){ pack_ref(pack_writer_pack(s->writer)), 0,
						     record };
		return true;
	}
	return false;
}

/* Reserve places for as many of @chunks as fit into one pack and write them; under session->lock, released meanwhile. */
static int put_some(struct store_session *session, enum pack_record_type type,
		    const struct chunk_encoded *chunks, size_t n, size_t *done, struct err *err)
{
	struct slot *slot;
	uint32_t first;
	size_t count = 1;
	int r;

	r = slot_for(session, chunks[0].len, &slot, err);
	if (r < 0)
		return r;
	first = pack_writer_reserve(slot->writer, type, &chunks[0]);
	while (count < n && pack_writer_has_room(slot->writer, chunks[count].len))
		pack_writer_reserve(slot->writer, type, &chunks[count++]);
	slot->in_flight++;
	pthread_mutex_unlock(&session->lock);

	r = pack_writer_write(slot->writer, first, chunks, count, err);

	pthread_mutex_lock(&session->lock);
	if (--slot->in_flight == 0)
		pthread_cond_broadcast(&session->changed);
	if (r < 0)
		fail(session, r, err); /* there is a hole in the pack now */
	*done = count;
	return r;
}

static int session_put(void *ctx, const struct chunk_encoded *chunks, size_t n, struct err *err)
{
	struct store_session *session = ctx;
	CLEANUP_FREE struct chunk_encoded *fresh = malloc((n + 1) * sizeof(*fresh));
	size_t count = 0;
	int r = 0;

	if (!fresh)
		return err_set(err, ENOMEM, "store %zu chunks", n);
	pthread_mutex_lock(&session->lock);
	for (size_t i = 0; i < n; i++)
		if (!pending_find(session, &chunks[i].id, NULL))
			fresh[count++] = chunks[i];
	for (size_t at = 0, done; r == 0 && at < count; at += done)
		r = put_some(session, PACK_CHUNK, fresh + at, count - at, &done, err);
	pthread_mutex_unlock(&session->lock);
	return r;
}

/* Return 0 with *out filled (a reference), STORE_ABSENT or -errno. */
static int session_find(struct store_session *session, const struct chunk_id *id, bool rescue,
			struct store_place *out, struct err *err)
{
	bool pending;

	pthread_mutex_lock(&session->lock);
	pending = pending_find(session, id, out);
	pthread_mutex_unlock(&session->lock);
	return pending ? 0 : store_table_find(session->domain, id, rescue, out, err);
}

static int session_query(void *ctx, const struct chunk_id *ids, size_t n, uint8_t *present,
			 struct err *err)
{
	memset(present, 0, (n + 7) / 8);
	for (size_t i = 0; i < n; i++) {
		struct store_place place = { 0 };
		int r = session_find(ctx, &ids[i], false, &place, err);

		if (r < 0)
			return r;
		if (r == 0)
			present[i / 8] |= (uint8_t)(1u << (i % 8));
		pack_unref(place.pack);
	}
	return 0;
}

struct chunk_sink store_session_sink(struct store_session *session)
{
	return (struct chunk_sink){ .ctx = session, .query = session_query, .put = session_put };
}

int store_session_put_untrusted(struct store_session *session, const struct chunk_encoded *chunks,
				size_t n, struct err *err)
{
	CLEANUP_FREE uint8_t *raw = malloc(CHUNK_MAX);

	if (!raw)
		return err_set(err, ENOMEM, "check chunks");
	for (size_t i = 0; i < n; i++) {
		char id[CHUNK_ID_TEXT_LEN];
		int r;

		hex_encode(chunks[i].id.bytes, CHUNK_ID_LEN, id);
		r = chunk_decode(&chunks[i], raw, err);
		if (r == CHUNK_CORRUPT)
			return err_wrap(err, -EBADMSG, "chunk %s (number %zu)", id, i);
		if (r < 0)
			return r;
		/* Nothing but zeros has the zero id, and it is never stored. */
		if (chunk_is_zero(raw, chunks[i].raw_len))
			return err_say(err, EBADMSG, "chunk %s (number %zu): all zeros must not be sent",
				       id, i);
	}
	return session_put(session, chunks, n, err);
}

/* ---- Committing -------------------------------------------------------------------------------------------- */

static int session_get(void *ctx, const struct chunk_id *ids, size_t n, chunk_arrived *fn,
		       void *arg, struct err *err)
{
	for (size_t i = 0; i < n; i++) {
		struct store_place place = { 0 };
		char text[CHUNK_ID_TEXT_LEN];
		int r = session_find(ctx, &ids[i], true, &place, err);

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
	r = session_find(arg, id, true, &place, err);
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
		       struct slot **last, struct err *err)
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
	r = slot_for(session, chunk.len, last, err);
	if (r < 0)
		return r;
	record = pack_writer_reserve((*last)->writer, type, &chunk);
	r = pack_writer_write((*last)->writer, record, &chunk, 1, err);
	if (r < 0)
		fail(session, r, err);
	return r;
}

static int wait_until_alone(struct store_session *session, const struct slot *last, struct err *err)
{
	while (!session->failure.code &&
	       (session->slots != last || (last && last->in_flight)))
		pthread_cond_wait(&session->changed, &session->lock);
	return session->failure.code ? failed(session, err) : 0;
}

/* Write @text as the last record, after everything else is durable. *number: the pack that holds it. */
static int finish(struct store_session *session, enum pack_record_type type, const char *text,
		  struct err *err)
{
	CLEANUP(pack_unref) struct pack *pack = NULL;
	struct store *store = session->store;
	struct slot *last = NULL;
	uint32_t number = 0;
	int r;

	pthread_mutex_lock(&session->lock);
	r = append_last(session, type, text, &last, err);
	if (r == 0)
		r = wait_until_alone(session, last, err);
	if (r == 0) {
		r = store_sync_folder(store, err);
		if (r == 0)
			r = slot_seal(session, last, &number, err);
		if (r < 0) {
			fail(session, r, err);
		} else {
			pack = pack_ref(pack_writer_pack(last->writer));
			slot_remove(session, last);
		}
	}
	pthread_mutex_unlock(&session->lock);
	if (r == 0)
		r = store_sync_folder(store, err);
	return r < 0 ? r : store_catalogue_take(store, pack, number, err);
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
		return err_say(err, EINVAL, "a session of desktop %s cannot commit a snapshot of %s",
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
		r = put_some(session, PACK_NOTE, &chunk, 1, &done, err);
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
	if (!pending_find(session, &chunk->id, NULL))
		r = put_some(session, type, chunk, 1, &done, err);
	pthread_mutex_unlock(&session->lock);
	return r;
}

int store_session_finish_copies(struct store_session *session, struct err *err)
{
	struct slot *last;
	uint32_t number;
	int r;

	pthread_mutex_lock(&session->lock);
	last = open_slot(session);
	r = wait_until_alone(session, last, err);
	if (r == 0 && last) {
		r = slot_seal(session, last, &number, err);
		if (r < 0)
			fail(session, r, err);
		else
			slot_remove(session, last);
	}
	pthread_mutex_unlock(&session->lock);
	return r < 0 ? r : store_sync_folder(session->store, err);
}
