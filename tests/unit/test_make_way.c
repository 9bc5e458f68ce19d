/* How long scans may stand still for desktops that come back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/base.h"
#include "mgmt-server/core/make_way.h"

enum { START = 1000000, S = 1000 };

static const struct {
	const char *name;
	struct make_way way;
	uint64_t now, want;
} cases[] = {
	{ "nothing ever stood", { 0, 0, 0 }, 5, MAKE_WAY_MAX_MS },
	{ "they stand since 10 s", { START, 0, 0 }, START + 10 * S, MAKE_WAY_MAX_MS - 10 * S },
	{ "they have stood long enough", { START, 0, 0 }, START + 61 * S, 0 },
	{ "what stood before counts", { START, 50 * S, 0 }, START + 9 * S, 1 * S },
	{ "... to the end", { START, 50 * S, 0 }, START + 10 * S, 0 },
	{ "it has just ended", { 0, 60 * S, START }, START, 0 },
	{ "20 s later a second is forgotten", { 0, 60 * S, START }, START + 20 * S, 1 * S },
	{ "20 minutes later all of it", { 0, 60 * S, START }, START + 1200 * S, MAKE_WAY_MAX_MS },
	{ "and no more than that", { 0, 60 * S, START }, START + 90000 * S, MAKE_WAY_MAX_MS },
	{ "a tick that came late has stood more than it should",
	  { 0, 70 * S, START },
	  START + 20 * S,
	  0 },
};

static void test_make_way_left(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_LEN(cases); i++) {
		uint64_t got = make_way_left(&cases[i].way, cases[i].now);

		if (got != cases[i].want)
			fail_msg("%s: got %ju, want %ju", cases[i].name, (uintmax_t)got,
				 (uintmax_t)cases[i].want);
	}
}

/* Whatever comes back, in the time that the answer to one content may take scans stand for less than its slack of 2 minutes. */
static void test_make_way_keeps_the_slack(void **state)
{
	struct make_way way = { 0 };
	uint64_t now, stood[24 * 60] = { 0 }, window = 0;
	size_t minute = 0;

	(void)state;
	for (now = START; minute < ARRAY_LEN(stood); now += S) { /* somebody always comes back */
		uint64_t left = make_way_left(&way, now);

		if (way.since_ms && left == 0) {
			way = (struct make_way){ .stood_ms = way.stood_ms + now - way.since_ms,
						 .ended_ms = now };
		} else if (!way.since_ms && left >= S) {
			way.stood_ms = MAKE_WAY_MAX_MS - left;
			way.since_ms = now;
		}
		stood[minute] += way.since_ms ? S : 0;
		minute = (now + S - START) / (60 * S);
	}
	for (minute = 0; minute < ARRAY_LEN(stood); minute++) {
		window += stood[minute] - (minute < 12 ? 0 : stood[minute - 12]);
		if (window >= 120 * S)
			fail_msg("%ju ms in the 12 minutes until %zu", (uintmax_t)window, minute);
	}
	assert_true(window > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_make_way_left),
		cmocka_unit_test(test_make_way_keeps_the_slack),
	};

	return cmocka_run_group_tests_name("make_way", tests, NULL, NULL);
}
