/* bench_store_index.c FOLDER [ENTRIES]: the chunk index at size: inserts, misses and hits per CPU-second, bytes per entry on disk, memory. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "snapshot/siphash.h"
#include "snapshot/store_index.h"

enum { BATCH = 1000, PACK_RECORDS = 1500, LOOKUPS = 2000000 };

static double cpu_seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void entry(uint64_t i, struct store_index_entry *e)
{
	static const uint8_t key[SIPHASH_KEY_LEN] = "benchmark";

	siphash(key, &i, sizeof(i), e->tag);
	e->pack = (uint32_t)(i / PACK_RECORDS);
	e->record = (uint32_t)(i % PACK_RECORDS);
}

static void die(const struct err *err)
{
	fprintf(stderr, "bench_store_index: %s\n", err_text(err));
	exit(1);
}

static void insert(struct store_index *index, uint64_t total)
{
	static struct store_index_entry batch[BATCH];
	struct err err = { 0 };

	for (uint64_t i = 0; i < total; i += BATCH) {
		for (uint64_t k = 0; k < BATCH; k++)
			entry(i + k, &batch[k]);
		if (store_index_add(index, batch, BATCH, &err) < 0)
			die(&err);
		if (store_index_table_count(index) >= STORE_INDEX_TABLE_MAX &&
		    (store_index_flush(index, &err) < 0 ||
		     store_index_merge(index, NULL, NULL, &err) < 0))
			die(&err);
	}
	if (store_index_flush(index, &err) < 0)
		die(&err);
	store_index_tidy(index);
}

/* Look up entries from @first on, spread over @range; return how many were found. */
static uint64_t look_up(struct store_index *index, uint64_t first, uint64_t range)
{
	struct store_index_entry e, found[STORE_INDEX_CANDIDATES];
	struct err err = { 0 };
	uint64_t hits = 0;

	for (uint64_t i = 0; i < LOOKUPS; i++) {
		size_t n;

		entry(first + i * 7919 % range, &e);
		if (store_index_find(index, e.tag, found, STORE_INDEX_CANDIDATES, &n, &err) < 0)
			die(&err);
		hits += n > 0;
	}
	return hits;
}

int main(int argc, char **argv)
{
	uint64_t total = argc > 2 ? strtoull(argv[2], NULL, 10) / BATCH * BATCH : 20000000,
		 runs[STORE_INDEX_RUNS_MAX];
	struct store_index *index;
	struct rusage usage;
	struct err err = { 0 };
	double before, inserts, misses, hits;

	if (argc < 2 || store_index_new(&index, argv[1], &err) < 0) {
		fprintf(stderr, "bench_store_index: a folder, and how many entries\n");
		return 1;
	}
	before = cpu_seconds();
	insert(index, total);
	inserts = (double)total / (cpu_seconds() - before);
	before = cpu_seconds();
	if (look_up(index, total, total) != 0)
		return 1;
	misses = LOOKUPS / (cpu_seconds() - before);
	before = cpu_seconds();
	if (look_up(index, 0, total) != LOOKUPS)
		return 1;
	hits = LOOKUPS / (cpu_seconds() - before);
	getrusage(RUSAGE_SELF, &usage);
	printf("%llu entries in %zu runs: %.2f M inserts, %.2f M misses, %.2f M hits per CPU-s; "
	       "%.1f bytes per entry on disk; %ld MiB RSS\n",
	       (unsigned long long)total, store_index_runs(index, runs), inserts / 1e6,
	       misses / 1e6, hits / 1e6, (double)store_index_bytes(index) / (double)total,
	       usage.ru_maxrss / 1024);
	store_index_free(index);
	return 0;
}
