#include "snapshot/store_index.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "common/io.h"
#include "snapshot/store_run.h"

enum { FIRST_SLOTS = 1 << 12, PACK_NONE = 0xffffffff, MERGE_WIDTH = 4 };

/* Open addressing by the tag itself, which is as good as random. At most 3/4 full. */
struct table {
	struct store_index_entry *slots;
	size_t slot_count, used; /* slot_count: a power of two */
};

struct store_index {
	char *folder;
	pthread_rwlock_t lock; /* everything below */
	struct table table;
	struct table frozen; /* being written as a run; slots NULL: none */
	size_t run_count;
	struct {
		uint64_t number;
		struct store_run *run;
	} runs[STORE_INDEX_RUNS_MAX]; /* oldest first */
};

/* ---- Tables ------------------------------------------------------------------------------------------------- */

static bool table_init(struct table *t, size_t slots)
{
	t->slots = malloc(slots * sizeof(*t->slots));
	t->slot_count = slots;
	t->used = 0;
	for (size_t i = 0; t->slots && i < slots; i++)
		t->slots[i].pack = (uint32_t)PACK_NONE;
	return t->slots != NULL;
}

static size_t slot_of(const struct table *t, const uint8_t *tag)
{
	uint64_t word;

	memcpy(&word, tag, sizeof(word));
	return (size_t)word & (t->slot_count - 1);
}

static void table_insert(struct table *t, const struct store_index_entry *entry)
{
	size_t slot = slot_of(t, entry->tag);

	while (t->slots[slot].pack != (uint32_t)PACK_NONE)
		slot = (slot + 1) & (t->slot_count - 1);
	t->slots[slot] = *entry;
	t->used++;
}

static bool table_grow(struct table *t, size_t for_more)
{
	size_t n = t->slot_count;
	struct table bigger;

	while ((t->used + for_more) * 4 > n * 3)
		n *= 2;
	if (n == t->slot_count)
		return true;
	if (!table_init(&bigger, n))
		return false;
	for (size_t i = 0; i < t->slot_count; i++)
		if (t->slots[i].pack != (uint32_t)PACK_NONE)
			table_insert(&bigger, &t->slots[i]);
	free(t->slots);
	*t = bigger;
	return true;
}

static void table_find(const struct table *t, const uint8_t *tag, struct store_index_entry *out,
		       size_t max, size_t *n)
{
	if (!t->slots)
		return;
	for (size_t slot = slot_of(t, tag); *n < max && t->slots[slot].pack != (uint32_t)PACK_NONE;
	     slot = (slot + 1) & (t->slot_count - 1))
		if (memcmp(t->slots[slot].tag, tag, STORE_INDEX_TAG_LEN) == 0)
			out[(*n)++] = t->slots[slot];
}

/* ---- The index ---------------------------------------------------------------------------------------------- */

int store_index_new(struct store_index **out, const char *folder, struct err *err)
{
	CLEANUP(store_index_free) struct store_index *index = calloc(1, sizeof(*index));

	if (!index)
		return err_set(err, ENOMEM, "make an index");
	pthread_rwlock_init(&index->lock, NULL);
	index->folder = strdup(folder);
	if (!index->folder || !table_init(&index->table, FIRST_SLOTS))
		return err_set(err, ENOMEM, "make an index");
	*out = TAKE(index);
	return 0;
}

void store_index_clear(struct store_index *index)
{
	pthread_rwlock_wrlock(&index->lock);
	for (size_t i = 0; i < index->run_count; i++)
		store_run_unref(index->runs[i].run);
	index->run_count = 0;
	for (size_t i = 0; i < index->table.slot_count; i++)
		index->table.slots[i].pack = (uint32_t)PACK_NONE;
	index->table.used = 0;
	pthread_rwlock_unlock(&index->lock);
}

void store_index_free(struct store_index *index)
{
	if (!index)
		return;
	for (size_t i = 0; i < index->run_count; i++)
		store_run_unref(index->runs[i].run);
	pthread_rwlock_destroy(&index->lock);
	free(index->table.slots);
	free(index->frozen.slots);
	free(index->folder);
	free(index);
}

int store_index_add(struct store_index *index, const struct store_index_entry *entries, size_t n,
		    struct err *err)
{
	bool ok;

	pthread_rwlock_wrlock(&index->lock);
	ok = table_grow(&index->table, n);
	for (size_t i = 0; ok && i < n; i++)
		table_insert(&index->table, &entries[i]);
	pthread_rwlock_unlock(&index->lock);
	return ok ? 0 : err_set(err, ENOMEM, "grow the index by %zu entries", n);
}

int store_index_find(struct store_index *index, const uint8_t tag[STORE_INDEX_TAG_LEN],
		     struct store_index_entry *out, size_t max, size_t *n, struct err *err)
{
	int r = 0;

	*n = 0;
	pthread_rwlock_rdlock(&index->lock);
	table_find(&index->table, tag, out, max, n);
	table_find(&index->frozen, tag, out, max, n);
	for (size_t i = index->run_count; r == 0 && i-- > 0;)
		r = store_run_find(index->runs[i].run, tag, out, max, n, err);
	pthread_rwlock_unlock(&index->lock);
	return r;
}

size_t store_index_table_count(struct store_index *index)
{
	size_t n;

	pthread_rwlock_rdlock(&index->lock);
	n = index->table.used;
	pthread_rwlock_unlock(&index->lock);
	return n;
}

uint64_t store_index_bytes(struct store_index *index)
{
	uint64_t bytes = 0;

	pthread_rwlock_rdlock(&index->lock);
	for (size_t i = 0; i < index->run_count; i++)
		bytes += store_run_bytes(index->runs[i].run);
	pthread_rwlock_unlock(&index->lock);
	return bytes;
}

/* ---- Runs --------------------------------------------------------------------------------------------------- */

static char *run_path(const struct store_index *index, uint64_t number)
{
	return io_printf("%s/run-%016llx", index->folder, (unsigned long long)number);
}

int store_index_add_run(struct store_index *index, uint64_t number, struct err *err)
{
	CLEANUP_FREE char *path = run_path(index, number);
	struct store_run *run;
	int r;

	if (!path)
		return err_set(err, ENOMEM, "open an index run");
	r = store_run_open(&run, path, err);
	if (r < 0)
		return r;
	pthread_rwlock_wrlock(&index->lock);
	assert(index->run_count < STORE_INDEX_RUNS_MAX);
	index->runs[index->run_count].number = number;
	index->runs[index->run_count++].run = run;
	pthread_rwlock_unlock(&index->lock);
	return 0;
}

size_t store_index_runs(struct store_index *index, uint64_t *numbers)
{
	size_t n;

	pthread_rwlock_rdlock(&index->lock);
	n = index->run_count;
	for (size_t i = 0; i < n; i++)
		numbers[i] = index->runs[i].number;
	pthread_rwlock_unlock(&index->lock);
	return n;
}

static int by_tag(const void *a, const void *b)
{
	return memcmp(a, b, STORE_INDEX_TAG_LEN);
}

static uint64_t new_number(void)
{
	uint64_t number = 0;

	/* Random rather than counted: a number is never used twice, whatever was lost. */
	if (getrandom(&number, sizeof(number), 0) != sizeof(number))
		abort();
	return number;
}

/* Write the frozen table, which nobody changes, as a run. It is sorted in a copy. */
static int frozen_write(struct store_index *index, uint64_t *number, struct err *err)
{
	const struct table *t = &index->frozen;
	CLEANUP_FREE struct store_index_entry *sorted = malloc((t->used + 1) * sizeof(*sorted));
	CLEANUP_FREE char *path = NULL;
	struct store_run_writer *writer;
	size_t n = 0;
	int r;

	*number = new_number();
	path = run_path(index, *number);
	if (!sorted || !path)
		return err_set(err, ENOMEM, "write an index run");
	for (size_t i = 0; i < t->slot_count; i++)
		if (t->slots[i].pack != (uint32_t)PACK_NONE)
			sorted[n++] = t->slots[i];
	qsort(sorted, n, sizeof(*sorted), by_tag);
	r = store_run_writer_new(&writer, path, n, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++) {
		r = store_run_writer_add(writer, &sorted[i], err);
		if (r < 0) {
			store_run_writer_cancel(writer);
			return r;
		}
	}
	return store_run_writer_finish(writer, err);
}

/* ---- Merging ------------------------------------------------------------------------------------------------ */

/* A run being read from its first entry to its last. */
struct cursor {
	struct store_run *run;
	uint64_t next_page;
	size_t at, count;
	struct store_index_entry entries[STORE_RUN_PAGE_ENTRIES];
};

static int cursor_fill(struct cursor *c, struct err *err)
{
	if (c->at < c->count || c->next_page == store_run_pages(c->run))
		return 0;
	c->at = 0;
	return store_run_page(c->run, c->next_page++, c->entries, &c->count, err);
}

static struct cursor *smallest(struct cursor *cursors, size_t n)
{
	struct cursor *best = NULL;

	for (size_t i = 0; i < n; i++)
		if (cursors[i].at < cursors[i].count &&
		    (!best ||
		     by_tag(&cursors[i].entries[cursors[i].at], &best->entries[best->at]) < 0))
			best = &cursors[i];
	return best;
}

static int merge_into(struct store_run_writer *writer, struct cursor *cursors, size_t n,
		      store_index_keep *keep, void *arg, struct err *err)
{
	struct cursor *c;
	int r = 0;

	for (size_t i = 0; r == 0 && i < n; i++)
		r = cursor_fill(&cursors[i], err);
	while (r == 0 && (c = smallest(cursors, n))) {
		const struct store_index_entry *entry = &c->entries[c->at++];

		if (!keep || keep(arg, entry->pack))
			r = store_run_writer_add(writer, entry, err);
		if (r == 0)
			r = cursor_fill(c, err);
	}
	return r;
}

/* Merge runs [first, run_count) into one new file. */
static int merge_write(struct store_index *index, size_t first, uint64_t *number,
		       store_index_keep *keep, void *arg, struct err *err)
{
	size_t n = index->run_count - first;
	CLEANUP_FREE struct cursor *cursors = calloc(n, sizeof(*cursors));
	CLEANUP_FREE char *path = NULL;
	struct store_run_writer *writer;
	uint64_t most = 0;
	int r;

	*number = new_number();
	path = run_path(index, *number);
	if (!cursors || !path)
		return err_set(err, ENOMEM, "merge index runs");
	for (size_t i = 0; i < n; i++) {
		cursors[i].run = index->runs[first + i].run;
		most += store_run_count(cursors[i].run);
	}
	r = store_run_writer_new(&writer, path, most, err);
	if (r < 0)
		return r;
	r = merge_into(writer, cursors, n, keep, arg, err);
	if (r < 0) {
		store_run_writer_cancel(writer);
		return r;
	}
	return store_run_writer_finish(writer, err);
}

/* From which run on are they to be merged? The newest ones, back to the first that is larger than all newer ones together; but
 * fewer than MERGE_WIDTH are not worth the work.
 */
static size_t merge_from(const struct store_index *index)
{
	size_t first = index->run_count;
	uint64_t newer = 0;

	while (first > 0) {
		uint64_t size = store_run_count(index->runs[first - 1].run);

		if (newer && size > newer)
			break;
		newer += size;
		first--;
	}
	return index->run_count - first < MERGE_WIDTH ? index->run_count : first;
}

/* Only this function's caller changes the list of runs, so reading it needs no lock here. */
int store_index_merge(struct store_index *index, store_index_keep *keep, void *arg, struct err *err)
{
	size_t first = merge_from(index), old;
	uint64_t number;
	int r;

	if (first + 1 >= index->run_count)
		return 0;
	old = index->run_count;
	r = merge_write(index, first, &number, keep, arg, err);
	if (r == 0)
		r = store_index_add_run(index, number, err);
	if (r < 0)
		return r;
	pthread_rwlock_wrlock(&index->lock);
	for (size_t i = first; i < old; i++)
		store_run_unref(index->runs[i].run);
	index->runs[first] = index->runs[old];
	index->run_count = first + 1;
	pthread_rwlock_unlock(&index->lock);
	return 0;
}

int store_index_flush(struct store_index *index, struct err *err)
{
	struct table fresh;
	uint64_t number;
	int r;

	if (store_index_table_count(index) == 0)
		return 0;
	if (!table_init(&fresh, FIRST_SLOTS))
		return err_set(err, ENOMEM, "write an index run");
	pthread_rwlock_wrlock(&index->lock);
	assert(!index->frozen.slots);
	index->frozen = index->table;
	index->table = fresh;
	pthread_rwlock_unlock(&index->lock);

	r = frozen_write(index, &number, err);
	if (r == 0)
		r = store_index_add_run(index, number, err);
	pthread_rwlock_wrlock(&index->lock);
	if (r < 0) { /* what could not be written stays in memory */
		struct table newer = index->table;

		index->table = index->frozen;
		if (table_grow(&index->table, newer.used))
			for (size_t i = 0; i < newer.slot_count; i++)
				if (newer.slots[i].pack != (uint32_t)PACK_NONE)
					table_insert(&index->table, &newer.slots[i]);
		free(newer.slots);
	} else {
		free(index->frozen.slots);
	}
	index->frozen = (struct table){ 0 };
	pthread_rwlock_unlock(&index->lock);
	return r;
}

static bool in_use(const uint64_t *numbers, size_t n, const char *file)
{
	char name[32];

	for (size_t i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "run-%016llx", (unsigned long long)numbers[i]);
		if (strcmp(name, file) == 0)
			return true;
	}
	return false;
}

void store_index_tidy(struct store_index *index)
{
	uint64_t numbers[STORE_INDEX_RUNS_MAX];
	size_t n = store_index_runs(index, numbers);
	DIR *dir = opendir(index->folder);
	struct dirent *e;

	while (dir && (e = readdir(dir)))
		if (strncmp(e->d_name, "run-", 4) == 0 && !in_use(numbers, n, e->d_name))
			unlinkat(dirfd(dir), e->d_name, 0);
	if (dir)
		closedir(dir);
}
