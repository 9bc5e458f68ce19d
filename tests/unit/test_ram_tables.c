/* Page tables put together by hand: what is found, what is walked, and that tables which go in circles end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "mgmt-server/scan/ram_tables.h"

enum { PAGES = 64, SEEN_MAX = 64, TABLE = 0x67, PAGE_OF_PROCESS = 0x867, LARGE = 0x80 };

#define NX (1ULL << 63)

static uint64_t memory[PAGES][RAM_TABLES_ENTRIES];

static int page(void *ctx, uint64_t address, uint64_t entries[RAM_TABLES_ENTRIES])
{
	(void)ctx;
	assert_true(address % RAM_TABLES_PAGE == 0);
	memset(entries, 0, RAM_TABLES_PAGE);
	if (address / RAM_TABLES_PAGE < PAGES)
		memcpy(entries, memory[address / RAM_TABLES_PAGE], RAM_TABLES_PAGE);
	return 0;
}

static const struct ram_tables_input input = { .size = PAGES * RAM_TABLES_PAGE, .page = page };

struct seen {
	struct {
		uint64_t virtual, physical, len;
	} items[SEEN_MAX];
	size_t count;
};

static int mapping(void *arg, uint64_t virtual, uint64_t physical, uint64_t len, struct err *err)
{
	struct seen *s = arg;

	(void)err;
	if (s->count < SEEN_MAX) {
		s->items[s->count].virtual = virtual;
		s->items[s->count].physical = physical;
		s->items[s->count].len = len;
	}
	s->count++;
	return 0;
}

static uint64_t to(unsigned number)
{
	return (uint64_t)number * RAM_TABLES_PAGE;
}

/* Tables in pages 1.. : a process with pages 20 and 21 at 0x400000, and 22 at 0x7ffff000; the kernel maps 2 MiB of page 0. */
static void put_process(unsigned root)
{
	memset(memory, 0, sizeof(memory));
	memory[root][0] = to(2) | TABLE;
	memory[root][511] = to(6) | TABLE;
	memory[2][0] = to(3) | TABLE;
	memory[2][1] = to(9) | TABLE;
	memory[3][2] = to(4) | TABLE;
	memory[4][0] = to(20) | PAGE_OF_PROCESS | NX;
	memory[4][1] = to(21) | PAGE_OF_PROCESS | NX;
	memory[4][2] = 0x1234500000; /* swapped out */
	memory[9][511] = to(10) | TABLE;
	memory[10][511] = to(22) | PAGE_OF_PROCESS;
	memory[6][510] = to(7) | TABLE;
	memory[7][0] = 0 | 0x63 | LARGE;
	memset(memory[20], 0x7f, RAM_TABLES_PAGE);
	memset(memory[21], 0x41, RAM_TABLES_PAGE);
	memset(memory[22], 0xe8, RAM_TABLES_PAGE);
}

static struct ram_tables *tables_new(void)
{
	struct ram_tables *t = NULL;

	assert_int_equal(ram_tables_new(&t, &input, NULL), 0);
	return t;
}

static void test_ram_tables_finds_and_walks(void **state)
{
	struct ram_tables *t = tables_new();
	struct seen seen = { .count = 0 };

	(void)state;
	put_process(1);
	assert_true(ram_tables_like_root(memory[1], input.size));
	for (unsigned i = 2; i < PAGES; i++)
		assert_false(ram_tables_like_root(memory[i], input.size));
	assert_int_equal(ram_tables_levels(t, to(1)), 4);
	assert_int_equal(ram_tables_walk(t, to(1), 4, mapping, &seen, NULL), 0);
	assert_int_equal(seen.count, 4);
	assert_int_equal(seen.items[0].virtual, 0x400000);
	assert_int_equal(seen.items[0].physical, to(20));
	assert_int_equal(seen.items[0].len, 4096);
	assert_int_equal(seen.items[1].virtual, 0x401000);
	assert_int_equal(seen.items[1].physical, to(21));
	assert_int_equal(seen.items[2].virtual, 0x7ffff000);
	assert_int_equal(seen.items[2].physical, to(22));
	assert_true(seen.items[3].virtual == 0xffffffff80000000);
	assert_int_equal(seen.items[3].physical, 0);
	assert_int_equal(seen.items[3].len, 2 << 20);
	ram_tables_free(t);
}

static void test_ram_tables_shared_are_walked_once(void **state)
{
	struct ram_tables *t = tables_new();
	struct seen seen = { .count = 0 };

	(void)state;
	put_process(1);
	memcpy(memory[30], memory[1],
	       RAM_TABLES_PAGE); /* its twin, as page table isolation makes it */
	assert_int_equal(ram_tables_walk(t, to(1), 4, mapping, &seen, NULL), 0);
	assert_int_equal(seen.count, 4);
	assert_int_equal(ram_tables_walk(t, to(30), 4, mapping, &seen, NULL), 0);
	assert_int_equal(seen.count, 4);
	ram_tables_free(t);
}

static void test_ram_tables_five_levels(void **state)
{
	struct ram_tables *t = tables_new();
	struct seen seen = { .count = 0 };

	(void)state;
	put_process(1);
	memset(memory[1], 0, RAM_TABLES_PAGE);
	memory[1][0] = to(2) | TABLE;  /* now level 4 */
	memory[40][0] = to(1) | TABLE; /* level 5 */
	memory[40][511] = to(41) | TABLE;
	memory[41][511] = to(6) | TABLE;
	assert_true(ram_tables_like_root(memory[40], input.size));
	assert_int_equal(ram_tables_levels(t, to(40)), 5);
	assert_int_equal(ram_tables_walk(t, to(40), 5, mapping, &seen, NULL), 0);
	assert_int_equal(seen.count, 4);
	assert_int_equal(seen.items[2].virtual, 0x7ffff000);
	assert_true(seen.items[3].virtual == 0xffffffff80000000);
	ram_tables_free(t);
}

static void test_ram_tables_not_roots(void **state)
{
	static const struct {
		const char *name;
		unsigned index;
		uint64_t entry;
	} cases[] = {
		{ "beyond memory", 5, (PAGES + 1) * RAM_TABLES_PAGE | TABLE },
		{ "a large page", 5, 3 * RAM_TABLES_PAGE | TABLE | LARGE },
		{ "neither there nor empty", 5, 0x1000 },
		{ "no kernel", 511, 0 },
		{ "no process", 0, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		put_process(1);
		memory[1][cases[i].index] = cases[i].entry;
		if (ram_tables_like_root(memory[1], input.size))
			fail_msg("%s: taken for a root", cases[i].name);
	}
}

static void test_ram_tables_what_it_points_to_counts(void **state)
{
	struct ram_tables *t = tables_new();

	(void)state;
	put_process(1);
	memset(memory[3], 0x55, RAM_TABLES_PAGE); /* text where a table must be */
	assert_int_equal(ram_tables_levels(t, to(1)), 0);
	put_process(1);
	memory[4][7] = 0xfd000000 | PAGE_OF_PROCESS; /* a screen, beyond the memory */
	assert_int_equal(ram_tables_levels(t, to(1)), 4);
	ram_tables_free(t);
}

static void test_ram_tables_circles_end(void **state)
{
	struct ram_tables *t = tables_new();
	struct seen seen = { .count = 0 };

	(void)state;
	put_process(1);
	for (unsigned i = 0; i < RAM_TABLES_ENTRIES; i++)
		memory[1][i] = to(1) | TABLE;
	assert_int_equal(ram_tables_walk(t, to(1), 4, mapping, &seen, NULL), 0);
	assert_int_equal(seen.count, RAM_TABLES_ENTRIES);
	ram_tables_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ram_tables_finds_and_walks),
		cmocka_unit_test(test_ram_tables_shared_are_walked_once),
		cmocka_unit_test(test_ram_tables_five_levels),
		cmocka_unit_test(test_ram_tables_not_roots),
		cmocka_unit_test(test_ram_tables_what_it_points_to_counts),
		cmocka_unit_test(test_ram_tables_circles_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
