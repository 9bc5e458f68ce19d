#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "common/base.h"
#include "migrate/placement.h"

#define UP(n, total, used, disk, c, v)                                                             \
	{                                                                                          \
		n, true, total, used, disk, c, v                                                   \
	}
#define DOWN(n)                                                                                    \
	{                                                                                          \
		n, false, 65536, 0, 1ull << 40, 64, 0                                              \
	}
static const struct {
	const char *name;
	struct placement_endpoint endpoints[4];
	size_t n;
	struct placement_need need;
	const char *want; /* NULL: none */
	const char *why;
} cases[] = {
	{ "nobody", { { 0 } }, 0, { 1024, 0, 1, NULL }, NULL, "there is no endpoint" },
	{ "one that fits",
	  { UP("a", 8192, 4096, 1 << 30, 4, 2) },
	  1,
	  { 4096, 1 << 30, 2, NULL },
	  "a",
	  "" },
	{ "offline", { DOWN("a") }, 1, { 1024, 0, 1, NULL }, NULL, "a is offline" },
	{ "memory by one MiB",
	  { UP("a", 8192, 4097, 1 << 30, 4, 0) },
	  1,
	  { 4096, 0, 1, NULL },
	  NULL,
	  "a has 4095 MiB of memory free, 4096 are needed" },
	{ "more used than there is",
	  { UP("a", 8192, 9000, 1 << 30, 4, 0) },
	  1,
	  { 1, 0, 1, NULL },
	  NULL,
	  "a has 0 MiB of memory free" },
	{ "disk by one byte",
	  { UP("a", 8192, 0, (1 << 30) - 1, 4, 0) },
	  1,
	  { 1024, 1 << 30, 1, NULL },
	  NULL,
	  "a has 1023 MiB of disk free, 1024 are needed" },
	{ "just failed",
	  { UP("a", 8192, 0, 1 << 30, 4, 0) },
	  1,
	  { 1024, 0, 1, "a" },
	  NULL,
	  "a just failed" },
	{ "each says why",
	  { DOWN("a"), UP("b", 100, 0, 0, 1, 0), UP("c", 8192, 0, 0, 1, 0) },
	  3,
	  { 1024, 0, 1, "c" },
	  NULL,
	  "a is offline; b has 100 MiB of memory free, 1024 are needed; c just failed" },
	{ "less memory used",
	  { UP("a", 8192, 4096, 1 << 30, 8, 0), UP("b", 8192, 2048, 1 << 30, 8, 0) },
	  2,
	  { 1024, 0, 1, NULL },
	  "b",
	  "" },
	{ "share counts, not size",
	  { UP("a", 65536, 32768, 1 << 30, 64, 0), UP("b", 8192, 1024, 1 << 30, 64, 0) },
	  2,
	  { 1024, 0, 1, NULL },
	  "b",
	  "" },
	{ "fewer processors promised",
	  { UP("a", 8192, 0, 1 << 30, 4, 4), UP("b", 8192, 0, 1 << 30, 4, 0) },
	  2,
	  { 1024, 0, 2, NULL },
	  "b",
	  "" },
	{ "processors may be promised twice",
	  { UP("a", 8192, 0, 1 << 30, 2, 2) },
	  1,
	  { 1024, 0, 4, NULL },
	  "a",
	  "" },
	{ "equal: by name",
	  { UP("c", 8192, 0, 1 << 30, 4, 0), UP("b", 8192, 0, 1 << 30, 4, 0) },
	  2,
	  { 1024, 0, 1, NULL },
	  "b",
	  "" },
	{ "equal load: more memory free",
	  { UP("a", 1024, 0, 1 << 30, 1, 1), UP("b", 2048, 0, 1 << 30, 1, 1) },
	  2,
	  { 512, 0, 1, NULL },
	  "b",
	  "" },
	{ "the rest if the best just failed",
	  { UP("a", 8192, 0, 1 << 30, 4, 0), UP("b", 8192, 6000, 1 << 30, 4, 3) },
	  2,
	  { 1024, 0, 1, "a" },
	  "b",
	  "" },
	{ "no processors known",
	  { UP("a", 8192, 0, 1 << 30, 0, 0) },
	  1,
	  { 1024, 0, 1, NULL },
	  "a",
	  "" },
};

static void test_placement_choose(void **state)
{
	char why[256];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		int got = placement_choose(cases[i].endpoints, cases[i].n, &cases[i].need, why,
					   sizeof(why));
		const char *name = got >= 0 ? cases[i].endpoints[got].name : "none";

		if (strcmp(name, cases[i].want ? cases[i].want : "none") != 0 ||
		    !strstr(why, cases[i].why) || (got >= 0 && why[0]))
			fail_msg("%s: %s, why '%s'", cases[i].name, name, why);
	}
}

/* The reasons end where the room does. */
static void test_placement_short_buffer(void **state)
{
	static const struct placement_endpoint endpoints[] = { DOWN("first"), DOWN("second") };
	struct placement_need need = { .memory_mib = 1 };
	char why[40];

	(void)state;
	for (size_t len = 0; len <= sizeof(why); len++) {
		memset(why, '#', sizeof(why));
		assert_int_equal(placement_choose(endpoints, 2, &need, why, len), PLACEMENT_NONE);
		if (len)
			assert_true(strlen(why) < len);
		for (size_t i = len; i < sizeof(why); i++)
			assert_int_equal(why[i], '#');
	}
	assert_string_equal(why, "first is offline; second is offline");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_placement_choose),
		cmocka_unit_test(test_placement_short_buffer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
