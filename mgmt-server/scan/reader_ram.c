/* reader_ram.c - an image of a guest's physical memory, in two orders.
 *
 * As it lies: windows of physical memory that overlap, zero pages left out. And as processes see it: the page tables that are found in
 * it (ram_tables.h) say which pages follow each other, and what is not contiguous anyway is put together (ram_runs.h).
 * A window's path is memory:0xADDRESS; of a process's memory its stream is cr3=0xROOT, the physical address of its tables.
 * Windows lie at fixed addresses, so memory that did not change has the same contents in the next snapshot.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mgmt-server/scan/ram_runs.h"
#include "mgmt-server/scan/ram_tables.h"
#include "mgmt-server/scan/reader.h"
#include "snapshot/chunk.h"

enum {
	PAGE = RAM_TABLES_PAGE,
	WINDOW = RAM_RUNS_LONGEST * PAGE,
	OVERLAP = RAM_RUNS_EDGE * PAGE,
	GAP = RAM_RUNS_EDGE, /* so many zero pages part two contents */
	ROOTS_MAX = 1 << 16,
};

/* What a guest's tables may make us do, in multiples of its memory: all mappings there are (each process maps libraries, the
 * kernel maps everything once more), and what is put together of them. */
#define MAPPED_MAX      64
#define TOGETHER_MAX    4
#define TABLES_SIZE_MAX (512ULL << 30)

struct memory {
	struct reader *reader;
	struct volume_channel *volume;
	uint64_t size;
	uint8_t *used; /* a bit for each page that is not all zeros */
	uint64_t used_pages, mapped_pages, together_pages;
	uint64_t *roots;
	size_t root_count;
	bool too_many_roots;
	struct ram_runs *runs;
	uint64_t root; /* being walked */
	uint8_t *window;
};

static bool is_used(const struct memory *m, uint64_t address)
{
	uint64_t page = address / PAGE;

	return address < m->size && (m->used[page / 8] >> (page % 8) & 1);
}

static int incomplete(struct memory *m, uint64_t address, const char *what, struct err *err)
{
	char text[200];

	snprintf(text, sizeof(text), "memory at 0x%llx: %.150s", (unsigned long long)address, what);
	return reader_incomplete(m->reader, text, err);
}

/* Of a rescan only some pieces are wanted. */
static bool is_wanted(const struct memory *m, uint64_t address)
{
	return reader_need(m->reader, address, NULL) != READER_NEED_NOTHING;
}

static int begin_content(struct memory *m, uint64_t address, uint64_t len, struct err *err)
{
	char path[32], stream[32] = "";
	struct reader_file file = { .path = path, .stream = stream, .inode = address, .size = len };

	file.path_len =
		(size_t)snprintf(path, sizeof(path), "memory:0x%llx", (unsigned long long)address);
	if (m->root != UINT64_MAX)
		snprintf(stream, sizeof(stream), "cr3=0x%llx", (unsigned long long)m->root);
	return reader_begin(m->reader, &file, err);
}

/* ---- As it lies ---- */

static int give(struct memory *m, const uint8_t *bytes, uint64_t address, uint64_t len,
		struct err *err)
{
	int r;

	if (!is_wanted(m, address))
		return 0;
	r = begin_content(m, address, len, err);
	for (uint64_t at = 0; r == 0 && at < len; at += PAGE) {
		uint64_t n = len - at < PAGE ? len - at : PAGE;

		if (is_used(m, address + at))
			r = reader_data(m->reader, bytes + at, (size_t)n, at, err);
	}
	return r < 0 ? r : reader_end(m->reader, err);
}

/* The stretches of [at, at + len) that hold something; one that begins at @border or later belongs to the next window. */
static int give_stretches(struct memory *m, uint64_t at, uint64_t len, uint64_t border,
			  struct err *err)
{
	uint64_t begin = 0, end = 0; /* of the stretch; end 0: none */
	int r = 0;

	for (uint64_t i = 0; r == 0 && i < len; i += PAGE) {
		if (!is_used(m, at + i))
			continue;
		if (end && i - end >= (uint64_t)GAP * PAGE) {
			r = give(m, m->window + begin, at + begin, end - begin, err);
			end = 0;
		}
		if (!end && i >= border)
			return r;
		begin = end ? begin : i;
		end = i + PAGE < len ? i + PAGE : len;
	}
	return r == 0 && end ? give(m, m->window + begin, at + begin, end - begin, err) : r;
}

static void remember_root(struct memory *m, const uint8_t *bytes, uint64_t address)
{
	uint64_t entries[RAM_TABLES_ENTRIES];

	memcpy(entries, bytes, sizeof(entries));
	if (!ram_tables_like_root(entries, m->size))
		return;
	m->too_many_roots |= m->root_count == ROOTS_MAX;
	if (m->root_count < ROOTS_MAX)
		m->roots[m->root_count++] = address;
}

static void look_at_pages(struct memory *m, uint64_t at, uint64_t len)
{
	for (uint64_t i = 0; i < len; i += PAGE) {
		uint64_t n = len - i < PAGE ? len - i : PAGE, page = (at + i) / PAGE;

		if (chunk_is_zero(m->window + i, (size_t)n) ||
		    (m->used[page / 8] >> (page % 8) & 1))
			continue;
		m->used[page / 8] |= (uint8_t)(1 << (page % 8));
		m->used_pages++;
		if (n == PAGE)
			remember_root(m, m->window + i, at + i);
	}
}

/* How far are there only zeros from the window at @at on, in whole windows? */
static int zeros_from(struct memory *m, uint64_t at, uint64_t *len)
{
	bool zero = false;
	int r = volume_channel_extent(m->volume, at, len, &zero);

	if (r < 0 || !zero)
		*len = 0;
	else if (at + *len < m->size)
		*len -= *len % WINDOW;
	return r;
}

static int sweep_window(struct memory *m, uint64_t at, struct err *err)
{
	uint64_t len = m->size - at < WINDOW + OVERLAP ? m->size - at : WINDOW + OVERLAP;
	int r = volume_channel_read(m->volume, m->window, (size_t)len, at);

	if (r < 0)
		return r == -EPIPE ? err_set(err, EPIPE, "read memory")
				   : incomplete(m, at, "a window could not be read", err);
	look_at_pages(m, at, len);
	return give_stretches(m, at, len, WINDOW, err);
}

static int sweep(struct memory *m, struct err *err)
{
	int r = 0;

	m->root = UINT64_MAX;
	for (uint64_t at = 0, zeros; r == 0 && at < m->size; at += zeros) {
		r = zeros_from(m, at, &zeros);
		if (r < 0)
			return err_set(err, -r, "read memory");
		if (zeros)
			continue;
		r = sweep_window(m, at, err);
		zeros = WINDOW;
	}
	return r;
}

/* ---- As processes see it ---- */

static int read_table(void *ctx, uint64_t address, uint64_t entries[RAM_TABLES_ENTRIES])
{
	struct memory *m = ctx;

	if (!is_used(m, address) || m->size - address < PAGE) {
		memset(entries, 0, PAGE);
		return 0;
	}
	return volume_channel_read(m->volume, entries, PAGE, address);
}

static int give_run(void *arg, uint64_t virtual, const uint64_t *pages, size_t count,
		    struct err *err)
{
	struct memory *m = arg;
	uint8_t page[PAGE];
	int r;

	m->together_pages += count;
	if (m->together_pages > TOGETHER_MAX * m->used_pages + RAM_RUNS_LONGEST)
		return err_say(err, EDQUOT, "its page tables map more than %d times what is there",
			       TOGETHER_MAX);
	if (!is_wanted(m, virtual))
		return 0;
	r = begin_content(m, virtual, count * PAGE, err);
	for (size_t i = 0; r == 0 && i < count; i++) {
		uint64_t left = m->size - pages[i];

		memset(page, 0, sizeof(page));
		if (volume_channel_read(m->volume, page, left < PAGE ? (size_t)left : PAGE,
					pages[i]) < 0)
			return reader_end_unreadable(m->reader, "a page could not be read", err);
		r = reader_data(m->reader, page, PAGE, i * PAGE, err);
	}
	return r < 0 ? r : reader_end(m->reader, err);
}

static int mapping_seen(void *arg, uint64_t virtual, uint64_t physical, uint64_t len,
			struct err *err)
{
	struct memory *m = arg;
	int r = 0;

	m->mapped_pages += len / PAGE;
	if (m->mapped_pages > MAPPED_MAX * (m->size / PAGE))
		return err_say(err, EDQUOT, "its page tables map more than %d times its size",
			       MAPPED_MAX);
	for (uint64_t i = 0; r == 0 && i < len && physical + i < m->size; i += PAGE) {
		if (is_used(m, physical + i))
			r = ram_runs_page(m->runs, virtual + i, physical + i, err);
	}
	return r;
}

static int walk_root(struct memory *m, struct ram_tables *tables, uint64_t root, struct err *err)
{
	int levels = ram_tables_levels(tables, root), r = 0;
	struct err fault = { 0 };

	if (levels > 0) {
		m->root = root;
		r = ram_tables_walk(tables, root, levels, mapping_seen, m, &fault);
		if (r == 0)
			r = ram_runs_end(m->runs, &fault);
	} else if (levels < 0) {
		r = err_set(&fault, -levels, "read page tables");
	}
	if (r == 0 || r == -EPIPE || r == -EMSGSIZE)
		return r;
	if (incomplete(m, root, err_text(&fault), err) < 0)
		return -EPIPE;
	return r == -EDQUOT ? r : 0;
}

static int walk_roots(struct memory *m, struct err *err)
{
	CLEANUP(ram_tables_free) struct ram_tables *tables = NULL;
	CLEANUP(ram_runs_free) struct ram_runs *runs = NULL;
	const struct ram_tables_input input = { .ctx = m, .size = m->size, .page = read_table };
	int r = 0;

	if (!m->root_count)
		return 0;
	if (m->size > TABLES_SIZE_MAX)
		return incomplete(m, 0, "too large to put processes' memory together", err);
	r = ram_tables_new(&tables, &input, err);
	if (r == 0)
		r = ram_runs_new(&runs, m->size, give_run, m, err);
	m->runs = runs;
	for (size_t i = 0; r == 0 && i < m->root_count; i++)
		r = walk_root(m, tables, m->roots[i], err);
	if (r == 0 && m->too_many_roots)
		r = incomplete(m, 0, "more page tables than anybody has", err);
	return r == -EDQUOT ? 0 : r; /* it was said */
}

int reader_walk(struct reader *reader, struct err *err)
{
	struct memory m = { .reader = reader, .volume = reader_volume(reader) };
	CLEANUP_FREE uint8_t *window = malloc(WINDOW + OVERLAP);
	CLEANUP_FREE uint64_t *roots = malloc(ROOTS_MAX * sizeof(*roots));
	CLEANUP_FREE uint8_t *used = NULL;
	int r;

	m.size = volume_channel_size(m.volume);
	used = calloc(m.size / PAGE / 8 + 1, 1);
	if (!window || !roots || !used)
		return err_set(err, ENOMEM, "start to read memory");
	m.window = window;
	m.roots = roots;
	m.used = used;
	r = sweep(&m, err);
	return r < 0 ? r : walk_roots(&m, err);
}
