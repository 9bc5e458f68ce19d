/* bench_store_gc.c FOLDER CHUNKS SNAPSHOTS: garbage collection of a store with so many chunks, in CPU seconds and bytes read.
 *
 * One disk of CHUNKS blocks of 4 KiB, each of them a chunk of its own that compresses to almost nothing, and SNAPSHOTS snapshots of it; each
 * rewrites a thousand blocks, far apart, of the one before. Then: a first GC, which counts everything; one after which
 * nothing changed; and some after each of which the oldest snapshot goes and a new one comes.
 */
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "snapshot/store.h"
#include "snapshot/volume.h"

enum { GRID = 4096, CHANGED = 1000, ROUNDS = 5 };

struct disk {
	uint64_t chunks, share; /* share: every so many'th block is rewritten at a time */
	uint64_t
		version; /* block i was last written by the newest version v <= version with i % share == v * 7 % share; else by 0 */
};

static uint64_t written_by(const struct disk *d, uint64_t block)
{
	for (uint64_t v = d->version; v > 0 && d->version - v < d->share; v--)
		if (block % d->share == v * 7 % d->share)
			return v;
	return 0;
}

static int disk_read(void *ctx, uint8_t *buf, size_t len, uint64_t offset, struct err *err)
{
	const struct disk *d = ctx;

	(void)err;
	memset(buf, 0, len);
	for (size_t at = 0; at < len; at += GRID) {
		uint64_t words[2] = { (offset + at) / GRID + 1,
				      written_by(d, (offset + at) / GRID) };

		memcpy(buf + at, words, sizeof(words));
	}
	return 0;
}

static void die(const struct err *err)
{
	fprintf(stderr, "bench_store_gc: %s\n", err_text(err));
	exit(1);
}

static double cpu_seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Bytes that this process has read, by whatever call. */
static uint64_t bytes_read(void)
{
	FILE *f = fopen("/proc/self/io", "r");
	unsigned long long n = 0;

	if (!f || fscanf(f, "rchar: %llu", &n) != 1)
		n = 0;
	if (f)
		fclose(f);
	return n;
}

static struct store *open_store(const char *path)
{
	struct store *store;
	struct err err = { 0 };

	if (store_open(&store, path, NULL, STORE_WRITE, &err) < 0)
		die(&err);
	return store;
}

/* A snapshot of @d; what it rewrote is the list of changes. */
static void put(struct store *store, struct disk *d, struct manifest *m,
		const struct manifest *parent)
{
	struct volume_input input = { .ctx = d, .size = d->chunks * GRID, .read = disk_read };
	CLEANUP(store_session_close) struct store_session *session = NULL;
	struct volume_extent *changed = calloc(d->chunks / d->share + 2, sizeof(*changed));
	struct volume_put order = { .input = &input,
				    .codec = CHUNK_CODEC_ZSTD,
				    .parent_source = store_source(store) };
	struct err err = { 0 };
	size_t n = 0;

	for (uint64_t i = d->version * 7 % d->share; i < d->chunks; i += d->share)
		changed[n++] = (struct volume_extent){ i * GRID, GRID };
	manifest_init(m);
	snprintf(m->desktop, sizeof(m->desktop), "bench");
	m->volume_count = 1;
	snprintf(m->volumes[0].name, sizeof(m->volumes[0].name), "disk0");
	m->volumes[0].grid = GRID;
	if (parent) {
		memcpy(m->parent, parent->id, sizeof(m->parent));
		order.parent = &parent->volumes[0];
		order.changed = changed;
		order.changed_count = n;
	}
	if (store_session_open(&session, store, "bench", &err) < 0)
		die(&err);
	order.sink = store_session_sink(session);
	if (volume_put(&order, &m->volumes[0], NULL, &err) < 0 ||
	    store_session_commit(session, m, &err) < 0)
		die(&err);
	free(changed);
}

/* The most memory since @reset; what an earlier part of the bench has freed does not count. */
static double peak_mib(bool reset)
{
	FILE *f = fopen(reset ? "/proc/self/clear_refs" : "/proc/self/status", reset ? "w" : "r");
	unsigned long kib = 0;
	char line[128];

	if (reset)
		malloc_trim(0);
	if (f && reset)
		fputs("5", f);
	while (f && !reset && !kib && fgets(line, sizeof(line), f))
		sscanf(line, "VmHWM: %lu", &kib);
	if (f)
		fclose(f);
	return (double)kib / 1024;
}

struct cost {
	double open, gc, peak;
	uint64_t read, nodes;
	struct store_gc_result result;
};

/* Open, collect, close: what a nightly job costs. */
static struct cost collect(const char *path)
{
	const struct store_gc order = { .repack_percent = 0 };
	uint64_t read = bytes_read();
	double before = cpu_seconds(), opened;
	struct cost cost = { 0 };
	struct err err = { 0 };
	struct store *store;

	peak_mib(true);
	store = open_store(path);
	opened = cpu_seconds();
	if (store_gc(store, &order, &cost.result, &err) < 0)
		die(&err);
	cost.open = opened - before;
	cost.gc = cpu_seconds() - opened;
	cost.read = bytes_read() - read;
	store_close(store);
	cost.peak = peak_mib(false);
	return cost;
}

static void print(const char *what, const struct cost *c)
{
	printf("  %-40s %8.3f CPU-s (opening %.3f), RSS %.0f MiB, read %8.2f MiB (tree nodes "
	       "%.2f), %" PRIu64 " snapshots walked; %" PRIu64
	       " packs rewritten, %.2f MiB of chunks read for that%s\n",
	       what, c->gc, c->open, c->peak, (double)c->read / (1 << 20),
	       (double)c->result.read_bytes / (1 << 20), c->result.snapshots_walked,
	       c->result.packs_rewritten, (double)c->result.written_bytes / (1 << 20),
	       c->result.counted_anew ? ", all counted anew" : "");
}

/* A full backup of what is stored already asks for every block in its order. */
static void hits(const char *path, const struct manifest *m)
{
	struct store *store = open_store(path);
	CLEANUP(volume_reader_close) struct volume_reader *reader = NULL;
	const struct volume *v = &m->volumes[0];
	struct chunk_id ids[CHUNK_IO_BATCH];
	uint8_t present[CHUNK_IO_BATCH / 8];
	struct store_session *session;
	uint64_t blocks = v->size / v->grid, found = 0;
	struct err err = { 0 };
	double spent = 0;

	if (volume_reader_open(&reader, v, store_source(store), &err) < 0 ||
	    store_session_open(&session, store, "bench", &err) < 0)
		die(&err);
	for (uint64_t at = 0; at < blocks; at += CHUNK_IO_BATCH) {
		size_t n = blocks - at < CHUNK_IO_BATCH ? (size_t)(blocks - at) : CHUNK_IO_BATCH;
		double before;

		if (volume_reader_ids(reader, at, n, ids, &err) < 0)
			die(&err);
		before = cpu_seconds();
		if (store_session_sink(session).query(session, ids, n, present, &err) < 0)
			die(&err);
		spent += cpu_seconds() - before;
		for (size_t i = 0; i < n; i++)
			found += present[i / 8] >> (i % 8) & 1;
	}
	if (found != blocks)
		exit(1);
	printf("  a full backup that finds all of it there: %.2f M lookups per CPU-s\n",
	       (double)blocks / spent / 1e6);
	store_session_close(session);
	volume_reader_close(TAKE(reader));
	store_close(store);
}

int main(int argc, char **argv)
{
	struct disk d = { .chunks = argc > 2 ? strtoull(argv[2], NULL, 10) : 0 };
	uint64_t snapshots = argc > 3 ? strtoull(argv[3], NULL, 10) : 0;
	struct manifest *made;
	struct store_stat stat;
	struct store *store;
	struct err err = { 0 };
	struct cost cost;
	double began;

	d.share = d.chunks / CHANGED;
	if (!d.share || snapshots < 2 || store_init(argv[1], NULL, &err) < 0) {
		fprintf(stderr, "bench_store_gc: an empty folder, how many chunks (1000 or more), "
				"how many snapshots (2 or more)\n");
		return 1;
	}
	made = calloc(snapshots + ROUNDS + 1, sizeof(*made));
	if (!made)
		return 1;
	began = cpu_seconds();
	store = open_store(argv[1]);
	for (; d.version < snapshots; d.version++)
		put(store, &d, &made[d.version], d.version ? &made[d.version - 1] : NULL);
	if (store_stat(store, &stat, &err) < 0)
		die(&err);
	store_close(store);
	printf("%" PRIu64 " chunks in %" PRIu64 " packs, %" PRIu64
	       " snapshots (made in %.0f CPU-s)\n",
	       stat.chunks, stat.packs, stat.snapshots, cpu_seconds() - began);
	cost = collect(argv[1]);
	print("first run", &cost);
	cost = collect(argv[1]);
	print("nothing changed", &cost);
	for (unsigned i = 0; i < ROUNDS; i++, d.version++) {
		const char *ids[] = { made[i].id };

		store = open_store(argv[1]);
		put(store, &d, &made[d.version], &made[d.version - 1]);
		if (store_forget(store, ids, 1, &err) < 0)
			die(&err);
		store_close(store);
		cost = collect(argv[1]);
		print("one snapshot came, the oldest went", &cost);
		if (cost.result.counted_anew)
			return 1;
	}
	hits(argv[1], &made[ROUNDS]);
	hits(argv[1], &made[d.version - 1]);
	free(made);
	return 0;
}
