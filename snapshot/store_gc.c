/* Garbage collection: live → condemned → deleted.
 *
 * What is needed is known by counts of references, which are kept from one run to the next (store_refs.h): only what came and what
 * went is walked. That runs beside commits; the decision is made under commit_lock, after the snapshots that came meanwhile were
 * counted, too. A condemned pack counts as absent for every lookup, and a commit that still relies on it (its session was told
 * earlier that a chunk is there) makes it live again. It is deleted when no session is left that is older than its
 * condemnation. Nothing of this is on disk: after a crash a pack is there or not, and the next GC finds out again. The counts are
 * saved before the first pack is deleted: what they count is there, or they say themselves that they are of no use.
 *
 * Rewriting copies what is marked into new packs, which are durable before the old one is condemned; if a commit came to rely
 * on something else in the old pack meanwhile, that stays.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/io.h"
#include "snapshot/store_dead.h"
#include "snapshot/store_refs.h"
#include "snapshot/store_session.h"
#include "snapshot/store_state.h"

enum {
	REPACK_PERCENT = 50,
	SMALL_PACK = 4 << 20, /* bytes; an incremental snapshot leaves one … */
	SMALL_MANY = 64,      /* … and when there are so many, they are put together */
};

struct gc {
	struct store *store;
	const struct store_gc *order;
	struct store_gc_result *result;
	struct store_refs *refs;
	uint64_t *manifests; /* pack << 32 | record of those that are listed, sorted */
	size_t manifest_count;
	struct store_dead dead;
	uint32_t *rewrite; /* packs to rewrite */
	size_t rewrite_count;
};

static bool cancelled(const struct gc *gc)
{
	return gc->order->progress && atomic_load(&gc->order->progress->cancel);
}

static struct store_pack row_of(struct store *store, uint32_t number)
{
	struct store_pack row;

	pthread_mutex_lock(&store->lock);
	row = store->packs[number];
	pthread_mutex_unlock(&store->lock);
	return row;
}

/* May the pack be deleted at all now? Not while its session is open, nor inside the store's no-delete window. */
static bool deletable(const struct store *store, const struct store_pack *row)
{
	CLEANUP_FREE char *path = NULL;
	struct stat st;
	uint64_t now = clock_wall_cautious_ms(), written;

	if (row->state != STORE_PACK_LIVE || row->session)
		return false;
	if (!store->no_delete_ms)
		return true;
	path = store_table_path(store, &row->name);
	if (!path || stat(path, &st) < 0)
		return false;
	written = (uint64_t)st.st_mtime * 1000;
	/* A time in the future says that the clock jumped: wait. */
	return written <= now && now - written > store->no_delete_ms;
}

/* ---- What is alive in a pack -------------------------------------------------------------------------------- */

static int by_number(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/* Where the manifests of listed snapshots are, and which others there are; under commit_lock. */
static int manifests_find(struct gc *gc, struct err *err)
{
	CLEANUP_FREE struct store_snapshot *rows = NULL;
	size_t n;
	int r = store_catalogue_rows(gc->store, &rows, &n, err);

	if (r < 0)
		return r;
	gc->manifests = calloc(n + 1, sizeof(*gc->manifests));
	if (!gc->manifests)
		return err_set(err, ENOMEM, "collect garbage");
	for (size_t i = 0; i < n; i++)
		gc->manifests[i] = (uint64_t)rows[i].pack << 32 | rows[i].record;
	gc->manifest_count = n;
	if (n)
		qsort(gc->manifests, n, sizeof(*gc->manifests), by_number);
	return store_dead_find(&gc->dead, gc->store, gc->manifests, n, err);
}

/* How many of them are in that pack? */
static size_t manifests_in(const struct gc *gc, uint32_t number)
{
	size_t low = 0, high = gc->manifest_count, first;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (gc->manifests[mid] >> 32 < number)
			low = mid + 1;
		else
			high = mid;
	}
	for (first = low; low < gc->manifest_count && gc->manifests[low] >> 32 == number; low++)
		;
	return low - first;
}

/* A note lives as long as the manifest it is about is in some pack. */
static bool record_alive(struct gc *gc, struct pack *pack, uint32_t number, uint32_t i)
{
	uint64_t place = (uint64_t)number << 32 | i;

	switch (pack->entries[i].type) {
	case PACK_CHUNK:
		return store_refs_has(gc->refs, number, i);
	case PACK_MANIFEST:
		return gc->manifest_count &&
		       bsearch(&place, gc->manifests, gc->manifest_count, sizeof(place), by_number);
	}
	return store_catalogue_note_needed(gc->store, &gc->dead, pack, i);
}

/* A snapshot that nobody can list may need chunks that nobody else does: while there can be one, nothing is deleted. */
static int refuse_damaged(struct gc *gc, struct err *err)
{
	struct store *store = gc->store;
	struct pack_name name = { 0 };
	char text[PACK_NAME_TEXT_LEN];
	bool any = false;

	pthread_mutex_lock(&store->lock);
	for (size_t i = 0; i < store->pack_count && !any; i++) {
		any = store->packs[i].state == STORE_PACK_DAMAGED ||
		      (store->packs[i].state != STORE_PACK_GONE && store->packs[i].unread);
		name = store->packs[i].name;
	}
	pthread_mutex_unlock(&store->lock);
	if (!any || gc->order->accept_loss)
		return 0;
	pack_name_text(&name, text);
	return err_say(err, EBADMSG,
		       "pack %s is damaged or lost, and with it maybe a snapshot that needs "
		       "others; repair it first "
		       "(godwit-store repair --from a mirror or another store), or give up what is "
		       "in it (gc --accept-loss)",
		       text);
}

struct alive {
	uint64_t records, bytes, dead_bytes;
	bool old_key;
};

static int count_alive(struct gc *gc, uint32_t number, struct alive *alive, struct err *err)
{
	CLEANUP(pack_unref) struct pack *pack = NULL;
	int r = store_table_pack(gc->store, number, &pack, err);

	memset(alive, 0, sizeof(*alive));
	if (r == 0)
		alive->old_key = memcmp(pack->key_id, store_key_newest(&gc->store->keys)->id,
					STORE_KEY_ID_LEN) != 0;
	for (uint32_t i = 0; r == 0 && i < pack->count; i++) {
		if (record_alive(gc, pack, number, i)) {
			alive->records++;
			alive->bytes += pack_record_len(&pack->entries[i]);
		} else {
			alive->dead_bytes += pack_record_len(&pack->entries[i]);
		}
	}
	return r;
}

static void condemn(struct store *store, uint32_t number)
{
	pthread_mutex_lock(&store->lock);
	if (store->packs[number].state == STORE_PACK_LIVE) {
		store->packs[number].state = STORE_PACK_CONDEMNED;
		store->packs[number].condemned_at = ++store->sequence;
	}
	pthread_mutex_unlock(&store->lock);
}

static size_t count_small(const struct store *store)
{
	size_t n = 0;

	for (size_t i = 0; i < store->pack_count; i++)
		n += store->packs[i].state == STORE_PACK_LIVE && store->packs[i].size < SMALL_PACK;
	return n;
}

static unsigned repack_percent(const struct gc *gc)
{
	return gc->order->repack_percent ? gc->order->repack_percent : REPACK_PERCENT;
}

/* By what is known without opening the pack: may there be something to do? */
static bool worth_a_look(const struct gc *gc, uint32_t number, const struct store_refs_summary *sum,
			 const struct store_pack *row, bool merge_small)
{
	return (!sum->live_chunks && !manifests_in(gc, number)) ||
	       sum->live_bytes * 100 < sum->bytes * repack_percent(gc) ||
	       (merge_small && row->size < SMALL_PACK) || gc->order->rekey;
}

static int decide_pack(struct gc *gc, uint32_t number, bool merge_small, struct err *err)
{
	struct store_pack row = row_of(gc->store, number);
	struct store_refs_summary sum;
	struct alive alive;
	int r;

	if (row.state != STORE_PACK_LIVE)
		return 0;
	r = store_refs_summary(gc->refs, number, &sum, err);
	if (r < 0)
		return r;
	gc->result->live_chunks += sum.live_chunks;
	gc->result->dead_chunks += sum.chunks - sum.live_chunks;
	if (!worth_a_look(gc, number, &sum, &row, merge_small) || !deletable(gc->store, &row))
		return 0;
	r = count_alive(gc, number, &alive, err);
	if (r < 0)
		return r;
	if (!alive.records) {
		gc->result->packs_deleted++;
		gc->result->freed_bytes += row.size;
		if (!gc->order->dry_run)
			condemn(gc->store, number);
	} else if (alive.bytes * 100 < (alive.bytes + alive.dead_bytes) * repack_percent(gc) ||
		   (merge_small && row.size < SMALL_PACK) || (gc->order->rekey && alive.old_key)) {
		gc->result->packs_rewritten++;
		gc->result->packs_deleted++;
		gc->result->freed_bytes += row.size;
		gc->result->written_bytes += alive.bytes;
		gc->rewrite[gc->rewrite_count++] = number;
	}
	return 0;
}

/* Under commit_lock, exclusively: condemn what is dead, list what is worth rewriting. */
static int decide(struct gc *gc, struct err *err)
{
	bool merge_small = count_small(gc->store) >= SMALL_MANY;
	size_t n = gc->store->pack_count;
	int r = manifests_find(gc, err);

	gc->rewrite = calloc(n + 1, sizeof(*gc->rewrite));
	if (r == 0 && !gc->rewrite)
		return err_set(err, ENOMEM, "collect garbage");
	for (uint32_t i = 0; r == 0 && i < n; i++)
		r = decide_pack(gc, i, merge_small, err);
	return r;
}

/* ---- What is needed ----------------------------------------------------------------------------------------- */

static int refs_anew(struct gc *gc, struct err *err)
{
	store_refs_free(gc->refs);
	gc->refs = NULL;
	gc->result->counted_anew = true;
	return store_refs_new(&gc->refs, gc->store, err);
}

/* The counts of the last run, less what went and more what came; all of them anew if there is any doubt. */
static int refs_bring_up(struct gc *gc, struct err *err)
{
	int r = store_refs_new(&gc->refs, gc->store, err);

	if (r == 0)
		r = gc->order->count_anew ? STORE_REFS_DOUBT : store_refs_load(gc->refs, err);
	if (r == STORE_REFS_DOUBT)
		r = refs_anew(gc, err);
	/* First what came: what both have is then never without a reference, and not read. */
	if (r == 0)
		r = store_refs_add(gc->refs, gc->order->progress, err);
	if (r == 0)
		r = store_refs_drop(gc->refs, gc->order->progress, err);
	if (r == STORE_REFS_DOUBT) {
		r = refs_anew(gc, err);
		if (r == 0)
			r = store_refs_add(gc->refs, gc->order->progress, err);
	}
	return r;
}

static int count_and_decide(struct gc *gc, struct err *err)
{
	int r = refuse_damaged(gc, err);

	if (r == 0)
		r = refs_bring_up(gc, err);
	if (r < 0)
		return r;
	pthread_rwlock_wrlock(&gc->store->commit_lock);
	r = store_refs_add(gc->refs, gc->order->progress, err); /* those committed meanwhile */
	if (r == 0)
		r = decide(gc, err);
	pthread_rwlock_unlock(&gc->store->commit_lock);
	return r;
}

/* ---- Rewriting ---------------------------------------------------------------------------------------------- */

static int copy_alive(struct gc *gc, struct store_session *session, uint32_t number,
		      uint64_t *copied, struct err *err)
{
	CLEANUP_FREE uint8_t *buf = malloc(CHUNK_MAX + PACK_RECORD_EXTRA);
	CLEANUP(pack_unref) struct pack *pack = NULL;
	int r;

	if (!buf)
		return err_set(err, ENOMEM, "rewrite a pack");
	r = store_table_pack(gc->store, number, &pack, err);
	*copied = 0;
	for (uint32_t i = 0; r == 0 && i < pack->count; i++) {
		struct chunk_encoded chunk;

		if (!record_alive(gc, pack, number, i))
			continue;
		if (cancelled(gc))
			return err_say(err, ECANCELED, "cancelled");
		volume_progress_pace(gc->order->progress, pack_record_len(&pack->entries[i]));
		if (gc->order->progress)
			atomic_fetch_add(&gc->order->progress->done_bytes,
					 pack_record_len(&pack->entries[i]));
		r = pack_read(pack, i, buf, &chunk, err);
		if (r == 0)
			r = store_session_copy(
				session, (enum pack_record_type)pack->entries[i].type, &chunk, err);
		*copied += pack->entries[i].type == PACK_CHUNK;
	}
	return r;
}

/* Condemn a pack whose live records were copied, unless a commit came to rely on something else in it meanwhile. Under commit_lock. */
static int replace_pack(struct gc *gc, uint32_t number, uint64_t copied, struct err *err)
{
	struct store *store = gc->store;
	struct store_refs_summary sum;
	int r = store_refs_summary(gc->refs, number, &sum, err);

	if (r < 0 || row_of(store, number).state != STORE_PACK_LIVE || sum.live_chunks != copied)
		return r;
	/* First: a chunk is then found where its copy is. */
	condemn(store, number);
	r = store_refs_move(gc->refs, number, err);
	if (r) {
		pthread_mutex_lock(&store->lock);
		store->packs[number].state = STORE_PACK_LIVE;
		pthread_mutex_unlock(&store->lock);
	}
	return r;
}

/* Copy the live records of all packs of one domain, then condemn the packs from which nothing else came to be needed. */
static int rewrite_domain(struct gc *gc, struct store_domain *domain, struct err *err)
{
	CLEANUP(store_session_close) struct store_session *session = NULL;
	CLEANUP_FREE uint64_t *copied = calloc(gc->rewrite_count + 1, sizeof(*copied));
	struct store *store = gc->store;
	int r;

	if (!copied)
		return err_set(err, ENOMEM, "rewrite packs");
	r = store_session_open_in(&session, store, "gc", domain->name, err);
	for (size_t i = 0; r == 0 && i < gc->rewrite_count; i++) {
		if (row_of(store, gc->rewrite[i]).domain != domain)
			continue;
		r = copy_alive(gc, session, gc->rewrite[i], &copied[i], err);
	}
	if (r == 0)
		r = store_session_finish_copies(session, err);
	if (r < 0)
		return r;
	pthread_rwlock_wrlock(&store->commit_lock);
	r = store_refs_add(gc->refs, gc->order->progress, err);
	for (size_t i = 0; r == 0 && i < gc->rewrite_count; i++)
		if (row_of(store, gc->rewrite[i]).domain == domain)
			r = replace_pack(gc, gc->rewrite[i], copied[i], err);
	pthread_rwlock_unlock(&store->commit_lock);
	return r;
}

static int rewrite(struct gc *gc, struct err *err)
{
	struct store_domain *domain;
	int r = 0;

	pthread_mutex_lock(&gc->store->lock);
	domain = gc->store->domains;
	pthread_mutex_unlock(&gc->store->lock);
	for (; domain && r == 0; domain = domain->next) {
		bool any = false;

		for (size_t i = 0; i < gc->rewrite_count && !any; i++)
			any = row_of(gc->store, gc->rewrite[i]).domain == domain;
		if (any)
			r = rewrite_domain(gc, domain, err);
	}
	return r;
}

/* ---- Deleting ----------------------------------------------------------------------------------------------- */

/* Packs whose time has come are GONE for everybody before the first file goes. *names: heap. */
static size_t take_condemned(struct store *store, struct pack_name *names, size_t max,
			     uint64_t *waiting)
{
	uint64_t oldest;
	size_t n = 0;

	*waiting = 0;
	/* No commit is in the middle of relying on one. */
	pthread_rwlock_wrlock(&store->commit_lock);
	pthread_mutex_lock(&store->lock);
	oldest = store_session_oldest(store);
	for (size_t i = 0; i < store->pack_count && n < max; i++) {
		struct store_pack *row = &store->packs[i];

		if (row->state != STORE_PACK_CONDEMNED)
			continue;
		if (row->condemned_at >= oldest) {
			++*waiting;
			continue;
		}
		row->state = STORE_PACK_GONE;
		store->state_stale = true;
		names[n++] = row->name;
	}
	pthread_mutex_unlock(&store->lock);
	pthread_rwlock_unlock(&store->commit_lock);
	return n;
}

static int delete_condemned(struct gc *gc, struct err *err)
{
	struct store *store = gc->store;
	size_t max = store->pack_count, n;
	CLEANUP_FREE struct pack_name *names = calloc(max + 1, sizeof(*names));
	int r = 0;

	if (!names)
		return err_set(err, ENOMEM, "delete packs");
	n = take_condemned(store, names, max, &gc->result->packs_waiting);
	r = store_folder_note_deleted(store, names, n, err);
	if (r == 0 && store->state_stale)
		r = store_state_save(store, err);
	for (size_t i = 0; r == 0 && i < n; i++) {
		CLEANUP_FREE char *path = store_table_path(store, &names[i]);

		if (!path)
			r = err_set(err, ENOMEM, "delete packs");
		else if (unlink(path) < 0 && errno != ENOENT)
			r = err_set(err, errno, "delete %s", path);
	}
	if (r == 0 && n)
		r = io_sync_folder(store->packs_path, err);
	/* Not before: should a file come back by a power cut, the row still says that its snapshot is forgotten. */
	if (r == 0)
		store_catalogue_drop_gone(store);
	return r;
}

/* Not durable, or not saved at all, costs the next run time: the counts that are on disk say what they are about. */
static int refs_keep(struct gc *gc, struct err *err)
{
	return gc->order->dry_run ? 0 : store_refs_save(gc->refs, err);
}

static int collect(struct gc *gc, struct err *err)
{
	int r = count_and_decide(gc, err);

	if (r == 0)
		r = refs_keep(gc, err);
	if (r == 0 && !gc->order->dry_run && gc->rewrite_count) {
		r = rewrite(gc, err);
		/* The copies are counted otherwise than their originals: with the next run all is counted anew. */
		if (r == STORE_REFS_DOUBT)
			r = 0;
		else if (r == 0)
			r = refs_keep(gc, err);
	}
	if (r == 0 && !gc->order->dry_run)
		r = delete_condemned(gc, err);
	return r;
}

/* Packs of a mirror come and go as those of the store that it mirrors do; under other names none would ever go. */
static int refuse_mirror(const struct store *store, struct err *err)
{
	CLEANUP_FREE char *incoming = io_printf("%s/incoming", store->path);

	if (!incoming)
		return err_set(err, ENOMEM, "collect garbage");
	return access(incoming, F_OK) < 0
		       ? 0
		       : err_say(err, EPERM,
				 "%s is a mirror: run gc in the store that it mirrors, then mirror "
				 "again; or, to make "
				 "it a store of its own, delete its folder incoming",
				 store->path);
}

int store_gc(struct store *store, const struct store_gc *order, struct store_gc_result *result,
	     struct err *err)
{
	struct gc gc = { .store = store, .order = order, .result = result };
	int r;

	memset(result, 0, sizeof(*result));
	r = store_check_writable(store, err);
	if (r == 0)
		r = refuse_mirror(store, err);
	if (r < 0)
		return err_wrap(err, r, "collect garbage");
	pthread_mutex_lock(&store->gc_lock);
	r = collect(&gc, err);
	if (gc.refs) {
		result->read_bytes = store_refs_bytes_read(gc.refs);
		result->snapshots_walked = store_refs_snapshots_walked(gc.refs);
	}
	pthread_mutex_unlock(&store->gc_lock);
	store_refs_free(gc.refs);
	store_dead_deinit(&gc.dead);
	free(gc.manifests);
	free(gc.rewrite);
	return r < 0 ? err_wrap(err, r, "collect garbage") : 0;
}
