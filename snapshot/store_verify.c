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
#include "snapshot/store_hurt.h"
#include "snapshot/volume.h"

enum { SLACK_US = 100000 };

struct bad {
	struct chunk_id id;
	char text[ERR_TEXT_MAX];
	char *hurts; /* "desktop/snapshot, …"; NULL: none so far */
};

struct verify {
	struct store *store;
	const struct store_verify *order;
	uint64_t damaged;
	struct bad *bad; /* sorted by id once the packs are done */
	size_t bad_count;
	uint64_t
		due_us; /* when what was read until now should have been, at the rate that is wanted */
	uint64_t missing; /* chunks of the volume that missing_where names */
	char missing_where[256], missing_first[128];
};

static void report(struct verify *v, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void report(struct verify *v, const char *format, ...)
{
	char *text;
	va_list ap;

	va_start(ap, format);
	if (vasprintf(&text, format, ap) < 0)
		text = NULL;
	va_end(ap);
	v->damaged++;
	if (v->order->damage)
		v->order->damage(v->order->arg, text ? text : "damage (and no memory to say what)");
	free(text);
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
			r = err_wrap(&why, -EBADMSG, "pack %s, offset %u, chunk %s",
				     pack->name_text, pack->entries[i].offset, id);
		}
	}
	if (v->order->progress)
		atomic_fetch_add(&v->order->progress->done_bytes,
				 pack_record_len(&pack->entries[i]));
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

/* Record by record, for a pack at once is 64 MiB as fast as the disk can, and then a minute of nothing. */
static void keep_rate(struct verify *v, uint64_t bytes)
{
	uint64_t now = clock_now_us();

	if (!v->order->bytes_per_second)
		return;
	if (v->due_us + SLACK_US < now)
		v->due_us = now; /* what was not used is not saved up */
	v->due_us += bytes * 1000000 / v->order->bytes_per_second;
	/* In short sleeps, so that a cancel is noticed. */
	while (!cancelled(v) && v->due_us > now + SLACK_US / 10) {
		clock_sleep_ms((v->due_us - now < SLACK_US ? v->due_us - now : SLACK_US) / 1000);
		now = clock_now_us();
	}
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
		keep_rate(v, pack_record_len(&pack->entries[i]));
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
	uint64_t now = clock_wall_ms(), bytes = 0,
		 budget = v->order->quick ? 0 : v->order->budget_bytes;
	struct turn *turns;
	size_t n = 0;

	pthread_mutex_lock(&v->store->lock);
	turns = calloc(v->store->pack_count + 1, sizeof(*turns));
	for (uint32_t i = 0; turns && i < v->store->pack_count; i++) {
		const struct store_pack *row = &v->store->packs[i];

		if (row->state != STORE_PACK_GONE)
			/* A check in the future was none that counts: the clock was wrong then, or is now. */
			turns[n++] = (struct turn){
				i, row->verified_wall_ms <= now ? row->verified_wall_ms : 0,
				row->size
			};
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

static int packs_check(struct verify *v, struct err *err)
{
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
	}
	return 0;
}

/* ---- Snapshots --------------------------------------------------------------------------------------------- */

static int by_id(const void *a, const void *b)
{
	return memcmp(a, b, CHUNK_ID_LEN);
}

/* "…, SNAPSHOT of DESKTOP (VOLUME, bytes A-B)", once for each snapshot. */
static int hurt(struct bad *bad, const struct store_hurt_piece *piece, struct err *err)
{
	char *hurts;

	if (bad->hurts && strstr(bad->hurts, piece->manifest->id))
		return 0;
	if (asprintf(&hurts, "%s%s%s of %s (%s, bytes %llu-%llu)", bad->hurts ? bad->hurts : "",
		     bad->hurts ? ", " : "", piece->manifest->id, piece->manifest->desktop,
		     piece->volume->name, (unsigned long long)piece->offset,
		     (unsigned long long)(piece->offset + piece->length - 1)) < 0)
		return err_set(err, ENOMEM, "list damage");
	free(bad->hurts);
	bad->hurts = hurts;
	return 0;
}

static struct bad *bad_find(struct verify *v, const struct chunk_id *id)
{
	struct bad *bad =
		v->bad_count ? bsearch(id, v->bad, v->bad_count, sizeof(*bad), by_id) : NULL;

	while (bad && bad > v->bad && chunk_id_equal(&bad[-1].id, id))
		bad--;
	return bad;
}

static bool sound(void *arg, const struct chunk_id *id, const struct store_place *place)
{
	(void)place;
	return !bad_find(arg, id);
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

/* Say what is missing in the volume whose pieces were counted last. */
static void missing_report(struct verify *v)
{
	if (v->missing)
		report(v, "%s: %llu chunks are missing, the first is %s", v->missing_where,
		       (unsigned long long)v->missing, v->missing_first);
	v->missing = 0;
	v->missing_where[0] = '\0';
}

static int piece(void *arg, const struct store_hurt_piece *p, uint8_t *raw, struct err *err)
{
	struct verify *v = arg;
	struct bad *bad = bad_find(v, p->id);
	char where[sizeof(v->missing_where)], id[CHUNK_ID_TEXT_LEN];
	int r = 0;

	(void)raw;
	for (; bad && r == 0 && bad < v->bad + v->bad_count && chunk_id_equal(&bad->id, p->id);
	     bad++)
		r = hurt(bad, p, err);
	if (r < 0)
		return r;
	if (bad_find(v, p->id) || !still_there(v, p->manifest))
		return STORE_HURT_LOST;
	snprintf(where, sizeof(where), "snapshot %s of %s, volume %s", p->manifest->id,
		 p->manifest->desktop, p->volume->name);
	if (p->why) {
		report(v, "%s, bytes %llu-%llu: %s", where, (unsigned long long)p->offset,
		       (unsigned long long)(p->offset + p->length - 1), p->why);
		return STORE_HURT_LOST;
	}
	if (strcmp(where, v->missing_where) != 0)
		missing_report(v);
	memcpy(v->missing_where, where, sizeof(where));
	hex_encode(p->id->bytes, CHUNK_ID_LEN, id);
	if (!v->missing++)
		snprintf(v->missing_first, sizeof(v->missing_first), "%s, of bytes %llu-%llu", id,
			 (unsigned long long)p->offset,
			 (unsigned long long)(p->offset + p->length - 1));
	return STORE_HURT_LOST;
}

static int lost_manifest(void *arg, const struct store_snapshot *row, const char *why,
			 struct manifest *out, struct err *err)
{
	(void)row;
	(void)out;
	(void)err;
	report(arg, "%s", why);
	return STORE_HURT_LOST;
}

static int snapshots_check(struct verify *v, struct err *err)
{
	const struct store_hurt walk = { .store = v->store,
					 .sound = sound,
					 .piece = piece,
					 .manifest = lost_manifest,
					 .arg = v,
					 .cancel = v->order->progress ? &v->order->progress->cancel
								      : NULL };
	int r;

	if (v->bad_count)
		qsort(v->bad, v->bad_count, sizeof(*v->bad), by_id);
	r = store_hurt_walk(&walk, err);
	missing_report(v);
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
