/* Verifying goes from the packs to the snapshots: first every pack (its footer; unless quick, every record down to its hash), then
 * every snapshot's trees. A chunk that was found bad hurts the snapshots whose trees name it.
 */
#include "snapshot/store_internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/hex.h"
#include "snapshot/volume.h"

struct bad {
	struct chunk_id id;
	char text[ERR_TEXT_MAX];
	char *hurts; /* "desktop/snapshot, …"; NULL: none so far */
};

struct verify {
	struct store *store;
	const struct store_verify *order;
	uint64_t damaged;
	struct bad *bad;   /* sorted by id once the packs are done */
	size_t bad_count;
};

static void report(struct verify *v, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void report(struct verify *v, const char *format, ...)
{
	char text[2 * ERR_TEXT_MAX];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	v->damaged++;
	if (v->order->damage)
		v->order->damage(v->order->arg, text);
}

static bool cancelled(const struct verify *v)
{
	return v->order->progress && atomic_load(&v->order->progress->cancel);
}

/* ---- Packs ------------------------------------------------------------------------------------------------- */

static int bad_add(struct verify *v, const struct chunk_id *id, const char *text, struct err *err)
{
	struct bad *bad = realloc(v->bad, (v->bad_count + 1) * sizeof(*bad));

	if (!bad)
		return err_set(err, ENOMEM, "list damage");
	v->bad = bad;
	bad[v->bad_count] = (struct bad){ .id = *id };
	snprintf(bad[v->bad_count++].text, sizeof(bad->text), "%s", text);
	return 0;
}

static int record_check(struct verify *v, const struct pack *pack, uint32_t i, uint8_t *buf,
			uint8_t *raw, struct err *err)
{
	struct chunk_encoded chunk;
	struct err why = { 0 };
	int r;

	r = pack_read(pack, i, buf, &chunk, &why);
	if (r == 0) {
		r = chunk_decode(&chunk, raw, &why);
		if (r == CHUNK_CORRUPT) {
			char id[CHUNK_ID_TEXT_LEN];

			hex_encode(pack->entries[i].id.bytes, CHUNK_ID_LEN, id);
			r = err_wrap(&why, -EBADMSG, "pack %s, offset %u, chunk %s", pack->name_text,
				     pack->entries[i].offset, id);
		}
	}
	if (v->order->progress)
		atomic_fetch_add(&v->order->progress->done_bytes, pack_record_len(&pack->entries[i]));
	if (r == -EBADMSG || r == -EIO)
		return bad_add(v, &pack->entries[i].id, err_text(&why), err);
	if (r < 0 && err)
		*err = why;
	return r;
}

/* Was a pack that is not there deleted by GC: in this process, or by the one that writes? */
static bool collected(struct store *store, uint32_t number)
{
	bool gone;

	pthread_mutex_lock(&store->lock);
	gone = store->packs[number].state == STORE_PACK_GONE;
	pthread_mutex_unlock(&store->lock);
	return gone || store->mode == STORE_READ;
}

static int pack_check(struct verify *v, uint32_t number, struct err *err)
{
	CLEANUP(pack_unref) struct pack *pack = NULL;
	CLEANUP_FREE uint8_t *buf = malloc(2 * CHUNK_MAX + PACK_RECORD_EXTRA);
	CLEANUP_FREE char *path = NULL;
	struct err why = { 0 };
	struct store_pack row;
	int r;

	pthread_mutex_lock(&v->store->lock);
	row = v->store->packs[number];
	pthread_mutex_unlock(&v->store->lock);
	if (row.state == STORE_PACK_GONE)
		return 0;
	path = store_table_path(v->store, &row.name);
	if (!buf || !path)
		return err_set(err, ENOMEM, "verify a pack");
	/* From the disk, not from the cache: this is about what the disk holds. */
	r = pack_open(&pack, path, &v->store->keys, v->store->id, &why);
	if (r == -ENOENT && row.state != STORE_PACK_DAMAGED && collected(v->store, number))
		return 0;
	if (r == -EBADMSG || r == -ENOENT || r == -EIO) {
		report(v, "%s", err_text(&why));
		return 0;
	}
	if (r < 0) {
		*err = why;
		return r;
	}
	for (uint32_t i = 0; !v->order->quick && i < pack->count; i++) {
		if (cancelled(v))
			return err_say(err, ECANCELED, "verify: cancelled");
		r = record_check(v, pack, i, buf, buf + CHUNK_MAX + PACK_RECORD_EXTRA, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* A pack and when it was last found sound: the schedule. */
struct turn {
	uint32_t number;
	uint64_t verified_wall_ms, size;
};

static int by_turn(const void *a, const void *b)
{
	const struct turn *x = a, *y = b;

	if (x->verified_wall_ms != y->verified_wall_ms)
		return x->verified_wall_ms < y->verified_wall_ms ? -1 : 1;
	return x->number < y->number ? -1 : 1;
}

/* The packs that are to be read now, oldest check first; heap. */
static struct turn *schedule(struct verify *v, size_t *count)
{
	uint64_t bytes = 0, budget = v->order->quick ? 0 : v->order->budget_bytes;
	struct turn *turns;
	size_t n = 0;

	pthread_mutex_lock(&v->store->lock);
	turns = calloc(v->store->pack_count + 1, sizeof(*turns));
	for (uint32_t i = 0; turns && i < v->store->pack_count; i++) {
		const struct store_pack *row = &v->store->packs[i];

		if (row->state != STORE_PACK_GONE)
			turns[n++] = (struct turn){ i, row->verified_wall_ms, row->size };
	}
	pthread_mutex_unlock(&v->store->lock);
	if (!turns)
		return NULL;
	if (n)
		qsort(turns, n, sizeof(*turns), by_turn);
	for (*count = 0; *count < n && (!budget || bytes < budget); ++*count)
		bytes += turns[*count].size;
	if (v->order->progress && !v->order->quick)
		atomic_fetch_add(&v->order->progress->total_bytes, bytes);
	return turns;
}

static void keep_rate(const struct verify *v, uint64_t began_ms, uint64_t bytes)
{
	uint64_t due = v->order->bytes_per_second
			       ? began_ms + bytes * 1000 / v->order->bytes_per_second
			       : 0;

	/* In short sleeps, so that a cancel is noticed. */
	while (due > clock_now_ms() && !cancelled(v))
		clock_sleep_ms(due - clock_now_ms() < 200 ? due - clock_now_ms() : 200);
}

static int packs_check(struct verify *v, struct err *err)
{
	uint64_t began_ms = clock_now_ms(), bytes = 0;
	size_t n = 0;
	CLEANUP_FREE struct turn *turns = schedule(v, &n);

	if (!turns)
		return err_set(err, ENOMEM, "verify");
	for (size_t i = 0; i < n; i++) {
		uint64_t before = v->damaged + v->bad_count;
		int r = pack_check(v, turns[i].number, err);

		if (r < 0)
			return r;
		if (before == v->damaged + v->bad_count && !v->order->quick) {
			pthread_mutex_lock(&v->store->lock);
			v->store->packs[turns[i].number].verified_wall_ms = clock_wall_ms();
			v->store->state_stale = true;
			pthread_mutex_unlock(&v->store->lock);
		}
		bytes += turns[i].size;
		keep_rate(v, began_ms, v->order->quick ? 0 : bytes);
	}
	return 0;
}

/* ---- Snapshots --------------------------------------------------------------------------------------------- */

static int by_id(const void *a, const void *b)
{
	return memcmp(a, b, CHUNK_ID_LEN);
}

struct snapshot_check {
	struct verify *v;
	struct store_domain *domain;
	const struct manifest *manifest;
	const struct volume *volume;
	uint64_t missing;
	struct chunk_id first_missing;
};

static int hurt(struct snapshot_check *c, struct bad *bad, struct err *err)
{
	char *hurts;

	if (bad->hurts && strstr(bad->hurts, c->manifest->id))
		return 0;
	hurts = bad->hurts ? NULL : strdup(c->manifest->id);
	if (bad->hurts && asprintf(&hurts, "%s, %s", bad->hurts, c->manifest->id) < 0)
		hurts = NULL;
	if (!hurts)
		return err_set(err, ENOMEM, "list damage");
	free(bad->hurts);
	bad->hurts = hurts;
	return 0;
}

static int visit(void *arg, const struct chunk_id *id, bool is_node, struct err *err)
{
	struct snapshot_check *c = arg;
	struct bad *bad = c->v->bad_count
				  ? bsearch(id, c->v->bad, c->v->bad_count, sizeof(*bad), by_id)
				  : NULL;
	struct store_place place = { 0 };
	int r;

	(void)is_node;
	for (; bad && bad > c->v->bad && chunk_id_equal(&bad[-1].id, id);)
		bad--;
	for (; bad && bad < c->v->bad + c->v->bad_count && chunk_id_equal(&bad->id, id); bad++) {
		r = hurt(c, bad, err);
		if (r < 0)
			return r;
	}
	r = store_table_find(c->domain, id, false, &place, err);
	pack_unref(place.pack);
	if (r == STORE_ABSENT && !c->missing++)
		c->first_missing = *id;
	return r == STORE_ABSENT ? 0 : r;
}

/* Is it still listed? One that was forgotten meanwhile may miss what it likes. */
static bool still_there(struct verify *v, const struct manifest *m)
{
	struct manifest again;
	struct err err = { 0 };
	int r = store_manifest(v->store, m->id, &again, &err);

	if (r == 0)
		manifest_deinit(&again);
	return r != STORE_ABSENT;
}

static int snapshot_check(struct verify *v, const struct manifest *m, struct err *err)
{
	struct snapshot_check c = { .v = v, .manifest = m };
	struct err why = { 0 };

	c.domain = store_domain_get(v->store, m->domain, err);
	if (!c.domain)
		return -ENOMEM;
	for (size_t i = 0; i < m->volume_count; i++) {
		int r;

		c.missing = 0;
		c.volume = &m->volumes[i];
		r = volume_walk(c.volume, NULL, store_source_of(c.domain), visit, &c, &why);
		if ((r || c.missing) && !still_there(v, m))
			return 0;
		if (r == -ENOENT || r == -EBADMSG)
			report(v, "snapshot %s of %s: %s", m->id, m->desktop, err_text(&why));
		else if (r < 0)
			return err_say(err, -r, "%s", err_text(&why));
		if (r == 0 && c.missing) {
			char id[CHUNK_ID_TEXT_LEN];

			hex_encode(c.first_missing.bytes, CHUNK_ID_LEN, id);
			report(v, "snapshot %s of %s, volume %s: %llu chunks are missing, the first is %s",
			       m->id, m->desktop, c.volume->name, (unsigned long long)c.missing, id);
		}
	}
	return cancelled(v) ? err_say(err, ECANCELED, "verify: cancelled") : 0;
}

static int snapshots_check(struct verify *v, struct err *err)
{
	CLEANUP_FREE struct store_snapshot *rows = NULL;
	size_t n;
	int r = store_catalogue_rows(v->store, &rows, &n, err);

	if (v->bad_count)
		qsort(v->bad, v->bad_count, sizeof(*v->bad), by_id);
	for (size_t i = 0; r == 0 && i < n; i++) {
		struct err why = { 0 };
		struct manifest m;

		r = store_manifest(v->store, rows[i].id, &m, &why);
		if (r == STORE_ABSENT) { /* forgotten meanwhile */
			r = 0;
			continue;
		}
		if (r == -EBADMSG || r == -EINVAL || r == -ENOENT) {
			report(v, "%s", err_text(&why));
			r = 0;
			continue;
		}
		if (r < 0)
			return err_say(err, -r, "%s", err_text(&why));
		r = snapshot_check(v, &m, err);
		manifest_deinit(&m);
	}
	return r;
}

int store_verify(struct store *store, const struct store_verify *order, uint64_t *damaged,
		 struct err *err)
{
	struct verify v = { .store = store, .order = order };
	int r;

	r = packs_check(&v, err);
	if (r == 0)
		r = snapshots_check(&v, err);
	for (size_t i = 0; i < v.bad_count; i++) {
		if (r == 0)
			report(&v, "%s; %s%s", v.bad[i].text,
			       v.bad[i].hurts ? "hurts snapshots " : "no snapshot needs it",
			       v.bad[i].hurts ? v.bad[i].hurts : "");
		free(v.bad[i].hurts);
	}
	free(v.bad);
	*damaged = v.damaged;
	return r;
}
