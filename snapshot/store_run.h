/* store_run.h - a run: an immutable sorted file of index entries, with a bloom filter that is kept in memory.
 *
 * Pages of 4096 bytes, each with its own checksum, so that rot is noticed at the lookup that meets it. Tags are evenly
 * distributed, so a page is found by interpolation in one or two reads; nothing but the filter (11 bits for each
 * entry) is kept in memory. Made under a temporary name, then renamed. Thread-safe once open.
 * Source: snapshot/FORMAT.md, "Index".
 */
#ifndef GODWIT_SNAPSHOT_STORE_RUN_H
#define GODWIT_SNAPSHOT_STORE_RUN_H

#include <stdbool.h>

#include "snapshot/store_index.h"

enum { STORE_RUN_PAGE = 4096, STORE_RUN_PAGE_ENTRIES = 170 };

struct store_run;

/* ---- Writing: entries in ascending order of their tags ---- */
struct store_run_writer;
/* most: how many entries will come at most (it sizes the filter). */
int store_run_writer_new(struct store_run_writer **out, const char *path, uint64_t most,
			 struct err *err);
int store_run_writer_add(struct store_run_writer *writer, const struct store_index_entry *entry,
			 struct err *err);
/* Ends the file, durably, under its name. Frees the writer in any case; on failure nothing is left. */
int store_run_writer_finish(struct store_run_writer *writer, struct err *err);
void store_run_writer_cancel(struct store_run_writer *writer);

/* ---- Reading ---- */
/* Return 0, -ENOENT, -EBADMSG for damage, or -errno. */
int store_run_open(struct store_run **out, const char *path, struct err *err);
void store_run_ref(struct store_run *run);
void store_run_unref(struct store_run *run);
DEFINE_CLEANUP(struct store_run *, store_run_unref);

uint64_t store_run_count(const struct store_run *run);
uint64_t store_run_bytes(const struct store_run *run);
const char *store_run_path(const struct store_run *run);

/* Append entries with that tag to @out while *n < max. Return 0, -EBADMSG or -errno. */
int store_run_find(struct store_run *run, const uint8_t tag[STORE_INDEX_TAG_LEN],
		   struct store_index_entry *out, size_t max, size_t *n, struct err *err);

/* Page @i's entries: at most STORE_RUN_PAGE_ENTRIES. Return 0, -EBADMSG or -errno. */
int store_run_page(const struct store_run *run, uint64_t i, struct store_index_entry *out,
		   size_t *count, struct err *err);
uint64_t store_run_pages(const struct store_run *run);

/* Parse one page; for fuzzing as well. Return 0 or -EBADMSG (no text). */
int store_run_parse_page(const uint8_t page[STORE_RUN_PAGE], struct store_index_entry *out,
			 size_t *count);

#endif
