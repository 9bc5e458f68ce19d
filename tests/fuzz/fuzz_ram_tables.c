/* Page tables that a hostile guest wrote: the walk ends, within its bounds, and every run makes sense.
 *
 * An input is entries: page (u8), index (u16), entry (u64), little-endian; addresses are taken modulo a little more than the
 * memory's size, so that most entries point somewhere.
 */
#include <stdlib.h>
#include <string.h>

#include "mgmt-server/scan/ram_runs.h"
#include "mgmt-server/scan/ram_tables.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PAGES = 32, RECORD = 11, MAPPINGS_MAX = PAGES * RAM_TABLES_ENTRIES * RAM_TABLES_LEVELS_MAX };

static uint64_t memory[PAGES][RAM_TABLES_ENTRIES];

struct look {
	struct ram_runs *runs;
	unsigned mappings;
};

static int page(void *ctx, uint64_t address, uint64_t entries[RAM_TABLES_ENTRIES])
{
	(void)ctx;
	if (address / RAM_TABLES_PAGE < PAGES)
		memcpy(entries, memory[address / RAM_TABLES_PAGE], RAM_TABLES_PAGE);
	else
		memset(entries, 0, RAM_TABLES_PAGE);
	return 0;
}

static int run(void *arg, uint64_t virtual, const uint64_t *pages, size_t count, struct err *err)
{
	(void)arg, (void)err;
	if (virtual % RAM_RUNS_PAGE || count < 2 || count > RAM_RUNS_LONGEST)
		abort();
	for (size_t i = 0; i < count; i++) {
		if (pages[i] >= PAGES * RAM_RUNS_PAGE)
			abort();
	}
	return 0;
}

static int mapping(void *arg, uint64_t virtual, uint64_t physical, uint64_t len, struct err *err)
{
	struct look *look = arg;
	int r = 0;

	if (++look->mappings > MAPPINGS_MAX)
		abort();
	for (uint64_t i = 0; r == 0 && i < len && physical + i < PAGES * RAM_RUNS_PAGE;
	     i += RAM_RUNS_PAGE)
		r = ram_runs_page(look->runs, virtual + i, physical + i, err);
	return r;
}

static void fill(const uint8_t *data, size_t size)
{
	memset(memory, 0, sizeof(memory));
	for (size_t at = 0; at + RECORD <= size; at += RECORD) {
		uint64_t entry;
		unsigned index = data[at + 1] | (unsigned)data[at + 2] << 8;

		memcpy(&entry, data + at + 3, sizeof(entry));
		if (data[at] & 0x80)
			entry = (entry & ~0xffffffffff000ULL) |
				(entry >> 12) % (PAGES + 2) * RAM_TABLES_PAGE;
		memory[data[at] % PAGES][index % RAM_TABLES_ENTRIES] = entry;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct ram_tables_input input = { .size = sizeof(memory), .page = page };
	struct ram_tables *tables = NULL;
	struct look look = { 0 };
	struct err err = { 0 };

	fill(data, size);
	if (ram_tables_new(&tables, &input, &err) < 0 ||
	    ram_runs_new(&look.runs, sizeof(memory), run, NULL, &err) < 0)
		abort();
	for (uint64_t i = 0; i < PAGES; i++) {
		int levels = ram_tables_levels(tables, i * RAM_TABLES_PAGE);

		/* Walked in any case: the shape of a root protects nobody. */
		if (ram_tables_walk(tables, i * RAM_TABLES_PAGE, levels ? levels : 4, mapping,
				    &look, &err) < 0 ||
		    ram_runs_end(look.runs, &err) < 0)
			abort();
	}
	ram_runs_free(look.runs);
	ram_tables_free(tables);
	return 0;
}
