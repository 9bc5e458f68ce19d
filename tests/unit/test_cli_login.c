#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/io.h"
#include "mgmt-server/cli/cli_login.h"
#include "mgmt-server/cli/cli_server.h"

static char folder[] = "/tmp/godwit-test-login.XXXXXX";

static int set_up(void **state)
{
	(void)state;
	return mkdtemp(folder) && setenv("GODWIT_CONFIG_HOME", folder, 1) == 0 ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	cli_login_forget(NULL);
	return rmdir(folder);
}

static const struct {
	const char *given;
	const char *want; /* NULL: refused */
} url_cases[] = {
	{ "godwit.example.org", "https://godwit.example.org:8443" },
	{ "godwit.example.org:9000", "https://godwit.example.org:9000" },
	{ "https://godwit.example.org", "https://godwit.example.org" },
	{ "https://godwit.example.org:8443/", "https://godwit.example.org:8443" },
	{ "HTTPS://127.0.0.1:8443//", "https://127.0.0.1:8443" },
	{ "[::1]", "https://[::1]:8443" },
	{ "[::1]:9000", "https://[::1]:9000" },
	{ "http://godwit.example.org", NULL },
	{ "https://", NULL },
	{ "", NULL },
	{ "https://user@host", NULL },
	{ "https://host/path", NULL },
	{ "host name", NULL },
	{ "host\n", NULL },
};

static void test_cli_login_url(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_LEN(url_cases); i++) {
		struct err err = { .code = 0 };
		CLEANUP_FREE char *got = cli_login_url(url_cases[i].given, &err);

		if (url_cases[i].want) {
			assert_non_null(got);
			assert_string_equal(got, url_cases[i].want);
		} else {
			assert_null(got);
			assert_int_equal(err.code, EINVAL);
		}
	}
}

static void test_cli_login_fingerprint(void **state)
{
	static const char digits[] =
		"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
	static const char *const good[] = {
		"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff",
		"00112233445566778899AABBCCDDEEFF00112233445566778899AABBCCDDEEFF",
		("00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:"
		 "AA:BB:CC:DD:EE:FF"),
	};
	static const char *const bad[] = {
		"",
		"0011",
		"00112233445566778899aabbccddeeff00112233445566778899aabbccddeefg",
		"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff0",
	};
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_LEN(good); i++) {
		CLEANUP_FREE char *got = cli_login_fingerprint(good[i], NULL);

		assert_non_null(got);
		assert_string_equal(got, digits);
	}
	for (i = 0; i < ARRAY_LEN(bad); i++) {
		struct err err = { .code = 0 };

		assert_null(cli_login_fingerprint(bad[i], &err));
		assert_non_null(strstr(err_text(&err), "64 hexadecimal digits"));
	}
}

static struct cli_login sample(enum cli_login_trust trust)
{
	return (struct cli_login){
		.url = strdup("https://host:8443"),
		.user = strdup("eva"),
		.token = strdup("secret"),
		.expires = strdup("2026-11-23T00:00:00Z"),
		.trust = trust,
		.ca = trust == CLI_LOGIN_SYSTEM ? NULL : strdup("what is trusted"),
	};
}

static void test_cli_login_comes_back_as_it_was_saved(void **state)
{
	static const enum cli_login_trust trusts[] = { CLI_LOGIN_CA, CLI_LOGIN_FINGERPRINT,
						       CLI_LOGIN_SYSTEM };
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_LEN(trusts); i++) {
		struct cli_login saved = sample(trusts[i]), loaded;
		CLEANUP_FREE char *path = cli_login_path("login.json", NULL);
		struct stat st;

		assert_int_equal(cli_login_save(&saved, NULL), 0);
		assert_int_equal(stat(path, &st), 0);
		assert_int_equal(st.st_mode & 07777, 0600);
		assert_int_equal(cli_login_load(&loaded, NULL), 0);
		assert_string_equal(loaded.url, saved.url);
		assert_string_equal(loaded.token, saved.token);
		assert_int_equal(loaded.trust, saved.trust);
		if (saved.ca)
			assert_string_equal(loaded.ca, saved.ca);
		else
			assert_null(loaded.ca);
		cli_login_deinit(&saved);
		cli_login_deinit(&loaded);
	}
}

static void test_cli_login_none(void **state)
{
	struct cli_login login;

	(void)state;
	assert_int_equal(cli_login_forget(NULL), 0);
	assert_int_equal(cli_login_load(&login, NULL), CLI_LOGIN_NONE);
	assert_int_equal(cli_login_forget(NULL), 0); /* twice is fine */
}

static void test_cli_login_refuses_a_file_that_others_may_read(void **state)
{
	struct cli_login saved = sample(CLI_LOGIN_CA), loaded;
	CLEANUP_FREE char *path = cli_login_path("login.json", NULL);
	struct err err = { .code = 0 };

	(void)state;
	assert_int_equal(cli_login_save(&saved, NULL), 0);
	assert_int_equal(chmod(path, 0640), 0);
	assert_int_equal(cli_login_load(&loaded, &err), -EACCES);
	assert_non_null(strstr(err_text(&err), "chmod 600"));
	cli_login_deinit(&saved);
}

static void test_cli_login_refuses_a_broken_file(void **state)
{
	static const char *const texts[] = {
		"",
		"{}",
		"[]",
		"{\"url\": \"u\", \"user\": \"e\", \"token\": 7}",
		"{\"url\": \"u\", \"user\": \"e\", \"token\": \"t\", \"more\": 1}",
		("{\"url\": \"u\", \"user\": \"e\", \"token\": \"t\", \"ca_pem\": \"a\", "
		 "\"ca_fingerprint\": \"b\"}"),
	};
	CLEANUP_FREE char *path = cli_login_path("login.json", NULL);
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_LEN(texts); i++) {
		struct err err = { .code = 0 };
		struct cli_login loaded;

		assert_int_equal(io_replace_file(path, texts[i], strlen(texts[i]), 0600, NULL), 0);
		assert_int_equal(cli_login_load(&loaded, &err), -EINVAL);
		assert_non_null(strstr(err_text(&err), "login.json"));
	}
}

static void test_cli_server_path(void **state)
{
	static const struct {
		const char *format, *word, *want;
	} cases[] = {
		{ "/api/v1/jobs/%s", "j-1", "/api/v1/jobs/j-1" },
		{ "/api/v1/jobs/%s/cancel", "a/b?c#d", "/api/v1/jobs/a%2Fb%3Fc%23d/cancel" },
		{ "/api/v1/jobs/%s", "..", "/api/v1/jobs/%2E%2E" },
		{ "/api/v1/jobs/%s", "ü", "/api/v1/jobs/%C3%BC" },
		{ "/api/v1/server", "", "/api/v1/server" },
	};
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_LEN(cases); i++) {
		CLEANUP_FREE char *got = cli_server_path(cases[i].format, cases[i].word);

		assert_string_equal(got, cases[i].want);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cli_login_url),
		cmocka_unit_test(test_cli_login_fingerprint),
		cmocka_unit_test(test_cli_login_comes_back_as_it_was_saved),
		cmocka_unit_test(test_cli_login_none),
		cmocka_unit_test(test_cli_login_refuses_a_file_that_others_may_read),
		cmocka_unit_test(test_cli_login_refuses_a_broken_file),
		cmocka_unit_test(test_cli_server_path),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
