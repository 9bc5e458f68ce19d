/* An upload on its way into packs.
 *
 * Chunks go to the open pack; a full pack is closed and a background thread seals it, so that no worker waits for the disk. A
 * sealed pack is in the store's table at once: its chunks are durable after the next fsync of packs/, which every commit
 * does before its own manifest appears. The manifest is the last record of the last pack: one rename makes the
 * snapshot exist.
 */
#include "snapshot/store_session_parts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/hex.h"
#include "snapshot/store_state.h"

enum {
	CLOSED_MAX = 2
}; /* packs that wait for being sealed: more would only fill memory with dirty pages */

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
			       "'%s' in domain '%s': names are 1 to %d of a-z 0-9 - and do not "
			       "start with -",
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

static void slot_free(struct store_session_slot *slot)
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
	struct store_session_slot *slot, *next;

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

void store_session_fail(struct store_session *session, int r, const struct err *err)
{
	if (!session->failure.code) {
		session->failure = *err;
		session->failure.code = -r;
	}
	pthread_cond_broadcast(&session->changed);
}

int store_session_failed(const struct store_session *session, struct err *err)
{
	return err_say(err, session->failure.code, "%s", err_text(&session->failure));
}

/* Give a pack its name and list it. Nobody writes into it any more. */
int store_session_slot_seal(struct store_session *session, struct store_session_slot *slot,
			    uint32_t *number, struct err *err)
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

void store_session_slot_remove(struct store_session *session, struct store_session_slot *slot)
{
	struct store_session_slot **p;

	for (p = &session->slots; *p != slot;)
		p = &(*p)->next;
	*p = slot->next;
	slot_free(slot);
	pthread_cond_broadcast(&session->changed);
}

static struct store_session_slot *next_to_seal(struct store_session *session)
{
	for (struct store_session_slot *s = session->slots; s; s = s->next)
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
		struct store_session_slot *slot;
		uint32_t number;
		int r;

		while (!session->ending &&
		       (session->failure.code || !(slot = next_to_seal(session))))
			pthread_cond_wait(&session->changed, &session->lock);
		if (session->ending)
			break;
		slot->in_flight = 1; /* ours: next_to_seal must not find it again */
		pthread_mutex_unlock(&session->lock);
		r = store_session_slot_seal(session, slot, &number, &err);
		pthread_mutex_lock(&session->lock);
		slot->in_flight = 0;
		if (r < 0)
			store_session_fail(session, r, &err);
		else
			store_session_slot_remove(session, slot);
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

struct store_session_slot *store_session_open_slot(struct store_session *session)
{
	for (struct store_session_slot *s = session->slots; s; s = s->next)
		if (!s->closed)
			return s;
	return NULL;
}

static int slot_new(struct store_session *session, struct store_session_slot **out, struct err *err)
{
	struct store *store = session->store;
	const struct pack_writer_options options = { .temp_folder = store->temp_path,
						     .pack_folder = store->packs_path,
						     .key = store_key_newest(&store->keys),
						     .store_id = store->id,
						     .domain = session->domain->name };
	struct store_session_slot *slot = calloc(1, sizeof(*slot)), **p;
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

	for (const struct store_session_slot *s = session->slots; s; s = s->next)
		n += s->closed;
	return n;
}

/* The open pack, with room for @len bytes of payload; under session->lock, which may be released meanwhile. */
int store_session_slot_for(struct store_session *session, size_t len,
			   struct store_session_slot **out, struct err *err)
{
	for (;;) {
		struct store_session_slot *slot = store_session_open_slot(session);
		int r;

		if (session->failure.code)
			return store_session_failed(session, err);
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
bool store_session_pending(struct store_session *session, const struct chunk_id *id,
			   struct store_place *out)
{
	for (struct store_session_slot *s = session->slots; s; s = s->next) {
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
int store_session_put_some(struct store_session *session, enum pack_record_type type,
			   const struct chunk_encoded *chunks, size_t n, size_t *done,
			   struct err *err)
{
	struct store_session_slot *slot;
	uint32_t first;
	size_t count = 1;
	int r;

	r = store_session_slot_for(session, chunks[0].len, &slot, err);
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
		store_session_fail(session, r, err); /* there is a hole in the pack now */
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
		if (!store_session_pending(session, &chunks[i].id, NULL))
			fresh[count++] = chunks[i];
	for (size_t at = 0, done; r == 0 && at < count; at += done)
		r = store_session_put_some(session, PACK_CHUNK, fresh + at, count - at, &done, err);
	pthread_mutex_unlock(&session->lock);
	return r;
}

/* Return 0 with *out filled (a reference), STORE_ABSENT or -errno. */
int store_session_find(struct store_session *session, const struct chunk_id *id, bool rescue,
		       struct store_place *out, struct err *err)
{
	bool pending;

	pthread_mutex_lock(&session->lock);
	pending = store_session_pending(session, id, out);
	pthread_mutex_unlock(&session->lock);
	return pending ? 0 : store_table_find(session->domain, id, rescue, out, err);
}

static int session_query(void *ctx, const struct chunk_id *ids, size_t n, uint8_t *present,
			 struct err *err)
{
	memset(present, 0, (n + 7) / 8);
	for (size_t i = 0; i < n; i++) {
		struct store_place place = { 0 };
		int r = store_session_find(ctx, &ids[i], false, &place, err);

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
			return err_say(err, EBADMSG,
				       "chunk %s (number %zu): all zeros must not be sent", id, i);
	}
	return session_put(session, chunks, n, err);
}
