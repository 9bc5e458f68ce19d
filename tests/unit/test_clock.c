#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>

#include "common/base.h"
#include "common/clock.h"

static const struct {
	uint64_t wall_ms;
	const char *text;
} format_cases[] = {
	{ 0, "1970-01-01T00:00:00Z" },
	{ 999, "1970-01-01T00:00:00Z" },
	{ 951782400000, "2000-02-29T00:00:00Z" },
	{ 1795365912000, "2026-11-22T16:45:12Z" },
	{ 253402300799000, "9999-12-31T23:59:59Z" },
	{ 253402300800000, "9999-12-31T23:59:59Z" },
	{ UINT64_MAX, "9999-12-31T23:59:59Z" },
};

static void test_clock_formats_and_reads_back(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(format_cases); i++) {
		char text[CLOCK_TEXT_LEN], again[CLOCK_TEXT_LEN];
		uint64_t wall_ms = 1;

		clock_format(format_cases[i].wall_ms, text);
		assert_string_equal(text, format_cases[i].text);
		assert_int_equal(clock_parse(text, &wall_ms), 0);
		clock_format(wall_ms, again);
		assert_string_equal(again, text);
		assert_int_equal(wall_ms % 1000, 0);
	}
}

static const char *const bad[] = {
	"",
	"2026-11-22",
	"2026-11-22T16:45:12",
	"2026-11-22T16:45:12z",
	"2026-11-22 16:45:12Z",
	"2026-11-22T16:45:12Z ",
	" 2026-11-22T16:45:1Z",
	"2026-11-22T16:45:12.5Z",
	"2026-11-22T16:45:12+01:00",
	"2026-13-01T00:00:00Z",
	"2026-00-01T00:00:00Z",
	"2026-02-29T00:00:00Z",
	"2026-04-31T00:00:00Z",
	"2026-11-22T24:00:00Z",
	"2026-11-22T23:60:00Z",
	"2026-11-22T23:59:60Z",
	"1969-12-31T23:59:59Z",
	"+026-11-22T16:45:12Z",
	"20x6-11-22T16:45:12Z",
};

static void test_clock_refuses_what_is_no_time(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		uint64_t wall_ms = 42;

		if (clock_parse(bad[i], &wall_ms) != -EINVAL)
			fail_msg("'%s' was taken", bad[i]);
		assert_int_equal(wall_ms, 42);
	}
}

static void test_clock_goes_forward(void **state)
{
	uint64_t ms = clock_now_ms(), us = clock_now_us(), wall = clock_wall_ms();

	(void)state;
	clock_sleep_ms(30);
	assert_in_range(clock_now_ms() - ms, 30, 60000);
	assert_in_range(clock_now_us() - us, 30000, 60000000);
	assert_true(wall > 1700000000000);
	clock_sleep_ms(0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_clock_formats_and_reads_back),
		cmocka_unit_test(test_clock_refuses_what_is_no_time),
		cmocka_unit_test(test_clock_goes_forward),
	};

	return cmocka_run_group_tests_name("clock", tests, NULL, NULL);
}
