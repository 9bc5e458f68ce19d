#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base.h"
#include "common/config.h"
#include "common/io.h"

struct settings {
	char *url, *state;
	uint64_t port, cache, interval;
	bool strict;
};

static const struct config_key keys[] = {
	{ "server", "url", CONFIG_STRING, offsetof(struct settings, url), NULL, "where it is" },
	{ "server", "port", CONFIG_UINT, offsetof(struct settings, port), "8444", "its port" },
	{ "agent", "state", CONFIG_STRING, offsetof(struct settings, state), "/var/lib/x",
	  "its folder" },
	{ "agent", "cache", CONFIG_BYTES, offsetof(struct settings, cache), "2G", "how much" },
	{ "agent", "interval", CONFIG_DURATION, offsetof(struct settings, interval), "3s",
	  "how often" },
	{ "agent", "strict", CONFIG_BOOL, offsetof(struct settings, strict), "yes", "whether" },
};

static char path[] = "/tmp/godwit-test-config.XXXXXX";

static int make_file(void **state)
{
	int fd = mkstemp(path);

	(void)state;
	base_close(fd);
	return fd < 0;
}

static int remove_file(void **state)
{
	(void)state;
	return unlink(path);
}

static int load(const char *text, size_t len, struct settings *into, struct err *err)
{
	assert_int_equal(io_replace_file(path, text, len, 0600, err), 0);
	return config_load(path, keys, ARRAY_LEN(keys), into, err);
}

static void test_config_file_overrides_presets(void **state)
{
	static const char text[] = "; a comment\n"
				   "# another\n"
				   "[server]\n"
				   "url = https://a.example:1 ; why not\r\n"
				   "\n"
				   "  [agent]\n"
				   "\tcache=64K\n"
				   "  interval = 500ms\n"
				   "strict = no";
	struct settings s;
	struct err err = { 0 };

	(void)state;
	if (load(text, strlen(text), &s, &err) < 0)
		fail_msg("%s", err_text(&err));
	assert_string_equal(s.url, "https://a.example:1");
	assert_string_equal(s.state, "/var/lib/x");
	assert_int_equal(s.port, 8444);
	assert_int_equal(s.cache, 64 << 10);
	assert_int_equal(s.interval, 500);
	assert_false(s.strict);
	config_free(keys, ARRAY_LEN(keys), &s);
	assert_null(s.url);
	config_free(keys, ARRAY_LEN(keys), &s);
}

static const struct {
	const char *name, *value;
	uint64_t want;
} number_cases[] = {
	{ "port", "0", 0 },
	{ "port", "18446744073709551615", UINT64_MAX },
	{ "cache", "0", 0 },
	{ "cache", "4096", 4096 },
	{ "cache", "1K", 1 << 10 },
	{ "cache", "20M", 20 << 20 },
	{ "cache", "3G", 3ull << 30 },
	{ "cache", "16777215T", 16777215ull << 40 },
	{ "interval", "0s", 0 },
	{ "interval", "250ms", 250 },
	{ "interval", "6s", 6000 },
	{ "interval", "10m", 600000 },
	{ "interval", "2h", 7200000 },
	{ "interval", "1d", 86400000 },
};

static void test_config_reads_numbers_with_units(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(number_cases); i++) {
		const char *name = number_cases[i].name;
		CLEANUP_FREE char *text = io_printf("[server]\nurl=x\n[%s]\n%s = %s\n",
						    strcmp(name, "port") == 0 ? "server" : "agent",
						    name, number_cases[i].value);
		struct settings s;
		struct err err = { 0 };

		if (load(text, strlen(text), &s, &err) < 0)
			fail_msg("%s", err_text(&err));
		if ((strcmp(name, "port") == 0    ? s.port
		     : strcmp(name, "cache") == 0 ? s.cache
						  : s.interval) != number_cases[i].want)
			fail_msg("%s = %s", name, number_cases[i].value);
		config_free(keys, ARRAY_LEN(keys), &s);
	}
}

#define LONG_80 "12345678901234567890123456789012345678901234567890123456789012345678901234567890"

static const struct {
	const char *text;
	int line; /* that the error names; 0: none */
	const char *says;
} error_cases[] = {
	{ "[server]\nurl=x\n[agent]\ncashe = 1\n", 4, "unknown key 'cashe' in section [agent]" },
	{ "[server]\nurl=x\nstate = y\n", 3, "unknown key 'state' in section [server]" },
	{ "[sevrer]\nurl=x\n", 2, "unknown section [sevrer]" },
	{ "url = x\n", 1, "before the first [section]" },
	{ "[server]\nurl=x\nurl=y\n", 3, "already set in line 2" },
	{ "[server]\nurl=x\n[agent]\n[server]\nurl=x\n", 5, "already set in line 2" },
	{ "[server]\nurl=x\nport = -1\n", 3, "must be a whole number" },
	{ "[server]\nurl=x\nport = +1\n", 3, "must be a whole number" },
	{ "[server]\nurl=x\nport = 0x10\n", 3, "must be a whole number" },
	{ "[server]\nurl=x\nport = 84 43\n", 3, "must be a whole number" },
	{ "[server]\nurl=x\nport =\n", 3, "must be a whole number" },
	{ "[server]\nurl=x\nport = 1 # no comment\n", 3, "must be a whole number" },
	{ "[server]\nurl=x\nport = 18446744073709551616\n", 3, "must be a whole number" },
	{ "[server]\nurl=x\n[agent]\ncache = 1 K\n", 4, "must be a size" },
	{ "[server]\nurl=x\n[agent]\ncache = 1KB\n", 4, "must be a size" },
	{ "[server]\nurl=x\n[agent]\ncache = 1k\n", 4, "must be a size" },
	{ "[server]\nurl=x\n[agent]\ncache = 16777216T\n", 4, "must be a size" },
	{ "[server]\nurl=x\n[agent]\ncache = M\n", 4, "must be a size" },
	{ "[server]\nurl=x\n[agent]\ninterval = 5\n", 4, "must be a duration" },
	{ "[server]\nurl=x\n[agent]\ninterval = 5 s\n", 4, "must be a duration" },
	{ "[server]\nurl=x\n[agent]\ninterval = 5w\n", 4, "must be a duration" },
	{ "[server]\nurl=x\n[agent]\ninterval = 1.5h\n", 4, "must be a duration" },
	{ "[server]\nurl=x\n[agent]\nstrict = true\n", 4, "must be yes or no" },
	{ "[server]\nurl=x\n[agent]\nstrict = Yes\n", 4, "must be yes or no" },
	{ "[server]\nurl=x\nnonsense\n", 3, "neither [section] nor key = value" },
	{ "[server\nurl=x\n", 1, "neither [section] nor key = value" },
	{ "[server]\nurl=x\nnonsense\nport = y\n", 3, "neither [section] nor key = value" },
	{ "[server]\nurl=x\nport = y\nnonsense\n", 3, "must be a whole number" },
	{ "[server]\nurl=" LONG_80 LONG_80 LONG_80 "\n", 2, "characters" },
	{ "[server]\nport = 1\n", 0, "'url' in section [server] must be given: where it is" },
	{ "", 0, "'url' in section [server] must be given" },
};

static void test_config_errors_name_file_and_line(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(error_cases); i++) {
		CLEANUP_FREE char *place = error_cases[i].line
						   ? io_printf("%s:%d: ", path, error_cases[i].line)
						   : strdup(path);
		struct settings s;
		struct err err = { 0 };

		assert_int_equal(load(error_cases[i].text, strlen(error_cases[i].text), &s, &err),
				 -EINVAL);
		if (strncmp(err_text(&err), place, strlen(place)) != 0 ||
		    !strstr(err_text(&err), error_cases[i].says))
			fail_msg("case %zu: %s", i, err_text(&err));
		config_free(keys, ARRAY_LEN(keys), &s);
	}
}

static void test_config_refuses_what_is_no_text(void **state)
{
	struct settings s;
	struct err err = { 0 };

	(void)state;
	assert_int_equal(load("[server]\nurl=x\0y\n", 17, &s, &err), -EINVAL);
	assert_non_null(strstr(err_text(&err), "zero byte"));
	config_free(keys, ARRAY_LEN(keys), &s);

	assert_int_equal(config_load("/nonexistent/godwit.conf", keys, ARRAY_LEN(keys), &s, &err),
			 -ENOENT);
	config_free(keys, ARRAY_LEN(keys), &s);
	assert_int_equal(config_load("/tmp", keys, ARRAY_LEN(keys), &s, &err), -EISDIR);
	config_free(keys, ARRAY_LEN(keys), &s);
}

static void test_config_presets_alone(void **state)
{
	struct settings s;
	struct err err = { 0 };

	(void)state;
	assert_int_equal(config_load(NULL, keys + 1, ARRAY_LEN(keys) - 1, &s, &err), 0);
	assert_int_equal(s.cache, 2ull << 30);
	assert_int_equal(s.interval, 3000);
	assert_true(s.strict);
	config_free(keys + 1, ARRAY_LEN(keys) - 1, &s);
	assert_int_equal(config_load(NULL, keys, ARRAY_LEN(keys), &s, &err), -EINVAL);
	config_free(keys, ARRAY_LEN(keys), &s);
}

static void test_config_help_is_a_file_that_loads(void **state)
{
	CLEANUP_FREE char *text = NULL;
	struct settings s;
	struct err err = { 0 };
	size_t len;
	FILE *f = open_memstream(&text, &len);

	(void)state;
	config_print_help(f, keys, ARRAY_LEN(keys));
	fclose(f);
	assert_non_null(strstr(text, "; must be given:\n;url ="));
	memcpy(strstr(text, ";url = "), "url = x", 7);
	if (load(text, len, &s, &err) < 0)
		fail_msg("%s in:\n%s", err_text(&err), text);
	assert_string_equal(s.url, "x");
	assert_string_equal(s.state, "/var/lib/x");
	assert_int_equal(s.port, 8444);
	config_free(keys, ARRAY_LEN(keys), &s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_config_file_overrides_presets),
		cmocka_unit_test(test_config_reads_numbers_with_units),
		cmocka_unit_test(test_config_errors_name_file_and_line),
		cmocka_unit_test(test_config_refuses_what_is_no_text),
		cmocka_unit_test(test_config_presets_alone),
		cmocka_unit_test(test_config_help_is_a_file_that_loads),
	};

	return cmocka_run_group_tests_name("config", tests, make_file, remove_file);
}
