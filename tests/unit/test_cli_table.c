#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "mgmt-server/cli/cli_table.h"

static const struct cli_column columns[] = {
	{ .title = "NAME", .path = "name", .format = CLI_FORMAT_TEXT, .shrinks = true },
	{ .title = "STATE", .path = "state", .format = CLI_FORMAT_STATE },
	{ .title = "DISK", .path = "disk", .format = CLI_FORMAT_BYTES, .right = true, .yields = 1 },
	{ .title = "CPUS", .path = "cpus", .format = CLI_FORMAT_TEXT, .right = true, .yields = 2 },
};

static const char rows_text[] =
	"[{\"name\": \"anna\", \"state\": \"running\", \"disk\": 6442450944, \"cpus\": 2},"
	" {\"name\": \"a-desktop-with-a-long-name\", \"state\": \"lost\", \"disk\": 0, \"cpus\": "
	"16}]";

static char *print(const struct cli_table *table, const char *json, bool record)
{
	CLEANUP(json_decref) json_t *value = NULL;
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	assert_non_null(out);
	assert_int_equal(json_parse(&value, json, strlen(json), "rows", NULL), 0);
	assert_int_equal(record ? cli_table_print_record(table, value, out)
				: cli_table_print(table, value, out),
			 0);
	fclose(out);
	return text;
}

static const struct {
	const char *name;
	size_t width;
	bool colour;
	const char *want;
} fit_cases[] = {
	{ "no terminal: nothing is cut", 0, false,
	  "NAME                        STATE       DISK  CPUS\n"
	  "anna                        running  6.0 GiB     2\n"
	  "a-desktop-with-a-long-name  lost         0 B    16\n" },
	{ "names shrink first", 40, false,
	  "NAME              STATE       DISK  CPUS\n"
	  "anna              running  6.0 GiB     2\n"
	  "a-desktop-with-…  lost         0 B    16\n" },
	{ "then the least wanted column goes", 30, false,
	  "NAME      STATE       DISK\n"
	  "anna      running  6.0 GiB\n"
	  "a-deskt…  lost         0 B\n" },
	{ "a very narrow terminal", 10, false,
	  "NAME      STATE  \n"
	  "anna      running\n"
	  "a-deskt…  lost   \n" },
	{ "colours do not count as width", 40, true,
	  "\033[1mNAME\033[0m              \033[1mSTATE\033[0m       \033[1mDISK\033[0m  "
	  "\033[1mCPUS\033[0m\n"
	  "anna              \033[32mrunning\033[0m  6.0 GiB     2\n"
	  "a-desktop-with-…  \033[31mlost\033[0m         0 B    16\n" },
};

/* Spaces at a line's end do not matter. */
static void trim_lines(char *text)
{
	char *to = text, *from = text;

	for (; *from; from++) {
		if (*from == ' ' && from[strspn(from, " ")] == '\n')
			continue;
		*to++ = *from;
	}
	*to = 0;
}

static void test_cli_table_fits(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_LEN(fit_cases); i++) {
		struct cli_table table = {
			.columns = columns,
			.column_count = ARRAY_LEN(columns),
			.width = fit_cases[i].width,
			.colour = fit_cases[i].colour,
		};
		CLEANUP_FREE char *got = print(&table, rows_text, false);
		CLEANUP_FREE char *want = strdup(fit_cases[i].want);

		trim_lines(got);
		trim_lines(want);
		if (strcmp(got, want) != 0)
			print_error("%s\n", fit_cases[i].name);
		assert_string_equal(got, want);
	}
}

static void test_cli_table_empty_has_titles_only(void **state)
{
	struct cli_table table = { .columns = columns, .column_count = ARRAY_LEN(columns) };
	CLEANUP_FREE char *got = print(&table, "[]", false);

	(void)state;
	assert_string_equal(got, "NAME  STATE  DISK  CPUS\n");
}

static void test_cli_table_record_leaves_out_what_is_absent(void **state)
{
	struct cli_table table = { .columns = columns, .column_count = ARRAY_LEN(columns) };
	CLEANUP_FREE char *got =
		print(&table, "{\"name\": \"anna\", \"disk\": null, \"cpus\": 2}", true);

	(void)state;
	assert_string_equal(got, "NAME   anna\nDISK   -\nCPUS   2\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cli_table_fits),
		cmocka_unit_test(test_cli_table_empty_has_titles_only),
		cmocka_unit_test(test_cli_table_record_leaves_out_what_is_absent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
