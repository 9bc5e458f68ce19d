#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

#include "common/base.h"
#include "common/clock.h"
#include "snapshot/store_retention.h"

static const char *const times[] = {
	"2023-12-31T12:00:00Z", "2024-01-01T12:00:00Z", "2024-06-30T23:59:59Z",
	"2024-07-01T00:00:00Z", "2024-07-06T10:00:00Z", "2024-07-07T10:00:00Z",
	"2024-07-08T10:00:00Z", "2024-07-08T10:20:00Z", "2024-07-08T11:00:00Z",
	"2024-07-08T11:30:00Z",
};

/* keep: which of `times` stay, one letter each. 7 July 2024 was a Sunday. */
static const struct {
	const char *name;
	uint64_t keep[STORE_RETENTION_RULES];
	uint64_t no_delete_ms;
	const char *want;
} cases[] = {
	{ "last", { [STORE_RETENTION_LAST] = 3 }, 0, ".......KKK" },
	{ "hourly", { [STORE_RETENTION_HOURLY] = 2 }, 0, ".......K.K" },
	{ "daily", { [STORE_RETENTION_DAILY] = 3 }, 0, "....KK...K" },
	{ "weekly", { [STORE_RETENTION_WEEKLY] = 3 }, 0, "..K..K...K" },
	{ "monthly", { [STORE_RETENTION_MONTHLY] = 2 }, 0, "..K......K" },
	{ "yearly", { [STORE_RETENTION_YEARLY] = 2 }, 0, "K........K" },
	{ "more than there are", { [STORE_RETENTION_YEARLY] = 99 }, 0, "K........K" },
	{ "two rules",
	  { [STORE_RETENTION_LAST] = 1, [STORE_RETENTION_MONTHLY] = 3 },
	  0,
	  ".KK......K" },
	{ "window",
	  { [STORE_RETENTION_LAST] = 1 },
	  3600000 + 1800000,
	  "......."
	  "."
	  "KK" },
};

static void test_store_retention_keeps_what_the_rules_say(void **state)
{
	(void)state;
	for (size_t c = 0; c < ARRAY_LEN(cases); c++) {
		struct store_retention_item items[ARRAY_LEN(times)] = { 0 };
		struct store_retention_policy policy = { .no_delete_ms = cases[c].no_delete_ms };
		char got[ARRAY_LEN(times) + 1] = "";

		memcpy(policy.keep, cases[c].keep, sizeof(policy.keep));
		assert_int_equal(clock_parse("2024-07-08T12:00:00Z", &policy.now_wall_ms), 0);
		for (size_t i = 0; i < ARRAY_LEN(times); i++)
			assert_int_equal(clock_parse(times[i], &items[i].created_wall_ms), 0);
		store_retention_decide(&policy, items, ARRAY_LEN(times));
		for (size_t i = 0; i < ARRAY_LEN(times); i++) {
			got[i] = items[i].keep ? 'K' : '.';
			assert_true(items[i].reason[0] != '\0');
		}
		if (strcmp(got, cases[c].want) != 0)
			fail_msg("%s: %s instead of %s", cases[c].name, got, cases[c].want);
	}
}

static void test_store_retention_pins_and_jumping_clocks(void **state)
{
	struct store_retention_item items[] = { { .created_wall_ms = 1000, .pinned = true },
						{ .created_wall_ms = 1500, .misdated = true },
						{ .created_wall_ms = 2000 },
						{ .created_wall_ms = 3000 },
						{ .created_wall_ms = 99000 } };
	const struct store_retention_policy policy = { .keep = { [STORE_RETENTION_LAST] = 1 },
						       .now_wall_ms = 5000 };

	(void)state;
	store_retention_decide(&policy, items, ARRAY_LEN(items));
	assert_true(items[0].keep);
	assert_string_equal(items[0].reason, "pinned");
	assert_string_equal(items[1].reason, "dated before its parent");
	assert_false(items[2].keep);
	assert_string_equal(items[2].reason, "no rule keeps it");
	/* What is from the future takes nobody's place. */
	assert_string_equal(items[3].reason, "last 1 of 1");
	assert_true(items[4].keep);
	assert_string_equal(items[4].reason, "from the future");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_store_retention_keeps_what_the_rules_say),
		cmocka_unit_test(test_store_retention_pins_and_jumping_clocks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
