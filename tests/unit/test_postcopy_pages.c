#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "migrate/postcopy_pages.h"

enum { PAGE = QEMU_STREAM_PAGE, GRID = 4 * PAGE, BLOCKS = 3 };

/* The last block ends within a chunk. */
static const uint64_t sizes[BLOCKS] = { 300 * GRID, 1 * PAGE, 70 * GRID + 2 * PAGE };
static const uint64_t chunks_of[BLOCKS] = { 300, 1, 71 };

static void make(struct postcopy_pages *p)
{
	*p = (struct postcopy_pages){ 0 };
	for (unsigned i = 0; i < BLOCKS; i++)
		assert_int_equal(postcopy_pages_add(p, sizes[i], GRID, NULL), 0);
	assert_int_equal(p->left, 1200 + 1 + 282);
	assert_int_equal(p->unasked, 372);
}

/* Whatever the guest touches in between: each chunk comes once, and none is forgotten. */
static void test_postcopy_pages_each_chunk_once(void **state)
{
	struct postcopy_pages_chunk got[7];
	struct postcopy_pages p;
	uint8_t seen[BLOCKS][300];
	size_t n, total;

	(void)state;
	for (unsigned seed = 1; seed <= 50; seed++) {
		make(&p);
		memset(seen, 0, sizeof(seen));
		total = 0;
		srand(seed);
		for (;;) {
			if (rand() % 3 == 0) {
				unsigned block = (unsigned)rand() % BLOCKS;
				struct postcopy_pages_chunk c = { block, (uint64_t)rand() %
										 chunks_of[block] };

				postcopy_pages_touched(&p, c);
				if (postcopy_pages_ask(&p, c)) {
					assert_int_equal(seen[block][c.number]++, 0);
					total++;
				} else {
					assert_int_equal(seen[block][c.number], 1);
				}
			}
			n = postcopy_pages_next(&p, got, 1 + (size_t)rand() % 7);
			if (n == 0)
				break;
			for (size_t i = 0; i < n; i++) {
				assert_true(got[i].block < BLOCKS &&
					    got[i].number < chunks_of[got[i].block]);
				assert_int_equal(seen[got[i].block][got[i].number]++, 0);
			}
			total += n;
		}
		assert_int_equal(total, 372);
		assert_int_equal(p.unasked, 0);
		postcopy_pages_deinit(&p);
	}
}

static void test_postcopy_pages_follows_the_guest(void **state)
{
	struct postcopy_pages_chunk c = { 0, 200 }, got[3];
	struct postcopy_pages p;

	(void)state;
	make(&p);
	assert_true(postcopy_pages_ask(&p, c));
	assert_false(postcopy_pages_ask(&p, c));
	postcopy_pages_touched(&p, c);
	assert_int_equal(postcopy_pages_next(&p, got, 3), 3);
	assert_int_equal(got[0].number, 201);
	assert_int_equal(got[2].number, 203);
	postcopy_pages_deinit(&p);
}

static void test_postcopy_pages_sends_once(void **state)
{
	struct postcopy_pages p;

	(void)state;
	make(&p);
	for (unsigned round = 0; round < 2; round++) {
		for (unsigned block = 0; block < BLOCKS; block++) {
			for (uint64_t page = 0; page < sizes[block] / PAGE; page++) {
				assert_int_equal(postcopy_pages_sent(&p, block, page), round == 1);
				assert_int_equal(postcopy_pages_send(&p, block, page), round == 0);
			}
		}
		assert_int_equal(p.left, 0);
	}
	postcopy_pages_deinit(&p);
}

/* Only chunks of which the destination has every page are left out. */
static void test_postcopy_pages_received(void **state)
{
	uint8_t bitmap[(300 * 4 + 63) / 64 * 8] = { 0 };
	struct postcopy_pages_chunk got[8];
	struct postcopy_pages p;

	(void)state;
	make(&p);
	bitmap[0] = 0xf7;  /* chunk 0 but for its page 3, all of chunk 1 */
	bitmap[1] = 0x0f;  /* chunk 2 */
	bitmap[35] = 0x03; /* 280, 281: the short end of the last block */
	postcopy_pages_received(&p, 2, bitmap);
	assert_int_equal(p.left, 1483 - 13);
	assert_int_equal(p.unasked, 372 - 3);
	assert_false(postcopy_pages_sent(&p, 2, 3));
	assert_true(postcopy_pages_sent(&p, 2, 281));
	postcopy_pages_touched(&p, (struct postcopy_pages_chunk){ 2, 0 });
	assert_int_equal(postcopy_pages_next(&p, got, 2), 2);
	assert_int_equal(got[0].number, 0);
	assert_int_equal(got[1].number, 3);
	postcopy_pages_touched(&p, (struct postcopy_pages_chunk){ 2, 69 });
	assert_int_equal(postcopy_pages_next(&p, got, 2), 2);
	assert_int_equal(got[0].number, 69);
	assert_int_equal(got[1].block, 0);
	postcopy_pages_deinit(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_postcopy_pages_each_chunk_once),
		cmocka_unit_test(test_postcopy_pages_follows_the_guest),
		cmocka_unit_test(test_postcopy_pages_sends_once),
		cmocka_unit_test(test_postcopy_pages_received),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
