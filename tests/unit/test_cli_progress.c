#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "common/base.h"
#include "mgmt-server/cli/cli_format.h"
#include "mgmt-server/cli/cli_progress.h"

#define MIB (1ULL << 20)

static const struct {
	const char *name;
	struct cli_progress_line line;
	const char *want;
} cases[] = {
	{ "everything fits",
	  { "importing anna", 256 * MIB, 1024 * MIB, 64.0 * MIB, 100, false },
	  "importing anna  [#######.......................]   25 %  256 MiB of 1.0 GiB  64.0 MiB/s "
	  " "
	  "12.0 s left" },
	{ "no rate yet",
	  { "importing anna", 0, 1024 * MIB, 0, 80, false },
	  "importing anna  [..............................]    0 %  0 B of 1.0 GiB" },
	{ "narrow: no bar",
	  { "importing anna", 512 * MIB, 1024 * MIB, 0, 44, false },
	  "importing anna   50 %  512 MiB of 1.0 GiB" },
	{ "narrower: a short label",
	  { "importing anna", 512 * MIB, 1024 * MIB, 0, 36, false },
	  "importin…   50 %  512 MiB of 1.0 GiB" },
	{ "no measure",
	  { "waiting for the endpoint", 5, 0, 0, 80, false },
	  "waiting for the endpoint" },
	{ "done", { "x", 10, 10, 5, 60, false }, NULL },
	{ "evil label", { "a\033[2Jb", 5, 0, 0, 80, true }, "a?[2Jb" },
};

static void test_cli_progress_format(void **state)
{
	char text[1024];
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_LEN(cases); i++) {
		cli_progress_format(&cases[i].line, text, sizeof(text));
		if (cases[i].want)
			assert_string_equal(text, cases[i].want);
		assert_true(cli_format_width(text) <= cases[i].line.width);
	}
}

/* Whatever the terminal's width, the line fits and is whole UTF-8. */
static void test_cli_progress_always_fits(void **state)
{
	struct cli_progress_line line = {
		"größer als nötig: message", 3 * MIB, 7 * MIB, 1000, 0, true
	};
	char text[1024];

	(void)state;
	for (line.width = 1; line.width < 160; line.width++) {
		cli_progress_format(&line, text, sizeof(text));
		assert_true(cli_format_width(text) <= line.width);
		assert_true(strlen(text) > 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cli_progress_format),
		cmocka_unit_test(test_cli_progress_always_fits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
