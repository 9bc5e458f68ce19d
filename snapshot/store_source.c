/* Reading: chunks of one request are taken in the order in which they lie in the packs, and neighbours are read at once. */
#include "snapshot/store_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/hex.h"
#include "common/io.h"

enum {
	SPAN_MAX = 2 << 20, /* bytes read at once */
	GAP_MAX = 16 << 10, /* bytes between two records that are read along rather than skipped */
};
_Static_assert((int)SPAN_MAX >= (int)CHUNK_MAX + (int)PACK_RECORD_EXTRA, "one record fits");

/* One chunk of a request: where it is, and its place in the request. */
struct wish {
	const struct store_place *place;
	const struct pack_entry *entry;
	size_t i;
};

static int by_place(const void *a, const void *b)
{
	const struct wish *x = a, *y = b;

	if (x->place->pack != y->place->pack)
		return x->place->pack < y->place->pack ? -1 : 1;
	return (x->entry->offset > y->entry->offset) - (x->entry->offset < y->entry->offset);
}

/* How many of the first wishes can be read at once, and how many bytes that is. */
static size_t span_of(const struct wish *wishes, size_t n, size_t *len)
{
	uint64_t start = wishes[0].entry->offset, end = start + pack_record_len(wishes[0].entry);
	size_t count = 1;

	for (; count < n && wishes[count].place->pack == wishes[0].place->pack; count++) {
		uint64_t next = wishes[count].entry->offset;
		uint64_t next_end = next + pack_record_len(wishes[count].entry);

		if (next > end + GAP_MAX || next_end - start > SPAN_MAX)
			break;
		if (next_end > end)
			end = next_end;
	}
	*len = (size_t)(end - start);
	return count;
}

/* What becomes of chunks: one of the two. */
struct delivery {
	chunk_arrived *fn; /* NULL: into `to` */
	void *arg;
	uint8_t *const *to;
	const size_t *len;
};

/* The chunk asked for twice in one request lies twice in the span: decrypting in place would spoil the second. */
static bool same_record(const struct wish *a, const struct wish *b)
{
	return a->place->pack == b->place->pack && a->entry == b->entry;
}

static int damaged(const struct wish *w, struct err *err, const char *why)
{
	char id[CHUNK_ID_TEXT_LEN];

	hex_encode(w->entry->id.bytes, CHUNK_ID_LEN, id);
	return err_say(err, EBADMSG, "pack %s, offset %u, chunk %s: %s", w->place->pack->name_text,
		       w->entry->offset, id, why);
}

/* At most two records of a span, with all wishes for each: they are hashed together. */
struct pair {
	struct chunk_encoded chunk[2];
	const struct wish *wish[2]; /* the first one for each */
	size_t count, wishes;
};

static int pair_parse(struct pair *pair, const struct wish *wishes, size_t n, uint8_t *first_record,
		      uint32_t first_offset, struct err *err)
{
	size_t i;

	pair->count = 0;
	for (i = 0; i < n; i++) {
		const struct wish *w = &wishes[i];
		int r;

		if (i && same_record(w, &wishes[i - 1]))
			continue;
		if (pair->count == 2)
			break;
		r = pack_record_decrypt(w->place->pack, w->entry,
					first_record + (w->entry->offset - first_offset),
					&pair->chunk[pair->count], err);
		if (r < 0)
			return r;
		pair->wish[pair->count++] = w;
	}
	pair->wishes = i;
	return 0;
}

static int pair_decode(const struct pair *pair, uint8_t *const raw[2], struct err *err)
{
	size_t bad = 0;
	int r = pair->count == 2 ? chunk_decode_pair(pair->chunk, raw, &bad, err)
				 : chunk_decode(&pair->chunk[0], raw[0], err);

	return r == CHUNK_CORRUPT
		       ? damaged(pair->wish[bad], err, "its content does not match its id")
		       : r;
}

static int deliver(const struct delivery *d, const struct wish *w, const uint8_t *data,
		   struct err *err)
{
	if (d->fn)
		return d->fn(d->arg, w->i, data, w->entry->raw_len, err);
	if (d->to[w->i] != data)
		memcpy(d->to[w->i], data, w->entry->raw_len);
	return 0;
}

/* buf: the span's bytes. raw: uint8_t[2 * CHUNK_MAX]. */
static int span_hand_over(const struct wish *wishes, size_t n, uint8_t *buf, uint8_t *raw,
			  const struct delivery *d, struct err *err)
{
	struct pair pair;

	for (size_t i = 0; i < n; i += pair.wishes) {
		uint8_t *rooms[2] = { raw, raw + CHUNK_MAX };
		int r = pair_parse(&pair, wishes + i, n - i,
				   buf + (wishes[i].entry->offset - wishes[0].entry->offset),
				   wishes[i].entry->offset, err);

		if (r < 0)
			return r;
		for (size_t k = 0; !d->fn && k < pair.count; k++)
			rooms[k] = d->to[pair.wish[k]->i];
		r = pair_decode(&pair, rooms, err);
		for (size_t k = 0; r == 0 && k < pair.wishes; k++) {
			const struct wish *w = &wishes[i + k];

			r = deliver(d, w, rooms[pair.count == 2 && w >= pair.wish[1]], err);
		}
		if (r < 0)
			return r;
	}
	return 0;
}

/* buf: uint8_t[SPAN_MAX + 2 * CHUNK_MAX]. */
static int wishes_read(const struct wish *wishes, size_t n, uint8_t *buf, const struct delivery *d,
		       struct err *err)
{
	int r;

	for (size_t i = 0; i < n;) {
		const struct pack *pack = wishes[i].place->pack;
		size_t len, count = span_of(wishes + i, n - i, &len);

		r = io_pread_full(pack->fd, buf, len, wishes[i].entry->offset);
		if (r == IO_SHORT)
			return damaged(&wishes[i], err, "the file was cut off");
		if (r < 0)
			return err_set(err, -r, "pack %s: read %zu bytes at %u", pack->name_text,
				       len, wishes[i].entry->offset);
		r = span_hand_over(wishes + i, count, buf, buf + SPAN_MAX, d, err);
		if (r < 0)
			return r;
		i += count;
	}
	return 0;
}

/* Nothing is written where it does not fit. */
static int lengths_check(const struct wish *wishes, size_t n, const struct delivery *d,
			 struct err *err)
{
	for (size_t i = 0; !d->fn && i < n; i++) {
		char text[CHUNK_ID_TEXT_LEN];

		if (wishes[i].entry->raw_len == d->len[wishes[i].i])
			continue;
		hex_encode(wishes[i].entry->id.bytes, CHUNK_ID_LEN, text);
		return err_say(err, EBADMSG, "chunk %s has %u bytes instead of %zu", text,
			       wishes[i].entry->raw_len, d->len[wishes[i].i]);
	}
	return 0;
}

/* first: which one of the request the first place is for. */
static int places_read(const struct store_place *places, size_t n, size_t first,
		       const struct delivery *d, struct err *err)
{
	CLEANUP_FREE struct wish *wishes = calloc(n + 1, sizeof(*wishes));
	CLEANUP_FREE uint8_t *buf = malloc(SPAN_MAX + 2 * CHUNK_MAX);
	int r;

	if (!wishes || !buf)
		return err_set(err, ENOMEM, "read %zu chunks", n);
	for (size_t i = 0; i < n; i++)
		wishes[i] = (struct wish){ &places[i], &places[i].pack->entries[places[i].record],
					   first + i };
	r = lengths_check(wishes, n, d, err);
	if (r < 0)
		return r;
	qsort(wishes, n, sizeof(*wishes), by_place);
	return wishes_read(wishes, n, buf, d, err);
}

int store_source_read(const struct store_place *places, size_t n, chunk_arrived *fn, void *arg,
		      struct err *err)
{
	return places_read(places, n, 0, &(struct delivery){ .fn = fn, .arg = arg }, err);
}

static int absent(const struct chunk_id *id, const char *where, struct err *err)
{
	char text[CHUNK_ID_TEXT_LEN];

	hex_encode(id->bytes, CHUNK_ID_LEN, text);
	return err_say(err, ENOENT, "chunk %s is not in domain %s of the store", text, where);
}

/* What is asked for, and where it is looked for. */
struct request {
	const struct chunk_id *ids;
	size_t n;
	/* As store_table_find, in a domain or in all. */
	int (*find)(void *ctx, const struct chunk_id *id, struct store_place *out, struct err *err);
	void *ctx;
	const char *where; /* the domain's name */
};

/* The chunks that are next, up to *end, in as many packs as may be held open at once: each is a descriptor, each thread has requests
 * of its own, and chunks that lie next to each other in a volume may lie in as many packs as there were backups.
 */
static int part_find(const struct request *q, size_t first, size_t packs_max,
		     struct store_place *places, size_t *end, struct err *err)
{
	size_t packs = 0, i;
	int r = 0;

	for (i = first; r == 0 && i < q->n && packs < packs_max; i++) {
		r = q->find(q->ctx, &q->ids[i], &places[i], err);
		if (r == STORE_ABSENT)
			r = absent(&q->ids[i], q->where, err);
		if (r < 0)
			break;
		packs += i == first || places[i].pack != places[i - 1].pack;
	}
	*end = i;
	/* Others have the descriptors now: what was found is something to go on with. */
	return (r == -EMFILE || r == -ENFILE) && i > first ? 0 : r;
}

static int request_read(const struct request *q, size_t packs_max, const struct delivery *d,
			struct err *err)
{
	CLEANUP_FREE struct store_place *places = calloc(q->n + 1, sizeof(*places));
	int r = 0;

	if (!places)
		return err_set(err, ENOMEM, "read %zu chunks", q->n);
	for (size_t first = 0, end; r == 0 && first < q->n; first = end) {
		r = part_find(q, first, packs_max, places, &end, err);
		if (r == 0)
			r = places_read(places + first, end - first, first, d, err);
		for (size_t i = first; i < end; i++)
			pack_unref(places[i].pack);
	}
	return r;
}

static int find_in_domain(void *ctx, const struct chunk_id *id, struct store_place *out,
			  struct err *err)
{
	return store_table_find(ctx, id, false, out, err);
}

static int domain_read(struct store_domain *domain, const struct chunk_id *ids, size_t n,
		       const struct delivery *d, struct err *err)
{
	const struct request q = {
		.ids = ids, .n = n, .find = find_in_domain, .ctx = domain, .where = domain->name
	};

	return request_read(&q, store_table_packs_held(domain->store), d, err);
}

static int get(void *ctx, const struct chunk_id *ids, size_t n, chunk_arrived *fn, void *arg,
	       struct err *err)
{
	return domain_read(ctx, ids, n, &(struct delivery){ .fn = fn, .arg = arg }, err);
}

static int get_to(void *ctx, const struct chunk_id *ids, size_t n, uint8_t *const *to,
		  const size_t *len, struct err *err)
{
	return domain_read(ctx, ids, n, &(struct delivery){ .to = to, .len = len }, err);
}

struct chunk_source store_source_of(struct store_domain *domain)
{
	return (struct chunk_source){ .ctx = domain, .get = get, .get_to = get_to };
}

int store_domain_source(struct store *store, const char *domain, struct chunk_source *out,
			struct err *err)
{
	struct store_domain *d = store_domain_get(store, domain, err);

	if (!d)
		return -ENOMEM;
	*out = store_source_of(d);
	return 0;
}

/* ---- Any domain: for whoever owns the store ---------------------------------------------------------------- */

static int find_anywhere(void *ctx, const struct chunk_id *id, struct store_place *out,
			 struct err *err)
{
	struct store *store = ctx;
	struct store_domain *domain;
	int r = STORE_ABSENT;

	pthread_mutex_lock(&store->lock);
	domain = store->domains;
	pthread_mutex_unlock(&store->lock);
	/* New domains go to the front of the list and none ever leaves it. */
	for (; domain && r == STORE_ABSENT; domain = domain->next)
		r = store_table_find(domain, id, false, out, err);
	return r;
}

static int get_anywhere(void *ctx, const struct chunk_id *ids, size_t n, chunk_arrived *fn,
			void *arg, struct err *err)
{
	const struct request q = {
		.ids = ids, .n = n, .find = find_anywhere, .ctx = ctx, .where = "any"
	};

	return request_read(&q, store_table_packs_held(ctx),
			    &(struct delivery){ .fn = fn, .arg = arg }, err);
}

struct chunk_source store_source(struct store *store)
{
	return (struct chunk_source){ .ctx = store, .get = get_anywhere };
}

static int read_encoded(struct store_place *place, uint8_t *buf, struct chunk_encoded *out,
			struct err *err)
{
	CLEANUP_FREE uint8_t *record = malloc(CHUNK_MAX + PACK_RECORD_EXTRA);
	int r;

	if (!record)
		return err_set(err, ENOMEM, "read a chunk");
	r = pack_read(place->pack, place->record, record, out, err);
	if (r < 0)
		return r;
	memcpy(buf, out->data, out->len);
	out->data = buf;
	return 0;
}

int store_get_encoded(struct store *store, const struct chunk_id *id, uint8_t *buf,
		      struct chunk_encoded *out, struct err *err)
{
	struct store_place place = { 0 };
	int r = find_anywhere(store, id, &place, err);

	if (r)
		return r;
	r = read_encoded(&place, buf, out, err);
	pack_unref(place.pack);
	return r;
}

int store_domain_get_encoded(struct store *store, const char *domain, const struct chunk_id *id,
			     uint8_t *buf, struct chunk_encoded *out, struct err *err)
{
	struct store_domain *d = store_domain_get(store, domain, err);
	struct store_place place = { 0 };
	int r;

	if (!d)
		return -ENOMEM;
	r = store_table_find(d, id, false, &place, err);
	if (r)
		return r;
	r = read_encoded(&place, buf, out, err);
	pack_unref(place.pack);
	return r;
}
