#include "mgmt-server/scan/scan_rescan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mgmt-server/scan/identity_memo.h"
#include "mgmt-server/scan/scan_index_inside.h"
#include "snapshot/store.h"

struct id {
	char text[SCAN_INDEX_ID_MAX];
};

struct ids {
	struct id *items;
	size_t count, capacity;
};

struct place { /* one of a content without a verdict */
	uint64_t content, partition, inode, first, last;
	bool done;
};

struct snapshot {
	char id[SCAN_INDEX_ID_MAX];
	uint64_t seq;
};

struct run {
	const struct scan_rescan *order;
	struct scan_rescan_result *result;
	struct scan_memo_file memo;
	struct place *places; /* of one desktop, by content */
	size_t place_count, place_capacity;
	struct snapshot *snapshots; /* of one desktop, the newest first */
	size_t snapshot_count, snapshot_capacity;
	struct scan_index_wanted *wanted;
};

static struct db *db_of(const struct run *run)
{
	return scan_state_db(run->order->state);
}

/* ---- what is still there ---- */

static int compare_ids(const void *a, const void *b)
{
	return strcmp(((const struct id *)a)->text, ((const struct id *)b)->text);
}

static int keep_id(struct ids *ids, const char *text, struct err *err)
{
	struct id *id = scan_index_grow((void **)&ids->items, &ids->count, &ids->capacity,
					sizeof(*ids->items));

	if (!id)
		return err_set(err, ENOMEM, "list snapshots");
	snprintf(id->text, sizeof(id->text), "%s", text);
	return 0;
}

static int stored_seen(void *arg, const struct manifest *m, struct err *err)
{
	return keep_id(arg, m->id, err);
}

static int indexed_seen(void *arg, const struct db_row *row, struct err *err)
{
	return keep_id(arg, db_column_text(row, 0), err);
}

static int list_stored(const struct run *run, struct ids *ids, struct err *err)
{
	struct store *store;
	int r = store_open(&store, run->order->store, run->order->key, STORE_READ, err);

	if (r < 0)
		return r;
	r = store_list(store, stored_seen, ids, err);
	store_close(store);
	if (r >= 0 && ids->count)
		qsort(ids->items, ids->count, sizeof(*ids->items), compare_ids);
	return r < 0 ? r : 0;
}

static int forget_gone(struct db_conn *c, const struct ids *stored, struct err *err)
{
	struct ids indexed = { 0 };
	int r = db_each(c, indexed_seen, &indexed, "SELECT id FROM snapshots", DB_NO_VALUES, err);

	for (size_t i = 0; r >= 0 && i < indexed.count; i++) {
		if (!stored->count || !bsearch(&indexed.items[i], stored->items, stored->count,
					       sizeof(*stored->items), compare_ids))
			r = db_run(c, "DELETE FROM snapshots WHERE id = $1",
				   DB_VALUES(db_t(indexed.items[i].text)), err);
	}
	free(indexed.items);
	/* Closed places of no snapshot any more. Open ones are what the next scan is compared with. */
	if (r >= 0)
		r = db_run(
			c,
			"DELETE FROM places WHERE last IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "
			"partitions q JOIN snapshots s ON s.desktop = q.desktop "
			"WHERE q.id = places.partition_id AND s.seq BETWEEN places.first AND "
			"places.last)",
			DB_NO_VALUES, err);
	return r < 0 ? r : identity_memo_tidy(c, err);
}

static int tidy(const struct run *run, struct err *err)
{
	struct ids stored = { 0 };
	struct db_conn *c;
	int r = list_stored(run, &stored, err);

	if (r == 0)
		r = db_begin(db_of(run), &c, err);
	if (r == 0) {
		r = forget_gone(c, &stored, err);
		if (r < 0)
			db_abort(c);
		else
			r = db_commit(c, err);
	}
	free(stored.items);
	return r;
}

/* ---- one desktop ---- */

static int place_seen(void *arg, const struct db_row *row, struct err *err)
{
	struct run *run = arg;
	struct place *p = scan_index_grow((void **)&run->places, &run->place_count,
					  &run->place_capacity, sizeof(*run->places));

	if (!p)
		return err_set(err, ENOMEM, "list contents");
	*p = (struct place){ .content = db_column_int(row, 0),
			     .partition = db_column_int(row, 1),
			     .inode = db_column_int(row, 2),
			     .first = db_column_int(row, 3),
			     .last = db_column_int(row, 4) };
	return 0;
}

static int snapshot_seen(void *arg, const struct db_row *row, struct err *err)
{
	struct run *run = arg;
	struct snapshot *s = scan_index_grow((void **)&run->snapshots, &run->snapshot_count,
					     &run->snapshot_capacity, sizeof(*run->snapshots));

	if (!s)
		return err_set(err, ENOMEM, "list snapshots");
	db_column_copy(row, 0, s->id, sizeof(s->id));
	s->seq = db_column_int(row, 1);
	return 0;
}

static int load_desktop(struct run *run, uint64_t desktop, struct err *err)
{
	struct db_conn *c = db_read(db_of(run));
	int r;

	run->place_count = run->snapshot_count = 0;
	r = db_each(c, place_seen, run,
		    "SELECT p.content, p.partition_id, p.inode, p.first, COALESCE(p.last, d.seq) "
		    "FROM places p JOIN partitions q ON q.id = p.partition_id "
		    "JOIN desktops d ON d.id = q.desktop JOIN contents c ON c.id = p.content "
		    "LEFT JOIN verdicts v ON v.set_id = $2 AND v.content = p.content AND v.verdict "
		    "<> 2 "
		    "WHERE q.desktop = $1 AND v.content IS NULL AND c.size > 0 ORDER BY p.content",
		    DB_VALUES(db_i(desktop), db_i(run->memo.set.id)), err);
	if (r >= 0)
		r = db_each(c, snapshot_seen, run,
			    "SELECT id, seq FROM snapshots WHERE desktop = $1 ORDER BY seq DESC",
			    DB_VALUES(db_i(desktop)), err);
	db_read_end(c);
	return r < 0 ? r : 0;
}

static int compare_wanted(const void *a, const void *b)
{
	const struct scan_index_wanted *x = a, *y = b;

	if (x->partition != y->partition)
		return x->partition < y->partition ? -1 : 1;
	return x->inode < y->inode ? -1 : x->inode > y->inode;
}

/* One place in the snapshot for each content that still needs one. */
static size_t choose(struct run *run, uint64_t seq)
{
	uint64_t chosen = 0;
	size_t count = 0;

	for (size_t i = 0; i < run->place_count; i++) {
		struct place *p = &run->places[i];

		if (p->done || p->first > seq || p->last < seq)
			continue;
		p->done = true;
		if (p->content == chosen)
			continue;
		chosen = p->content;
		run->wanted[count++] = (struct scan_index_wanted){ p->partition, p->inode };
	}
	/* A content that was chosen here needs no other place in an older snapshot. */
	for (size_t i = 1; i < run->place_count; i++) {
		if (run->places[i].content == run->places[i - 1].content)
			run->places[i].done |= run->places[i - 1].done;
	}
	for (size_t i = run->place_count; i-- > 1;) {
		if (run->places[i].content == run->places[i - 1].content)
			run->places[i - 1].done |= run->places[i].done;
	}
	if (count)
		qsort(run->wanted, count, sizeof(*run->wanted), compare_wanted);
	return count;
}

static int read_snapshot(struct run *run, const struct snapshot *which, size_t count,
			 struct err *err)
{
	CLEANUP(scan_snapshot_close) struct scan_snapshot *snapshot = NULL;
	const struct scan_rescan *o = run->order;
	const struct scan_snapshot_order open_order = {
		.store = o->store, .key = o->key, .id = which->id, .plugin = o->plugin
	};
	struct scan_order order = { .signatures = o->signatures,
				    .memo = &run->memo.memo,
				    .workers = o->workers,
				    .libexec = o->libexec,
				    .arg = o->arg,
				    .file = o->file,
				    .reason = o->reason,
				    .cancel = o->cancel };
	struct scan_result result;
	int r = scan_snapshot_open(&snapshot, &open_order, err);

	if (r == -ENOENT)
		return 0; /* it went just now; its contents stay without a verdict */
	if (r == 0)
		r = scan_memo_wanted(&run->memo, snapshot, run->wanted, count, err);
	if (r < 0)
		return r;
	order.volumes = scan_snapshot_volumes(snapshot, &order.volume_count);
	r = scan_run(&order, &result, err);
	run->result->scanned += result.scanned_contents;
	run->result->snapshots_read++;
	if (r == 0 && !run->memo.set.loaded)
		r = err_say(err, EINVAL, "the signatures in %s could not be loaded", o->signatures);
	if (r == 0 && result.unwritten[0])
		r = err_say(err, EIO, "%s", result.unwritten);
	return r;
}

static int rescan_desktop(struct run *run, uint64_t desktop, struct err *err)
{
	int r = load_desktop(run, desktop, err);

	if (r < 0 || !run->place_count)
		return r;
	free(run->wanted);
	run->wanted = calloc(run->place_count, sizeof(*run->wanted));
	if (!run->wanted)
		return err_set(err, ENOMEM, "list contents");
	for (size_t i = 0; r == 0 && i < run->snapshot_count; i++) {
		size_t count = choose(run, run->snapshots[i].seq);

		if (count)
			r = read_snapshot(run, &run->snapshots[i], count, err);
		if (r == 0 && run->order->cancel && atomic_load(run->order->cancel))
			r = err_say(err, ECANCELED, "cancelled");
	}
	return r;
}

/* ---- all of them ---- */

static int number_seen(void *arg, const struct db_row *row, struct err *err)
{
	struct ids *ids = arg;

	return keep_id(ids, db_column_text(row, 0), err);
}

static int rescan_all(struct run *run, struct err *err)
{
	struct ids desktops = { 0 };
	struct db_conn *c = db_read(db_of(run));
	int r = db_each(c, number_seen, &desktops, "SELECT id FROM desktops ORDER BY id",
			DB_NO_VALUES, err);

	db_read_end(c);
	for (size_t i = 0; r >= 0 && i < desktops.count; i++)
		r = rescan_desktop(run, strtoull(desktops.items[i].text, NULL, 10), err);
	free(desktops.items);
	return r < 0 ? r : 0;
}

/* What has no verdict now could not be read anywhere. */
static int mark_unread(const struct run *run, struct err *err)
{
	struct db_conn *c;
	int r = db_begin(db_of(run), &c, err);

	if (r < 0)
		return r;
	r = db_run(c,
		   "INSERT INTO verdicts (set_id, content, verdict, text) "
		   "SELECT $1, c.id, 2, 'it could not be read to be scanned again' FROM contents c "
		   "WHERE c.size > 0 AND EXISTS (SELECT 1 FROM places p WHERE p.content = c.id) "
		   "AND NOT EXISTS "
		   "(SELECT 1 FROM verdicts v WHERE v.set_id = $1 AND v.content = c.id)",
		   DB_VALUES(db_i(run->memo.set.id)), err);
	if (r < 0) {
		db_abort(c);
		return r;
	}
	return db_commit(c, err);
}

static int count_all(const struct run *run, struct err *err)
{
	struct db_conn *c = db_read(db_of(run));
	int r = db_number(c, &run->result->contents,
			  "SELECT COUNT(DISTINCT p.content) FROM places p JOIN contents c ON c.id "
			  "= p.content "
			  "WHERE c.size > 0",
			  DB_NO_VALUES, err);

	if (r >= 0)
		r = db_number(
			c, &run->result->unread,
			"SELECT COUNT(*) FROM verdicts v WHERE v.set_id = $1 AND v.verdict = 2 AND "
			"EXISTS (SELECT 1 FROM places p WHERE p.content = v.content)",
			DB_VALUES(db_i(run->memo.set.id)), err);
	db_read_end(c);
	return r < 0 ? r : 0;
}

int scan_rescan_run(const struct scan_rescan *order, struct scan_rescan_result *result,
		    struct err *err)
{
	struct run run = { .order = order, .result = result };
	int r;

	*result = (struct scan_rescan_result){ 0 };
	r = scan_memo_open(&run.memo, order->state, order->signatures, order->libexec, order->hunt,
			   err);
	if (r == 0)
		r = tidy(&run, err);
	if (r == 0) {
		run.memo.memo.keeps_engine = true;
		r = rescan_all(&run, err);
	}
	if (r == 0)
		r = mark_unread(&run, err);
	if (r == 0)
		r = count_all(&run, err);
	result->set = run.memo.set.id;
	memcpy(result->engine, run.memo.set.engine, sizeof(result->engine));
	memcpy(result->signature_version, run.memo.set.signature_version,
	       sizeof(result->signature_version));
	scan_memo_close(&run.memo);
	free(run.places);
	free(run.snapshots);
	free(run.wanted);
	return r;
}
