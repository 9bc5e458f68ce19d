#include "mgmt-server/scan/ram_tables.h"

#include <errno.h>
#include <stdlib.h>

enum { SAMPLES = 8 };

#define PRESENT   1ULL
#define USER      4ULL
#define ACCESSED  0x20ULL
#define LARGE     0x80ULL /* of levels 2 and 3 */
#define ADDRESS   0x000ffffffffff000ULL
#define PAGE_BITS 12
/* No processor has more of physical addresses yet: the bits above are zero, and in most other data they are not. */
#define DEVICES_END (1ULL << 46)

struct ram_tables {
	struct ram_tables_input input;
	uint8_t *walked; /* for each page a bit for each level */
};

struct walk {
	struct ram_tables *tables;
	int levels;
	ram_tables_mapping *fn;
	void *arg;
	struct err *err;
};

int ram_tables_new(struct ram_tables **out, const struct ram_tables_input *input, struct err *err)
{
	struct ram_tables *t = calloc(1, sizeof(*t));

	if (t) {
		t->input = *input;
		t->walked = calloc(input->size / RAM_TABLES_PAGE + 1, 1);
	}
	if (!t || !t->walked) {
		free(t);
		return err_set(err, ENOMEM, "walk page tables");
	}
	*out = t;
	return 0;
}

void ram_tables_free(struct ram_tables *t)
{
	if (!t)
		return;
	free(t->walked);
	free(t);
}

/* What one entry of @level maps, 1 for the last one. */
static uint64_t span_of(int level)
{
	return 1ULL << (PAGE_BITS + 9 * (level - 1));
}

static bool is_leaf(uint64_t entry, int level)
{
	return level == 1 || ((level == 2 || level == 3) && (entry & LARGE));
}

static bool within(uint64_t entry, uint64_t size)
{
	return (entry & ADDRESS) < size;
}

bool ram_tables_like_root(const uint64_t entries[RAM_TABLES_ENTRIES], uint64_t size)
{
	bool process = false, kernel = false;

	for (int i = 0; i < RAM_TABLES_ENTRIES; i++) {
		uint64_t e = entries[i];

		if (!e)
			continue;
		if (!(e & PRESENT) || (e & LARGE) || !within(e, size))
			return false;
		if (i < RAM_TABLES_ENTRIES / 2)
			process |= (e & USER) != 0;
		else
			kernel = true;
	}
	return process && kernel;
}

/* Do a table's entries make sense at @level? Tables lie in memory; a process may map memory of devices beyond it. */
static bool like_table(const uint64_t entries[RAM_TABLES_ENTRIES], int level, uint64_t size)
{
	bool any = false;

	for (int i = 0; i < RAM_TABLES_ENTRIES; i++) {
		uint64_t e = entries[i];

		if (!(e & PRESENT))
			continue;
		if (!within(e, is_leaf(e, level) ? DEVICES_END : size))
			return false;
		any |= (e & (USER | ACCESSED)) == (USER | ACCESSED);
	}
	return any;
}

/* Descends to the first few leaves of a process's half, one for each entry on the way at first. */
struct descent {
	const struct ram_tables *tables;
	unsigned leaves, leaves_like_tables;
	bool bad;
};

static int descend(struct descent *d, uint64_t table, int level, int last)
{
	const struct ram_tables_input *in = &d->tables->input;
	uint64_t entries[RAM_TABLES_ENTRIES];
	int r = in->page(in->ctx, table, entries);

	if (r < 0)
		return r;
	if (level < 4 && !like_table(entries, level, in->size)) {
		d->bad = true;
		return 0;
	}
	for (int i = 0; i < last && !d->bad && d->leaves < SAMPLES; i++) {
		uint64_t e = entries[i];
		uint64_t page[RAM_TABLES_ENTRIES];

		if (!(e & PRESENT) || !(e & USER))
			continue;
		if (!is_leaf(e, level)) {
			r = descend(d, e & ADDRESS, level - 1, RAM_TABLES_ENTRIES);
		} else {
			r = in->page(in->ctx, e & ADDRESS, page);
			d->leaves++;
			if (r == 0 && level == 1 && like_table(page, 1, in->size))
				d->leaves_like_tables++;
		}
		if (r < 0)
			return r;
	}
	return 0;
}

/* With five levels the walk of four ends at tables instead of at a program's bytes, everywhere. */
int ram_tables_levels(const struct ram_tables *t, uint64_t root)
{
	struct descent d = { .tables = t };
	int r = descend(&d, root, 4, RAM_TABLES_ENTRIES / 2);

	if (r < 0)
		return r;
	if (d.bad || !d.leaves)
		return 0;
	return d.leaves == d.leaves_like_tables ? 5 : 4;
}

static bool walk_begins(struct ram_tables *t, uint64_t table, int level)
{
	uint8_t *walked = &t->walked[table / RAM_TABLES_PAGE];
	uint8_t bit = (uint8_t)(1 << (level - 1));

	if (*walked & bit)
		return false;
	*walked |= bit;
	return true;
}

static uint64_t canonical(uint64_t address, int levels)
{
	int bits = PAGE_BITS + 9 * levels;

	return address >> (bits - 1) & 1 ? address | ~0ULL << bits : address;
}

static int walk_table(const struct walk *w, uint64_t table, int level, uint64_t virtual)
{
	const struct ram_tables_input *in = &w->tables->input;
	uint64_t entries[RAM_TABLES_ENTRIES], span = span_of(level);
	int r;

	if (!walk_begins(w->tables, table, level))
		return 0;
	r = in->page(in->ctx, table, entries);
	if (r < 0)
		return err_set(w->err, -r, "read the page table at 0x%llx",
			       (unsigned long long)table);
	for (uint64_t i = 0; i < RAM_TABLES_ENTRIES; i++, virtual += span) {
		uint64_t e = entries[i], to = e & ADDRESS;

		if (!(e & PRESENT))
			continue;
		if (is_leaf(e, level))
			r = w->fn(w->arg, canonical(virtual, w->levels), to & ~(span - 1), span,
				  w->err);
		else if (to < in->size)
			r = walk_table(w, to, level - 1, virtual);
		if (r < 0)
			return r;
	}
	return 0;
}

int ram_tables_walk(struct ram_tables *t, uint64_t root, int levels, ram_tables_mapping *fn,
		    void *arg, struct err *err)
{
	struct walk w = { .tables = t, .levels = levels, .fn = fn, .arg = arg, .err = err };

	return walk_table(&w, root, levels, 0);
}
