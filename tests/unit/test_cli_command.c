#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "mgmt-server/cli/cli_command.h"
#include "mgmt-server/cli/cli_help.h"
#include "mgmt-server/cli/cli_suggest.h"

enum { WORDS_MAX = 12 };

/* Split at spaces and parse; the words stay in @buf. */
static int parse(const char *line, char buf[256], struct cli_call *call, struct err *err)
{
	char *argv[WORDS_MAX + 1], *save = NULL, *word;
	int argc = 0;

	snprintf(buf, 256, "%s", line);
	for (word = strtok_r(buf, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
		assert_true(argc < WORDS_MAX);
		argv[argc++] = word;
	}
	argv[argc] = NULL;
	return cli_command_parse(argc, argv, call, err);
}

static const struct {
	const char *line;
	const char *noun, *verb;
	const char *word; /* the first */
	const char *body; /* what the request would hold */
} good_cases[] = {
	{ "godwit desktop list", "desktop", "list", NULL, "{}" },
	{ "godwit logout", "logout", NULL, NULL, "{}" },
	{ "godwit desktop start anna --endpoint b", "desktop", "start", "anna",
	  "{\"endpoint\":\"b\"}" },
	{ "godwit desktop start --endpoint=b anna", "desktop", "start", "anna",
	  "{\"endpoint\":\"b\"}" },
	{ "godwit desktop stop anna --force --timeout 90s", "desktop", "stop", "anna",
	  "{\"force\":true,\"timeout_ms\":90000}" },
	{ "godwit desktop snapshot anna --no-memory", "desktop", "snapshot", "anna",
	  "{\"memory\":false}" },
	{ "godwit desktop import anna disk.img --vcpus 4 --memory 2G --network none", "desktop",
	  "import", "anna", "{\"memory_mib\":2048,\"network\":\"none\",\"vcpus\":4}" },
	{ "godwit endpoint token --ttl 2h", "endpoint", "token", NULL, "{\"ttl_s\":7200}" },
	{ "godwit job list --state failed --desktop anna", "job", "list", NULL,
	  "{\"desktop\":\"anna\",\"state\":\"failed\"}" },
};

static void test_cli_command_parse(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_LEN(good_cases); i++) {
		struct err err = { .code = 0 };
		struct cli_call call;
		char buf[256];
		int r = parse(good_cases[i].line, buf, &call, &err);
		CLEANUP(json_decref) json_t *body = NULL;
		CLEANUP_FREE char *text = NULL;

		if (r != 0)
			print_error("%s: %s\n", good_cases[i].line, err_text(&err));
		assert_int_equal(r, 0);
		assert_string_equal(call.command->noun, good_cases[i].noun);
		if (good_cases[i].verb)
			assert_string_equal(call.command->verb, good_cases[i].verb);
		if (good_cases[i].word)
			assert_string_equal(call.words[0], good_cases[i].word);
		else
			assert_null(call.words[0]);
		body = cli_options_body(call.command->options, call.values,
					call.command->option_count);
		text = json_dumps(body, JSON_COMPACT | JSON_SORT_KEYS);
		assert_string_equal(text, good_cases[i].body);
	}
}

static void test_cli_command_globals(void **state)
{
	struct err err = { .code = 0 };
	struct cli_call call;
	char buf[256];

	(void)state;
	assert_int_equal(parse("godwit --output json desktop list", buf, &call, &err), 0);
	assert_int_equal(call.output, CLI_OUTPUT_JSON);
	assert_int_equal(parse("godwit desktop list --output table", buf, &call, &err), 0);
	assert_int_equal(call.output, CLI_OUTPUT_TABLE);
	assert_int_equal(parse("godwit desktop start anna --no-wait --quiet", buf, &call, &err), 0);
	assert_true(call.no_wait && call.quiet);
	assert_int_equal(parse("godwit desktop start anna", buf, &call, &err), 0);
	assert_false(call.no_wait);
}

static const struct {
	const char *line, *says;
} bad_cases[] = {
	{ "godwit desktopp list", "did you mean 'desktop'?" },
	{ "godwit frobnicate", "godwit --help" },
	{ "godwit desktop strat anna", "did you mean 'start'?" },
	{ "godwit desktop frobnicate", "godwit desktop --help" },
	{ "godwit desktop start", "DESKTOP is missing" },
	{ "godwit desktop start anna bert", "no place for 'bert'" },
	{ "godwit desktop start Anna", "'Anna' is no name" },
	{ "godwit desktop show ../../etc", "is no name" },
	{ "godwit desktop show -- -anna", "is no name" },
	{ "godwit desktop start anna --endpont b", "did you mean --endpoint?" },
	{ "godwit desktop start anna --frobnicate", "no option --frobnicate" },
	{ "godwit desktop start anna --endpoint", "--endpoint needs a value" },
	{ "godwit desktop start anna --endpoint B!", "'B!' is no name" },
	{ "godwit desktop stop anna --timeout 5y", "500ms, 90s or 10m" },
	{ "godwit desktop stop anna -f", "no option -f" },
	{ "godwit desktop list --limit 0", "a number from 1 on" },
	{ "godwit desktop list --limit -3", "a number from 1 on" },
	{ "godwit desktop list --limit 99999999999999999999", "a number from 1 on" },
	{ "godwit desktop list --output xml", "none of table|json" },
	{ "godwit desktop list --no-wait", "no option --no-wait" }, /* it starts no job */
	{ "godwit desktop create anna --memory lots", "512M or 2G" },
	{ "godwit desktop create anna --network wifi", "none of user|none" },
};

static void test_cli_command_bad(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_LEN(bad_cases); i++) {
		struct err err = { .code = 0 };
		struct cli_call call;
		char buf[256];
		int r = parse(bad_cases[i].line, buf, &call, &err);

		if (r != -EINVAL || !strstr(err_text(&err), bad_cases[i].says))
			print_error("%s -> %d: %s\n", bad_cases[i].line, r, err_text(&err));
		assert_int_equal(r, -EINVAL);
		assert_non_null(strstr(err_text(&err), bad_cases[i].says));
	}
}

static const struct {
	const char *line, *shows;
} help_cases[] = {
	{ "godwit", "Usage: godwit NOUN VERB" },
	{ "godwit --help", "desktop failover DESKTOP" },
	{ "godwit help", "Exit status: 0 done" },
	{ "godwit desktop", "Usage: godwit desktop VERB" },
	{ "godwit desktop --help", "desktop import NAME IMAGE" },
	{ "godwit help desktop", "desktop import NAME IMAGE" },
	{ "godwit desktop import --help", "--format raw|qcow2|vmdk|vhdx|vhd|vdi" },
	{ "godwit help desktop start", "--no-wait" },
	{ "godwit login --help", "--fingerprint HEX" },
};

static void test_cli_command_help(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_LEN(help_cases); i++) {
		CLEANUP_FREE char *text = NULL;
		struct err err = { .code = 0 };
		struct cli_call call;
		char buf[256];
		size_t len;
		FILE *out;

		assert_int_equal(parse(help_cases[i].line, buf, &call, &err), CLI_COMMAND_HELP);
		out = open_memstream(&text, &len);
		assert_non_null(out);
		cli_help_print(&call, out);
		fclose(out);
		if (!strstr(text, help_cases[i].shows))
			print_error("%s shows:\n%s", help_cases[i].line, text);
		assert_non_null(strstr(text, help_cases[i].shows));
	}
}

/* What the parser and the help take for granted about the table. */
static void test_cli_command_table_is_sound(void **state)
{
	size_t i, j;

	(void)state;
	for (i = 0; i < cli_commands_count; i++) {
		const struct cli_command *c = &cli_commands[i];

		assert_true(c->option_count <= CLI_OPTIONS_MAX);
		assert_non_null(c->run);
		assert_true(c->summary[0] >= 'a' && c->summary[0] <= 'z');
		assert_true(!c->view || c->view->count <= CLI_TABLE_COLUMNS_MAX);
		assert_true(!c->path || strncmp(c->path, "/api/v1/", 8) == 0);
		assert_int_equal(c->path && strstr(c->path, "%s"),
				 c->path && c->words && c->verb && strcmp(c->verb, "create"));
		for (j = 0; j < c->option_count; j++) {
			const struct cli_option *o = &c->options[j];
			bool flag = o->kind == CLI_FLAG || o->kind == CLI_FLAG_OFF;

			assert_int_equal(flag, !o->argument);
			assert_int_equal(o->kind == CLI_CHOICE, o->choices != NULL);
			assert_non_null(o->help);
		}
	}
}

static void test_cli_suggest(void **state)
{
	static const char *const words[] = { "start", "stop", "suspend", "snapshot", NULL };

	(void)state;
	assert_int_equal(cli_suggest_distance("start", "start"), 0);
	assert_int_equal(cli_suggest_distance("strat", "start"), 1);
	assert_int_equal(cli_suggest_distance("", "stop"), 4);
	assert_string_equal(cli_suggest("stpo", words, 5), "stop");
	assert_string_equal(cli_suggest("snapshto", words, 5), "snapshot");
	assert_null(cli_suggest("unrelated", words, 5));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cli_command_parse),
		cmocka_unit_test(test_cli_command_globals),
		cmocka_unit_test(test_cli_command_bad),
		cmocka_unit_test(test_cli_command_help),
		cmocka_unit_test(test_cli_command_table_is_sound),
		cmocka_unit_test(test_cli_suggest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
