/* How a volume gets into a store.
 *
 * The unit of work is a leaf node: up to 256 blocks. Worker threads take units from a counter; each reads a unit in
 * batches of READ_MAX bytes and does everything with a batch itself (zero detection, hash, query, compress, hand over),
 * so bytes stay in that processor's cache and memory is bounded by threads × READ_MAX. What remains are the ids of the
 * leaf nodes that changed; the levels above are then built from those and the parent's nodes, cost O(changed).
 */
#include "snapshot/volume.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "snapshot/volume_threads.h"
#include "snapshot/volume_tree.h"

enum { READ_MAX = CHUNK_MAX, BATCH_MAX = READ_MAX / 4096 };

/* A node that is new: its place in its level, and its id (known after it was handed over). */
struct unit {
	uint64_t index;
	struct chunk_id id;
};

/* Constant while workers run, but for `next` and the statistics. */
struct put {
	const struct volume_put *order;
	const char *name;
	struct volume_tree tree, old;
	struct volume_reader *old_reader; /* NULL: nothing to take over or compare with */
	bool take_over;                   /* blocks outside `changed` are the parent's */
	struct volume_extent *changed; /* sorted, merged, with what growing or shrinking touches */
	size_t changed_count;
	struct unit *units;
	size_t unit_count;
	atomic_size_t next;
	atomic_uint_fast64_t read_bytes, new_bytes, stored_bytes;
};

/* One worker's memory. */
struct worker {
	struct put *put;
	uint8_t *raw, *encoded; /* READ_MAX each */
	size_t changed_at;      /* where in put->changed this worker's unit is */
	uint64_t extent_end;    /* the input is alike from some earlier offset up to here */
	bool extent_zero;
	struct chunk_id ids[VOLUME_FANOUT], old_ids[VOLUME_FANOUT];
};

static bool cancelled(const struct put *put)
{
	return put->order->progress && atomic_load(&put->order->progress->cancel);
}

static void progress_add(const struct put *put, uint64_t bytes)
{
	if (put->order->progress)
		atomic_fetch_add(&put->order->progress->done_bytes, bytes);
}

/* ---- Handing chunks over ---------------------------------------------------------------------------------- */

/* A batch of chunks that are not known to be in the store. */
struct batch {
	size_t count;
	struct chunk_id ids[BATCH_MAX];
	const uint8_t *raw[BATCH_MAX];
	size_t len[BATCH_MAX];
};

static int batch_encode(struct put *put, const struct batch *batch, const uint8_t *present,
			uint8_t *buf, struct chunk_encoded *out, size_t *count, struct err *err)
{
	uint64_t raw = 0, stored = 0;
	size_t n = 0;

	for (size_t i = 0; i < batch->count; i++) {
		size_t twin = 0;
		int r;

		if (present[i / 8] >> (i % 8) & 1)
			continue;
		while (twin < n && !chunk_id_equal(&out[twin].id, &batch->ids[i]))
			twin++;
		if (twin < n)
			continue;
		out[n].id = batch->ids[i];
		r = chunk_encode(put->order->codec, batch->raw[i], batch->len[i], buf, &out[n],
				 err);
		if (r < 0)
			return r;
		if (out[n].data == buf)
			buf += out[n].len;
		raw += out[n].raw_len;
		stored += out[n].len;
		n++;
	}
	atomic_fetch_add(&put->new_bytes, raw);
	atomic_fetch_add(&put->stored_bytes, stored);
	*count = n;
	return 0;
}

/* buf: room for the encoded form of all of @batch. */
static int batch_hand_over(struct put *put, const struct batch *batch, uint8_t *buf,
			   struct err *err)
{
	const struct chunk_sink *sink = &put->order->sink;
	uint8_t present[BATCH_MAX / 8] = { 0 };
	struct chunk_encoded out[BATCH_MAX];
	size_t n = 0;
	int r;

	if (!batch->count)
		return 0;
	r = sink->query(sink->ctx, batch->ids, batch->count, present, err);
	if (r < 0)
		return r;
	r = batch_encode(put, batch, present, buf, out, &n, err);
	if (r < 0)
		return r;
	return n ? sink->put(sink->ctx, out, n, err) : 0;
}

/* Hand a node over; @id is the zero id when all its children are zeros. */
static int node_put(struct put *put, const struct chunk_id *children, size_t n, struct chunk_id *id,
		    struct err *err)
{
	uint8_t buf[VOLUME_FANOUT * CHUNK_ID_LEN];
	struct batch batch = { .count = 1 };

	memset(id, 0, sizeof(*id));
	if (chunk_is_zero(children, n * sizeof(*children)))
		return 0;
	chunk_id_of(children, n * sizeof(*children), id);
	batch.ids[0] = *id;
	batch.raw[0] = children->bytes;
	batch.len[0] = n * sizeof(*children);
	return batch_hand_over(put, &batch, buf, err);
}

/* ---- One unit --------------------------------------------------------------------------------------------- */

static bool block_changed(struct worker *w, uint64_t block)
{
	const struct put *put = w->put;
	uint64_t start = block * put->tree.grid;
	uint64_t end = start + volume_tree_block_len(&put->tree, block);

	if (!put->take_over)
		return true;
	while (w->changed_at < put->changed_count &&
	       put->changed[w->changed_at].offset + put->changed[w->changed_at].length <= start)
		w->changed_at++;
	return w->changed_at < put->changed_count && put->changed[w->changed_at].offset < end;
}

/* Is all of @len bytes at @offset known to be zeros? */
static int known_zero(struct worker *w, uint64_t offset, size_t len, bool *zero, struct err *err)
{
	const struct volume_input *input = w->put->order->input;

	*zero = false;
	if (!input->extent)
		return 0;
	if (offset >= w->extent_end) {
		uint64_t n;
		int r = input->extent(input->ctx, offset, &n, &w->extent_zero, err);

		if (r < 0)
			return r;
		w->extent_end = offset + n;
	}
	*zero = w->extent_zero && offset + len <= w->extent_end;
	return 0;
}

/* The ids of blocks [first, first + n), which lie at w->raw, into w->ids from @at on; what is not the old volume's into @batch. */
static void blocks_hash(struct worker *w, uint64_t first, size_t n, size_t at, struct batch *batch)
{
	const struct volume_tree *tree = &w->put->tree;
	size_t place[BATCH_MAX], count = 0;

	for (size_t i = 0; i < n; i++) {
		batch->raw[count] = w->raw + i * tree->grid;
		batch->len[count] = volume_tree_block_len(tree, first + i);
		place[count] = at + i;
		count += !chunk_is_zero(batch->raw[count], batch->len[count]);
	}
	chunk_ids_of(batch->raw, batch->len, count, batch->ids);
	batch->count = 0;
	for (size_t i = 0; i < count; i++) {
		w->ids[place[i]] = batch->ids[i];
		if (w->put->old_reader && chunk_id_equal(&batch->ids[i], &w->old_ids[place[i]]))
			continue;
		batch->ids[batch->count] = batch->ids[i];
		batch->raw[batch->count] = batch->raw[i];
		batch->len[batch->count++] = batch->len[i];
	}
}

/* Read blocks [first, first + n) of the volume, all of them data, and hand over what is new. */
static int blocks_put(struct worker *w, uint64_t first, size_t n, uint64_t unit_first,
		      struct err *err)
{
	struct put *put = w->put;
	const struct volume_input *input = put->order->input;
	uint64_t offset = first * put->tree.grid;
	size_t len =
		(size_t)(n - 1) * put->tree.grid + volume_tree_block_len(&put->tree, first + n - 1);
	struct batch batch;
	int r;

	volume_progress_pace(put->order->progress, len);
	r = input->read(input->ctx, w->raw, len, offset, err);
	if (r < 0)
		return r;
	atomic_fetch_add(&put->read_bytes, len);
	blocks_hash(w, first, n, (size_t)(first - unit_first), &batch);
	progress_add(put, len);
	return batch_hand_over(put, &batch, w->encoded, err);
}

static int old_ids(struct put *put, uint64_t first, size_t n, struct chunk_id *ids, struct err *err)
{
	size_t have = 0;

	memset(ids, 0, n * sizeof(*ids));
	if (first < put->old.count[0])
		have = put->old.count[0] - first < n ? (size_t)(put->old.count[0] - first) : n;
	return volume_reader_ids(put->old_reader, first, have, ids, err);
}

/* Fill w->ids for blocks [first, first + n). */
static int unit_blocks(struct worker *w, uint64_t first, size_t n, struct err *err)
{
	struct put *put = w->put;
	size_t i = 0, batch_blocks = READ_MAX / put->tree.grid;
	int r;

	memset(w->ids, 0, n * sizeof(*w->ids));
	if (put->old_reader) {
		r = old_ids(put, first, n, w->old_ids, err);
		if (r < 0)
			return r;
	}
	while (i < n) {
		size_t run = 0;

		/* As many neighbours as have to be read and fit. */
		while (i + run < n && run < batch_blocks) {
			uint64_t block = first + i + run;
			size_t len = volume_tree_block_len(&put->tree, block);
			bool zero = false;

			if (!block_changed(w, block)) {
				w->ids[i + run] = w->old_ids[i + run];
			} else {
				r = known_zero(w, block * put->tree.grid, len, &zero, err);
				if (r < 0)
					return r;
				if (!zero) {
					run++;
					continue;
				}
				progress_add(put, len);
			}
			/* This block is settled: read what came before it, then go on behind it. */
			if (run)
				break;
			i++;
		}
		if (!run)
			continue;
		if (cancelled(put))
			return err_say(err, ECANCELED, "volume %s: cancelled", put->name);
		r = blocks_put(w, first + i, run, first, err);
		if (r < 0)
			return r;
		i += run;
	}
	return 0;
}

static int unit_put(struct worker *w, struct unit *unit, struct err *err)
{
	struct put *put = w->put;
	uint64_t first = unit->index * VOLUME_FANOUT;
	size_t n = put->tree.height ? volume_tree_children(&put->tree, 1, unit->index) : 1;
	int r;

	r = unit_blocks(w, first, n, err);
	if (r < 0)
		return r;
	if (put->tree.height == 0) {
		unit->id = w->ids[0];
		return 0;
	}
	return node_put(put, w->ids, n, &unit->id, err);
}

static int worker_run(void *arg, struct err *err)
{
	CLEANUP_FREE struct worker *w = calloc(1, sizeof(*w));
	CLEANUP_FREE uint8_t *bufs = malloc((size_t)2 * READ_MAX);
	struct put *put = arg;
	size_t i;

	if (!w || !bufs)
		return err_set(err, ENOMEM, "volume %s: buffers", put->name);
	*w = (struct worker){ .put = put, .raw = bufs, .encoded = bufs + READ_MAX };
	while ((i = atomic_fetch_add(&put->next, 1)) < put->unit_count) {
		int r = unit_put(w, &put->units[i], err);

		if (r < 0) {
			atomic_store(&put->next, put->unit_count); /* the others need not go on */
			return r;
		}
	}
	return 0;
}

/* ---- Above the leaves ------------------------------------------------------------------------------------- */

struct node_copy {
	struct chunk_id *ids; /* VOLUME_FANOUT of them */
	const struct put *put;
};

static int node_copy(void *arg, size_t i, const uint8_t *data, size_t len, struct err *err)
{
	struct node_copy *copy = arg;

	(void)i;
	if (len % CHUNK_ID_LEN || len > VOLUME_FANOUT * CHUNK_ID_LEN)
		return err_say(err, EBADMSG, "volume %s: a tree node of the parent has %zu bytes",
			       copy->put->name, len);
	memcpy(copy->ids, data, len);
	return 0;
}

/* The ids that children [first, first + n) of @level - 1 had in the parent: walk down from its root, one fetch a level.
 *
 * Zero ids where the parent had none. Also at and above the parent's root when the volume has grown taller: the one child
 * that covers what was there has changed then (changed_prepare), so its old id is not asked for.
 */
static int old_children(struct put *put, unsigned level, uint64_t first, size_t n,
			struct chunk_id *ids, struct err *err)
{
	struct chunk_id path[VOLUME_FANOUT] = { 0 };
	struct chunk_source source = put->order->parent_source;
	struct chunk_id id = { 0 };
	int r;

	memset(ids, 0, n * sizeof(*ids));
	if (!put->take_over || level > put->old.height || first >= put->old.count[level - 1])
		return 0;
	for (unsigned at = put->old.height; at >= level; at--) {
		uint64_t index = (first / VOLUME_FANOUT) >> (8 * (at - level));
		struct node_copy copy = { path, put };

		id = at == put->old.height ? put->order->parent->root : path[index % VOLUME_FANOUT];
		memset(path, 0, sizeof(path));
		if (chunk_id_is_zero(&id))
			return 0;
		r = source.get(source.ctx, &id, 1, node_copy, &copy, err);
		if (r < 0)
			return r;
	}
	memcpy(ids, path, n * sizeof(*ids));
	return 0;
}

/* Replace the changed nodes of @level - 1 in `units` by their changed parents. */
static int level_put(struct put *put, unsigned level, struct err *err)
{
	size_t in = 0, out = 0;

	while (in < put->unit_count) {
		struct chunk_id children[VOLUME_FANOUT];
		uint64_t index = put->units[in].index / VOLUME_FANOUT;
		size_t n = volume_tree_children(&put->tree, level, index);
		int r;

		r = old_children(put, level, index * VOLUME_FANOUT, n, children, err);
		if (r < 0)
			return r;
		for (; in < put->unit_count && put->units[in].index / VOLUME_FANOUT == index; in++)
			children[put->units[in].index % VOLUME_FANOUT] = put->units[in].id;
		put->units[out].index = index;
		r = node_put(put, children, n, &put->units[out++].id, err);
		if (r < 0)
			return r;
	}
	put->unit_count = out;
	return 0;
}

/* ---- What has to be done ---------------------------------------------------------------------------------- */

static int by_offset(const void *a, const void *b)
{
	const struct volume_extent *x = a, *y = b;

	return (x->offset > y->offset) - (x->offset < y->offset);
}

static struct volume_extent whole_blocks(const struct put *put, struct volume_extent e)
{
	uint64_t first = e.offset / put->tree.grid;
	uint64_t last = (e.offset + e.length - 1) / put->tree.grid;
	uint64_t offset = first * put->tree.grid;

	return (struct volume_extent){
		offset, last * put->tree.grid + volume_tree_block_len(&put->tree, last) - offset
	};
}

/* Sort and merge what the caller calls changed, cut to the volume; add what a change of size touches. */
static int changed_prepare(struct put *put, struct err *err)
{
	const struct volume_put *order = put->order;
	uint64_t size = put->tree.size, smaller = size < put->old.size ? size : put->old.size;
	size_t n = 0;

	put->changed = calloc(order->changed_count + 1, sizeof(*put->changed));
	if (!put->changed)
		return err_set(err, ENOMEM, "volume %s: changed extents", put->name);
	for (size_t i = 0; i < order->changed_count; i++) {
		struct volume_extent e = order->changed[i];

		if (e.offset >= size || !e.length)
			continue;
		if (e.length > size - e.offset)
			e.length = size - e.offset;
		put->changed[n++] = whole_blocks(put, e);
	}
	if (size != put->old.size && size) {
		uint64_t from = smaller ? (smaller - 1) / put->tree.grid * put->tree.grid : 0;

		put->changed[n++] = (struct volume_extent){ from, size - from };
	}
	qsort(put->changed, n, sizeof(*put->changed), by_offset);
	for (size_t i = 0; i < n; i++) {
		struct volume_extent e = put->changed[i];
		struct volume_extent *last =
			put->changed_count ? &put->changed[put->changed_count - 1] : NULL;

		if (last && e.offset <= last->offset + last->length) {
			if (e.offset + e.length > last->offset + last->length)
				last->length = e.offset + e.length - last->offset;
		} else {
			put->changed[put->changed_count++] = e;
		}
	}
	return 0;
}

static uint64_t units_total(const struct put *put)
{
	return put->tree.height ? put->tree.count[1] : put->tree.count[0];
}

/* The units that @extents touch are counted, and listed when @out is given. */
static size_t units_of(const struct put *put, struct unit *out)
{
	uint64_t unit_bytes = (uint64_t)put->tree.grid * VOLUME_FANOUT, next = 0;
	size_t n = 0;

	for (size_t i = 0; i < put->changed_count; i++) {
		const struct volume_extent *e = &put->changed[i];
		uint64_t first = e->offset / unit_bytes;
		uint64_t last = (e->offset + e->length - 1) / unit_bytes;

		for (uint64_t u = first > next ? first : next; u <= last; u++, n++)
			if (out)
				out[n].index = u;
		next = last + 1;
	}
	return n;
}

static int units_prepare(struct put *put, struct err *err)
{
	size_t n = put->take_over ? units_of(put, NULL) : (size_t)units_total(put);
	uint64_t total = 0;

	put->units = calloc(n + 1, sizeof(*put->units));
	if (!put->units)
		return err_set(err, ENOMEM, "volume %s: list of %zu nodes", put->name, n);
	put->unit_count = n;
	if (put->take_over)
		units_of(put, put->units);
	else
		for (size_t i = 0; i < n; i++)
			put->units[i].index = i;

	for (size_t i = 0; i < put->changed_count; i++)
		total += put->changed[i].length;
	if (put->order->progress)
		atomic_fetch_add(&put->order->progress->total_bytes,
				 put->take_over ? total : put->tree.size);
	return 0;
}

static int parent_prepare(struct put *put, struct err *err)
{
	const struct volume_put *order = put->order;
	int r;

	if (!order->parent || order->parent->grid != put->tree.grid)
		return 0;
	r = volume_reader_open(&put->old_reader, order->parent, order->parent_source, err);
	if (r < 0)
		return r;
	volume_tree_init(&put->old, order->parent->size, order->parent->grid);
	put->take_over = order->changed != NULL;
	return put->take_over ? changed_prepare(put, err) : 0;
}

static int workers_run(struct put *put, struct err *err)
{
	CLEANUP(task_pool_free) struct task_pool *pool = NULL;
	unsigned threads = volume_threads(put->order->threads);
	int r;

	if (put->unit_count <= 1)
		return worker_run(put, err);
	r = task_pool_new(&pool, threads, 64, err);
	if (r < 0)
		return r;
	for (unsigned i = 0; i < task_pool_threads(pool); i++) {
		r = task_pool_submit(pool, worker_run, put);
		if (r < 0)
			break;
	}
	return task_pool_wait(pool, err);
}

static void put_deinit(struct put *put)
{
	volume_reader_close(put->old_reader);
	free(put->changed);
	free(put->units);
}

static int put_run(struct put *put, struct volume *volume, struct err *err)
{
	int r;

	r = parent_prepare(put, err);
	if (r < 0)
		return r;
	r = units_prepare(put, err);
	if (r < 0)
		return r;
	r = workers_run(put, err);
	if (r < 0)
		return r;
	for (unsigned level = 2; level <= put->tree.height; level++) {
		r = level_put(put, level, err);
		if (r < 0)
			return r;
	}
	memset(&volume->root, 0, sizeof(volume->root));
	if (put->unit_count)
		volume->root = put->units[0].id;
	else if (put->tree.size)
		volume->root = put->order->parent->root; /* nothing changed */
	return 0;
}

int volume_put(const struct volume_put *order, struct volume *volume,
	       struct volume_put_stats *stats, struct err *err)
{
	struct put put = { .order = order, .name = volume->name };
	int r;

	if (!volume_tree_grid_valid(volume->grid))
		return err_say(err, EINVAL, "volume %s: a grid of %u bytes is not valid",
			       volume->name, volume->grid);
	volume_tree_init(&put.tree, order->input->size, volume->grid);
	r = put_run(&put, volume, err);
	if (r == 0)
		volume->size = order->input->size;
	if (stats) {
		stats->read_bytes += put.read_bytes;
		stats->new_bytes += put.new_bytes;
		stats->stored_bytes += put.stored_bytes;
	}
	put_deinit(&put);
	return r;
}
