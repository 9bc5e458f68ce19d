/* Which stretches of a process are put together: those with a break in them, once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "mgmt-server/scan/physical_memory.h"
#include "mgmt-server/scan/ram_runs.h"

enum { MEMORY = 64 << 20, BASE = 0x400000 };

/* Each run as "VIRTUAL PAGE:COUNT"; addresses in pages. */
static char said[4096];

static int run(void *arg, uint64_t virtual, const uint64_t *pages, size_t count, struct err *err)
{
	size_t at = strlen(said);

	(void)arg, (void)err;
	snprintf(said + at, sizeof(said) - at, "%s%lu:%zu@%lu", at ? " " : "",
		 (unsigned long)((virtual - BASE) / RAM_RUNS_PAGE), count,
		 (unsigned long)(pages[0] / RAM_RUNS_PAGE));
	return 0;
}

/* A process: pieces of `count` pages at virtual page `at`, which lie at physical page `from`. count 0: the next process. */
struct piece {
	uint64_t at, from, count;
};

static const struct {
	const char *name;
	struct piece pieces[6];
	const char *want;
} cases[] = {
	{ "contiguous", { { 0, 100, 500 } }, "" },
	{ "one break", { { 0, 100, 3 }, { 3, 200, 3 } }, "0:6@100" },
	{ "backwards", { { 0, 101, 1 }, { 1, 100, 1 } }, "0:2@101" },
	{ "a gap is no break", { { 0, 100, 3 }, { 4, 200, 3 } }, "" },
	{ "around a break, 16 to 32 pages on each side",
	  { { 0, 512, 512 }, { 512, 2048, 512 } },
	  "493:35@1005" },
	{ "long stretch after a break", { { 0, 7, 1 }, { 1, 512, 512 } }, "0:17@7" },
	{ "twice the same",
	  { { 0, 100, 3 }, { 3, 200, 3 }, { 0, 0, 0 }, { 9, 100, 3 }, { 12, 200, 3 } },
	  "0:6@100" },
	{ "a part of it",
	  { { 0, 100, 3 }, { 3, 200, 3 }, { 0, 0, 0 }, { 1, 101, 2 }, { 3, 200, 2 } },
	  "0:6@100" },
	{ "one more",
	  { { 0, 100, 3 }, { 3, 200, 3 }, { 0, 0, 0 }, { 0, 100, 3 }, { 3, 200, 4 } },
	  "0:6@100 0:7@100" },
	{ "other order",
	  { { 0, 100, 3 }, { 3, 200, 3 }, { 0, 0, 0 }, { 0, 200, 3 }, { 3, 100, 3 } },
	  "0:6@100 0:6@200" },
};

static void test_ram_runs_cases(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct ram_runs *s = NULL;

		said[0] = '\0';
		assert_int_equal(ram_runs_new(&s, MEMORY, run, NULL, NULL), 0);
		for (size_t k = 0; k < 6; k++) {
			const struct piece *p = &cases[i].pieces[k];

			if (!p->count)
				assert_int_equal(ram_runs_end(s, NULL), 0);
			for (uint64_t n = 0; n < p->count; n++)
				assert_int_equal(ram_runs_page(s,
							       BASE + (p->at + n) * RAM_RUNS_PAGE,
							       (p->from + n) * RAM_RUNS_PAGE, NULL),
						 0);
		}
		assert_int_equal(ram_runs_end(s, NULL), 0);
		ram_runs_free(s);
		if (strcmp(said, cases[i].want))
			fail_msg("%s: %s instead of %s", cases[i].name, said, cases[i].want);
	}
}

static void test_ram_runs_long_ones_come_in_pieces(void **state)
{
	struct ram_runs *s = NULL;
	char want[64];

	(void)state;
	said[0] = '\0';
	assert_int_equal(ram_runs_new(&s, MEMORY, run, NULL, NULL), 0);
	for (uint64_t n = 0; n < RAM_RUNS_LONGEST + 100; n++)
		assert_int_equal(ram_runs_page(s, BASE + n * RAM_RUNS_PAGE,
					       (3 * n + 1) * RAM_RUNS_PAGE, NULL),
				 0);
	assert_int_equal(ram_runs_end(s, NULL), 0);
	snprintf(want, sizeof(want), "0:%d@1 %d:%d@%d", RAM_RUNS_LONGEST,
		 RAM_RUNS_LONGEST - RAM_RUNS_EDGE, 100 + RAM_RUNS_EDGE,
		 3 * (RAM_RUNS_LONGEST - RAM_RUNS_EDGE) + 1);
	assert_string_equal(said, want);
	ram_runs_free(s);
}

/* A byte says which MiB of the block it is of. */
static int read_block(void *ctx, uint8_t *buf, size_t len, uint64_t offset, struct err *err)
{
	(void)ctx, (void)err;
	for (size_t i = 0; i < len; i++)
		buf[i] = (uint8_t)((offset + i) >> 24);
	return 0;
}

static void test_ram_runs_physical_memory(void **state)
{
	static const struct {
		const char *type;
		uint64_t mib, size_mib, below_mib;
	} layouts[] = {
		{ "pc-q35-10.0", 2815, 2815, 2815 },   { "pc-q35-10.0", 2816, 4096 + 768, 2048 },
		{ "pc-i440fx-9.2", 3000, 3000, 3000 }, { "pc-i440fx-9.2", 4096, 4096 + 1024, 3072 },
		{ "microvm", 4096, 4096, 4096 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(layouts) / sizeof(layouts[0]); i++) {
		const struct volume_input block = { .size = layouts[i].mib << 20,
						    .read = read_block };
		uint64_t below = layouts[i].below_mib << 20, len;
		struct physical_memory m;
		struct volume_input v;
		uint8_t two[2];
		bool zero;

		physical_memory_init(&m, layouts[i].type, &block);
		v = physical_memory_input(&m);
		assert_int_equal(v.size >> 20, layouts[i].size_mib);
		if (v.size == block.size)
			continue;
		assert_int_equal(v.read(v.ctx, two, 2, below - 1, NULL), 0);
		assert_int_equal(two[0], (uint8_t)((below - 1) >> 24));
		assert_int_equal(two[1], 0);
		assert_int_equal(v.read(v.ctx, two, 2, (4096ULL << 20) - 1, NULL), 0);
		assert_int_equal(two[0], 0);
		assert_int_equal(two[1], (uint8_t)(below >> 24));
		assert_int_equal(v.extent(v.ctx, below - 4096, &len, &zero, NULL), 0);
		assert_true(!zero && len == 4096);
		assert_int_equal(v.extent(v.ctx, below, &len, &zero, NULL), 0);
		assert_true(zero && len == (4096ULL << 20) - below);
		assert_int_equal(v.extent(v.ctx, 4096ULL << 20, &len, &zero, NULL), 0);
		assert_true(!zero && len == block.size - below);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ram_runs_cases),
		cmocka_unit_test(test_ram_runs_long_ones_come_in_pieces),
		cmocka_unit_test(test_ram_runs_physical_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
