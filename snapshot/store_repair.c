/* The course of a repair: read everything; save what is sound in what is damaged; walk all snapshots and fetch what they miss; make all
 * of it durable; only then put the damaged packs away. No GC runs meanwhile.
 */
#include "snapshot/store_repair.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/hex.h"
#include "common/io.h"
#include "snapshot/store_mirror.h"
#include "snapshot/store_refs_parts.h"
#include "snapshot/store_repair_parts.h"
#include "snapshot/store_session.h"
#include "snapshot/store_state.h"

/* A chunk that was missing, and what became of it. */
struct fate {
	struct chunk_id id;
	bool found;
};

struct repair {
	struct store *store;
	const struct store_repair *order;
	struct store_repair_result *result;
	struct store_repair_donors donors;
	struct store_refs_table bad; /* places of damaged records; key: pack, record */
	uint32_t *packs;             /* that have some, or cannot be opened at all */
	size_t pack_count;
	struct fate *fates; /* sorted by id */
	size_t fate_count;
	struct domain_session {
		struct store_domain *domain;
		struct store_session *session;
	} * sessions;
	size_t session_count;
	uint8_t *record, *raw; /* CHUNK_MAX + PACK_RECORD_EXTRA, CHUNK_MAX */
};

static void say(void (*fn)(void *, const char *), void *arg, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
static void say(void (*fn)(void *, const char *), void *arg, const char *format, ...)
{
	char text[2 * ERR_TEXT_MAX];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	if (fn)
		fn(arg, text);
}

static int cancelled(const struct repair *r, struct err *err)
{
	return r->order->progress && atomic_load(&r->order->progress->cancel)
		       ? err_say(err, ECANCELED, "cancelled")
		       : 0;
}

/* ---- Copies ------------------------------------------------------------------------------------------------- */

/* The upload that the domain's copies go into. */
static int session_get(struct repair *r, struct store_domain *domain, struct store_session **out,
		       struct err *err)
{
	struct domain_session *sessions;
	int status;

	for (size_t i = 0; i < r->session_count; i++) {
		if (r->sessions[i].domain == domain) {
			*out = r->sessions[i].session;
			return 0;
		}
	}
	sessions = realloc(r->sessions, (r->session_count + 1) * sizeof(*sessions));
	if (!sessions)
		return err_set(err, ENOMEM, "repair");
	r->sessions = sessions;
	status = store_session_open_in(out, r->store, "repair", domain->name, err);
	if (status == 0)
		sessions[r->session_count++] = (struct domain_session){ domain, *out };
	return status;
}

static int plain_copy(struct repair *r, struct store_domain *domain, enum pack_record_type type,
		      const uint8_t *raw, size_t len, struct err *err)
{
	struct store_session *session;
	struct chunk_encoded chunk;
	int status = session_get(r, domain, &session, err);

	if (status < 0)
		return status;
	chunk_id_of(raw, len, &chunk.id);
	status = chunk_encode(CHUNK_CODEC_ZSTD, raw, len, r->record, &chunk, err);
	return status < 0 ? status : store_session_copy(session, type, &chunk, err);
}

/* ---- What is damaged ---------------------------------------------------------------------------------------- */

static int pack_add(struct repair *r, uint32_t number, struct err *err)
{
	uint32_t *packs = realloc(r->packs, (r->pack_count + 1) * sizeof(*packs));

	if (!packs)
		return err_set(err, ENOMEM, "repair");
	r->packs = packs;
	packs[r->pack_count++] = number;
	return 0;
}

/* Read record @i down to its hash. Return 0, -EBADMSG, -EIO, or another -errno. */
static int record_read(struct repair *r, const struct pack *pack, uint32_t i,
		       struct chunk_encoded *chunk, struct err *err)
{
	int status;

	volume_progress_pace(r->order->progress, pack_record_len(&pack->entries[i]));
	status = pack_read(pack, i, r->record, chunk, err);
	if (status == 0)
		status = chunk_decode(chunk, r->raw, err);
	if (r->order->progress)
		atomic_fetch_add(&r->order->progress->done_bytes,
				 pack_record_len(&pack->entries[i]));
	return status == CHUNK_CORRUPT ? -EBADMSG : status;
}

static int pack_examine(struct repair *r, uint32_t number, struct err *err)
{
	CLEANUP(pack_unref) struct pack *pack = NULL;
	CLEANUP_FREE char *path = NULL;
	bool any = false;
	struct store_pack row;
	int status;

	pthread_mutex_lock(&r->store->lock);
	row = r->store->packs[number];
	pthread_mutex_unlock(&r->store->lock);
	if (row.state == STORE_PACK_GONE || row.session)
		return 0;
	path = store_table_path(r->store, &row.name);
	if (!path)
		return err_set(err, ENOMEM, "repair");
	/* From the disk, not from the cache. */
	status = pack_open(&pack, path, &r->store->keys, r->store->id, err);
	if (status == -EBADMSG || status == -ENOENT || status == -EIO) {
		pthread_mutex_lock(&r->store->lock);
		r->store->packs[number].state = STORE_PACK_DAMAGED; /* copies are found, not this */
		pthread_mutex_unlock(&r->store->lock);
		store_table_uncache(r->store, number);
		r->result->bad_packs++;
		return pack_add(r, number, err);
	}
	for (uint32_t i = 0; status == 0 && i < pack->count; i++) {
		struct chunk_encoded chunk;

		status = cancelled(r, err);
		if (status == 0)
			status = record_read(r, pack, i, &chunk, err);
		if (status != -EBADMSG && status != -EIO)
			continue;
		r->result->bad_records++;
		any = true;
		status = store_refs_table_set(&r->bad, store_refs_key(number, i, 0), 1);
	}
	return status < 0 ? status : any ? pack_add(r, number, err) : 0;
}

static int examine(struct repair *r, struct err *err)
{
	size_t n;
	int status = 0;

	pthread_mutex_lock(&r->store->lock);
	n = r->store->pack_count;
	for (size_t i = 0; r->order->progress && i < n; i++)
		if (r->store->packs[i].state != STORE_PACK_GONE)
			atomic_fetch_add(&r->order->progress->total_bytes, r->store->packs[i].size);
	pthread_mutex_unlock(&r->store->lock);
	for (uint32_t i = 0; status == 0 && i < n; i++)
		status = pack_examine(r, i, err);
	return status;
}

/* ---- What is sound in it ------------------------------------------------------------------------------------ */

static int records_copy(struct repair *r, const struct pack *pack, struct err *err)
{
	struct store_domain *domain = store_domain_get(r->store, pack->domain, err);
	struct store_session *session;
	int status = domain ? session_get(r, domain, &session, err) : -ENOMEM;

	for (uint32_t i = 0; status == 0 && i < pack->count; i++) {
		struct chunk_encoded chunk;
		struct err why = { 0 };

		status = cancelled(r, err);
		if (status < 0)
			break;
		status = record_read(r, pack, i, &chunk, &why);
		if (status == 0)
			status = store_session_copy(
				session, (enum pack_record_type)pack->entries[i].type, &chunk, err);
		else if (status == -EBADMSG || status == -EIO)
			status = 0;
		else if (err)
			*err = why;
	}
	return status;
}

/* Where damaged pack @i is; the caller's. NULL: out of memory. */
static char *damaged_path(struct repair *r, size_t i)
{
	struct pack_name name;

	pthread_mutex_lock(&r->store->lock);
	name = r->store->packs[r->packs[i]].name;
	pthread_mutex_unlock(&r->store->lock);
	return store_table_path(r->store, &name);
}

/* All records of the damaged packs that can be read, needed or not: a session may have been told that they are there. */
/* Is that this process's trouble, and not the pack's? Then nothing is put away as unreadable. */
static bool is_ours(int error)
{
	return error == -ENOMEM || error == -EMFILE || error == -ENFILE;
}

static int save_sound(struct repair *r, struct err *err)
{
	int status = 0;

	for (size_t i = 0; status == 0 && i < r->pack_count; i++) {
		CLEANUP(pack_unref) struct pack *pack = NULL;
		CLEANUP_FREE char *path = damaged_path(r, i);
		struct err why = { 0 };
		int salvaged;

		if (!path)
			return err_set(err, ENOMEM, "repair");
		salvaged = pack_salvage(&pack, path, &r->store->keys, r->store->id, &why);
		if (salvaged == 0)
			status = records_copy(r, pack, err);
		else if (is_ours(salvaged))
			return err_set(err, -salvaged, "read %s", path);
		else
			say(r->order->repaired, r->order->arg, "nothing can be read of %s",
			    err_text(&why));
	}
	return status;
}

static void say_repaired(struct repair *r, const struct chunk_id *chunk, const char *from)
{
	char id[CHUNK_ID_TEXT_LEN];

	r->result->repaired_chunks++;
	hex_encode(chunk->bytes, CHUNK_ID_LEN, id);
	say(r->order->repaired, r->order->arg, "chunk %s: repaired from %s", id, from);
}

static int bad_fetch(struct repair *r, const struct pack *pack, uint32_t number, struct err *err)
{
	struct store_domain *domain = store_domain_get(r->store, pack->domain, err);
	int status = domain ? 0 : -ENOMEM;

	for (uint32_t i = 0; status == 0 && i < pack->count; i++) {
		const struct pack_entry *entry = &pack->entries[i];
		const char *from;

		if (entry->type != PACK_CHUNK ||
		    !store_refs_table_get(&r->bad, store_refs_key(number, i, 0)))
			continue;
		from = store_repair_donors_stored(&r->donors, &entry->id, entry->raw_len, r->raw);
		if (!from)
			continue;
		say_repaired(r, &entry->id, from);
		status = plain_copy(r, domain, PACK_CHUNK, r->raw, entry->raw_len, err);
	}
	return status;
}

/* Damaged chunks that other stores have, needed or not: nothing is then left in a mirror's copy of the pack that the store has not,
 * and the mirror can let go of that.
 */
static int fetch_bad(struct repair *r, struct err *err)
{
	int status = 0;

	for (size_t i = 0; status == 0 && i < r->pack_count; i++) {
		CLEANUP(pack_unref) struct pack *pack = NULL;
		CLEANUP_FREE char *path = damaged_path(r, i);
		struct err why = { 0 };

		if (!path)
			return err_set(err, ENOMEM, "repair");
		status = cancelled(r, err);
		if (status == 0 && pack_open(&pack, path, &r->store->keys, r->store->id, &why) == 0)
			status = bad_fetch(r, pack, r->packs[i], err);
	}
	return status;
}

/* A session's copies are known to the table once its packs are sealed. */
static int finish_copies(struct repair *r, struct err *err)
{
	int status = 0;

	for (size_t i = 0; status == 0 && i < r->session_count; i++)
		status = store_session_finish_copies(r->sessions[i].session, err);
	return status;
}

/* ---- What is needed ----------------------------------------------------------------------------------------- */

static bool sound(void *arg, const struct chunk_id *id, const struct store_place *place)
{
	const struct repair *r = arg;

	(void)id;
	return !store_refs_table_get(&r->bad, store_refs_key(place->number, place->record, 0));
}

static int by_id(const void *a, const void *b)
{
	return memcmp(a, b, CHUNK_ID_LEN);
}

static int fate_add(struct repair *r, const struct chunk_id *id, bool found, struct err *err)
{
	struct fate *fates = realloc(r->fates, (r->fate_count + 1) * sizeof(*fates));
	size_t at = r->fate_count;

	if (!fates)
		return err_set(err, ENOMEM, "repair");
	r->fates = fates;
	while (at > 0 && by_id(&fates[at - 1].id, id) > 0)
		at--;
	memmove(fates + at + 1, fates + at, (r->fate_count++ - at) * sizeof(*fates));
	fates[at] = (struct fate){ *id, found };
	return 0;
}

static void say_lost(struct repair *r, const struct store_hurt_piece *piece)
{
	char id[CHUNK_ID_TEXT_LEN];

	hex_encode(piece->id->bytes, CHUNK_ID_LEN, id);
	say(r->order->lost, r->order->arg,
	    "desktop %s, snapshot %s, volume %s, bytes %llu-%llu: chunk %s is lost",
	    piece->manifest->desktop, piece->manifest->id, piece->volume->name,
	    (unsigned long long)piece->offset,
	    (unsigned long long)(piece->offset + piece->length - 1), id);
}

static int piece_repair(void *arg, const struct store_hurt_piece *piece, uint8_t *raw,
			struct err *err)
{
	struct repair *r = arg;
	const struct fate *fate =
		r->fate_count ? bsearch(piece->id, r->fates, r->fate_count, sizeof(*fate), by_id)
			      : NULL;
	const char *from =
		fate && !fate->found ? NULL : store_repair_donors_chunk(&r->donors, piece, raw);
	int status = 0;

	if (!fate)
		status = fate_add(r, piece->id, from != NULL, err);
	if (status < 0)
		return status;
	r->result->lost_chunks += !fate && !from;
	if (!from) {
		say_lost(r, piece);
		return STORE_HURT_LOST;
	}
	if (fate)
		return 0;
	say_repaired(r, piece->id, from);
	return plain_copy(r, piece->domain, PACK_CHUNK, raw, piece->raw_len, err);
}

static int manifest_repair(void *arg, const struct store_snapshot *row, const char *why,
			   struct manifest *out, struct err *err)
{
	struct repair *r = arg;
	const char *from = store_repair_donors_manifest(&r->donors, row->id, out);
	CLEANUP(json_decref) json_t *value = from ? manifest_to_json(out) : NULL;
	CLEANUP_FREE char *text = value ? json_text(value) : NULL;
	struct store_domain *domain;

	if (!from) {
		r->result->lost_chunks++;
		say(r->order->lost, r->order->arg, "snapshot %s is lost: %s", row->id, why);
		return STORE_HURT_LOST;
	}
	domain = store_domain_get(r->store, out->domain, err);
	if (!domain || !text)
		return err_set(err, ENOMEM, "repair");
	say(r->order->repaired, r->order->arg, "manifest of snapshot %s: repaired from %s", row->id,
	    from);
	return plain_copy(r, domain, PACK_MANIFEST, (const uint8_t *)text, strlen(text), err);
}

static int fetch_missing(struct repair *r, struct err *err)
{
	const struct store_hurt walk = { .store = r->store,
					 .sound = sound,
					 .piece = piece_repair,
					 .manifest = manifest_repair,
					 .arg = r,
					 .cancel = r->order->progress ? &r->order->progress->cancel
								      : NULL };

	return store_hurt_walk(&walk, err);
}

/* ---- The end of damaged packs ------------------------------------------------------------------------------- */

/* The rows first. They lose their names: a mirror deletes what is gone by name, and it may have the only sound copy. */
static int rows_end(struct repair *r, struct pack_name *names, struct err *err)
{
	struct store *store = r->store;

	pthread_rwlock_wrlock(&store->commit_lock);
	pthread_mutex_lock(&store->lock);
	for (size_t i = 0; i < r->pack_count; i++) {
		struct store_pack *row = &store->packs[r->packs[i]];

		names[i] = row->name;
		row->state = STORE_PACK_GONE;
		memset(&row->name, 0, sizeof(row->name));
	}
	store->state_stale = true;
	pthread_mutex_unlock(&store->lock);
	pthread_rwlock_unlock(&store->commit_lock);
	for (size_t i = 0; i < r->pack_count; i++)
		store_table_uncache(store, r->packs[i]);
	return store_state_save(store, err);
}

static int put_away(struct repair *r, struct err *err)
{
	CLEANUP_FREE char *folder = io_printf("%s/damaged", r->store->path);
	CLEANUP_FREE struct pack_name *names = calloc(r->pack_count + 1, sizeof(*names));
	int status = folder && names ? rows_end(r, names, err) : err_set(err, ENOMEM, "repair");

	if (status == 0)
		status = io_make_folders(folder, 0700, err);
	for (size_t i = 0; status == 0 && i < r->pack_count; i++) {
		CLEANUP_FREE char *from = store_table_path(r->store, &names[i]), *to = NULL;
		char text[PACK_NAME_TEXT_LEN];

		pack_name_text(&names[i], text);
		to = io_printf("%s/%s.pack", folder, text);
		if (!from || !to)
			return err_set(err, ENOMEM, "repair");
		if (rename(from, to) < 0 && errno != ENOENT)
			return err_set(err, errno, "rename %s to %s", from, to);
		r->result->packs_replaced++;
		say(r->order->repaired, r->order->arg,
		    "pack %s: what can be read was copied, the file is in %s", text, folder);
	}
	/* Where they went first, then where they came from, and the folder itself: no power cut brings them back. */
	if (status == 0)
		status = io_sync_folder(folder, err);
	if (status == 0)
		status = io_sync_folder(r->store->packs_path, err);
	return status < 0 ? status : io_sync_folder(r->store->path, err);
}

/* ---- All of it ---------------------------------------------------------------------------------------------- */

/* A mirror has the same packs: a whole one in place of a damaged one is what keeps the two alike. */
static int from_mirrors(struct repair *r, struct err *err)
{
	int status = 0;

	for (size_t i = 0; status == 0 && i < r->order->store_count; i++) {
		const struct store_mirror_repair whole = { .store = r->store,
							   .mirror = r->order->store_paths[i],
							   .progress = r->order->progress,
							   .repaired = r->order->repaired,
							   .arg = r->order->arg };

		if (memcmp(r->order->stores[i]->id, r->store->id, sizeof(r->store->id)) == 0)
			status = store_mirror_repair(&whole, err);
	}
	return status;
}

static int run(struct repair *r, struct err *err)
{
	int status = store_repair_donors_open(&r->donors, r->order, err);

	if (status == 0)
		status = from_mirrors(r, err);
	if (status == 0)
		status = examine(r, err);
	if (status == 0)
		status = save_sound(r, err);
	if (status == 0)
		status = fetch_bad(r, err);
	if (status == 0)
		status = finish_copies(r, err);
	if (status == 0)
		status = fetch_missing(r, err);
	if (status == 0)
		status = finish_copies(r, err);
	return status == 0 && r->pack_count ? put_away(r, err) : status;
}

int store_repair(struct store *store, const struct store_repair *order,
		 struct store_repair_result *result, struct err *err)
{
	struct repair r = { .store = store,
			    .order = order,
			    .result = result,
			    .record = malloc(CHUNK_MAX + PACK_RECORD_EXTRA),
			    .raw = malloc(CHUNK_MAX) };
	int status = store_check_writable(store, err);

	memset(result, 0, sizeof(*result));
	if (status == 0 && (!r.record || !r.raw))
		status = err_set(err, ENOMEM, "repair");
	if (status == 0) {
		pthread_mutex_lock(&store->gc_lock);
		status = run(&r, err);
		pthread_mutex_unlock(&store->gc_lock);
	}
	for (size_t i = 0; i < r.session_count; i++)
		store_session_close(r.sessions[i].session);
	store_repair_donors_close(&r.donors);
	free(r.sessions);
	free(r.bad.slots);
	free(r.packs);
	free(r.fates);
	free(r.record);
	free(r.raw);
	return status < 0 ? err_wrap(err, status, "repair") : 0;
}
