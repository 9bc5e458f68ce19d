#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "common/clock.h"
#include "mgmt-server/cli/cli_format.h"

static void test_cli_format_bytes(void **state)
{
	static const struct {
		uint64_t bytes;
		const char *want;
	} cases[] = {
		{ 0, "0 B" },
		{ 1023, "1023 B" },
		{ 1024, "1.0 KiB" },
		{ 1536, "1.5 KiB" },
		{ 100 * 1024, "100 KiB" },
		{ 1048575, "1.0 MiB" }, /* never "1024 KiB" */
		{ 6442450944, "6.0 GiB" },
		{ UINT64_MAX, "16.0 EiB" },
	};
	char text[32];
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_LEN(cases); i++) {
		cli_format_bytes(cases[i].bytes, text, sizeof(text));
		assert_string_equal(text, cases[i].want);
	}
}

static void test_cli_format_ms(void **state)
{
	static const struct {
		double ms;
		const char *want;
	} cases[] = {
		{ 0.5, "0.5 ms" },        { 23.4, "23 ms" },        { 999, "999 ms" },
		{ 1500, "1.5 s" },        { 99949, "99.9 s" },      { 100000, "1 min 40 s" },
		{ 200000, "3 min 20 s" }, { 7260000, "2 h 1 min" },
	};
	char text[32];
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_LEN(cases); i++) {
		cli_format_ms(cases[i].ms, text, sizeof(text));
		assert_string_equal(text, cases[i].want);
	}
}

static void test_cli_format_ago(void **state)
{
	static const struct {
		int64_t seconds; /* before now */
		const char *want;
	} cases[] = {
		{ 0, "just now" },    { 1, "just now" },        { 40, "40 s ago" },
		{ 119, "119 s ago" }, { 120, "2 min ago" },     { 7199, "119 min ago" },
		{ 7200, "2 h ago" },  { 172800, "2 days ago" }, { -3600, "in 60 min" },
		{ -30, "in 30 s" },
	};
	const uint64_t now = 1800000000000;
	char text[32];
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_LEN(cases); i++) {
		cli_format_ago((uint64_t)((int64_t)now - cases[i].seconds * 1000), now, text,
			       sizeof(text));
		assert_string_equal(text, cases[i].want);
	}
}

static const char job_text[] =
	"{\"id\": \"j1\", \"done_bytes\": 999, \"total_bytes\": 1000, \"error\": null, \"ok\": "
	"true,"
	" \"pause_ms\": 23.4, \"machine\": {\"memory_mib\": 2048}, \"desktops\": [\"anna\", "
	"\"bert\"],"
	" \"none\": [], \"message\": \"\", \"evil\": \"a\\u001b[31mb\\u009b2J\\n\","
	" \"seen\": \"2026-11-22T16:45:12Z\", \"word\": \"yesterday\"}";

static void test_cli_format_value(void **state)
{
	static const struct {
		const char *path;
		enum cli_format format;
		const char *want;
	} cases[] = {
		{ "id", CLI_FORMAT_TEXT, "j1" },
		{ "", CLI_FORMAT_PROGRESS, "99 %" }, /* not done, so not 100 */
		{ "error", CLI_FORMAT_TEXT, "-" },
		{ "absent.deeper", CLI_FORMAT_TEXT, "-" },
		{ "ok", CLI_FORMAT_TEXT, "yes" },
		{ "pause_ms", CLI_FORMAT_MS, "23 ms" },
		{ "machine.memory_mib", CLI_FORMAT_MIB, "2.0 GiB" },
		{ "desktops", CLI_FORMAT_LIST, "anna, bert" },
		{ "none", CLI_FORMAT_LIST, "-" },
		{ "message", CLI_FORMAT_TEXT, "-" },
		{ "evil", CLI_FORMAT_TEXT, "a?[31mb??2J?" },
		{ "seen", CLI_FORMAT_AGO, "48 s ago" },
		/* Another type than expected is shown as it is, never lost. */
		{ "word", CLI_FORMAT_AGO, "yesterday" },
		{ "id", CLI_FORMAT_BYTES, "j1" },
		{ "machine", CLI_FORMAT_TEXT, "{\"memory_mib\":2048}" },
	};
	CLEANUP(json_decref) json_t *job = NULL;
	char text[CLI_FORMAT_MAX];
	uint64_t now;
	size_t i;

	(void)state;
	assert_int_equal(json_parse(&job, job_text, strlen(job_text), "job", NULL), 0);
	assert_int_equal(clock_parse("2026-11-22T16:46:00Z", &now), 0);
	for (i = 0; i < ARRAY_LEN(cases); i++) {
		cli_format_value(cli_format_find(job, cases[i].path), cases[i].format, now, text,
				 sizeof(text));
		assert_string_equal(text, cases[i].want);
	}
}

static void test_cli_format_long_lists_end_in_bounds(void **state)
{
	CLEANUP(json_decref) json_t *list = json_array();
	char text[32];
	size_t i;

	(void)state;
	for (i = 0; i < 100; i++)
		json_array_append_new(list, json_string("desktop"));
	cli_format_value(list, CLI_FORMAT_LIST, 0, text, sizeof(text));
	assert_true(strlen(text) < sizeof(text));
	assert_memory_equal(text, "desktop, desktop, ", 18);
}

static void test_cli_format_cut(void **state)
{
	static const struct {
		const char *text;
		size_t width;
		const char *want;
	} cases[] = {
		{ "short", 10, "short" },        { "exactly", 7, "exactly" },
		{ "longer text", 7, "longer…" }, { "größer", 6, "größer" },
		{ "größere", 4, "grö…" },        { "ab", 1, "…" },
		{ "anything", 0, "anything" },
	};
	char text[64];
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_LEN(cases); i++) {
		snprintf(text, sizeof(text), "%s", cases[i].text);
		cli_format_cut(text, sizeof(text), cases[i].width);
		assert_string_equal(text, cases[i].want);
	}
	snprintf(text, 4, "abc"); /* no room for the three bytes of "…" */
	cli_format_cut(text, 4, 2);
	assert_string_equal(text, "a");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cli_format_bytes),
		cmocka_unit_test(test_cli_format_ms),
		cmocka_unit_test(test_cli_format_ago),
		cmocka_unit_test(test_cli_format_value),
		cmocka_unit_test(test_cli_format_long_lists_end_in_bounds),
		cmocka_unit_test(test_cli_format_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
