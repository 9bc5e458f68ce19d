#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "common/base.h"
#include "common/http_response.h"

static const struct {
	long status;
	const char *body;
	int want;
	const char *text;
} cases[] = {
	{ 200, "", 0, NULL },
	{ 204, "", 0, NULL },
	{ 299, "{\"title\":\"x\"}", 0, NULL },
	{ 100, "", -EIO, "ask: the server answered with HTTP status 100" },
	{ 199, "", -EIO, "ask: the server answered with HTTP status 199" },
	{ 300, "", -EIO, "ask: the server answered with HTTP status 300" },
	{ 302, "", -EIO, "ask: the server answered with HTTP status 302" },
	{ 400, "", -EINVAL, "ask: the server answered with HTTP status 400" },
	{ 401, "", -EACCES, NULL },
	{ 403, "", -EACCES, NULL },
	{ 404, "", -ENOENT, NULL },
	{ 405, "", -EIO, NULL },
	{ 409, "", -EEXIST, NULL },
	{ 412, "", -ESTALE, NULL },
	{ 413, "", -EFBIG, NULL },
	{ 429, "", -EIO, NULL },
	{ 500, "", -EIO, NULL },
	{ 507, "", -ENOSPC, NULL },
	{ 409, "{\"title\":\"Conflict\",\"detail\":\"d7 runs\"}", -EEXIST,
	  "ask: Conflict: d7 runs (HTTP status 409)" },
	{ 409, "{\"title\":\"Conflict\"}", -EEXIST, "ask: Conflict (HTTP status 409)" },
	{ 409, "{\"detail\":\"d7 runs\"}", -EEXIST, "ask: d7 runs (HTTP status 409)" },
	{ 409, "{\"title\":7,\"detail\":null}", -EEXIST,
	  "ask: the server answered with HTTP status 409" },
	{ 409, "[\"title\"]", -EEXIST, "ask: the server answered with HTTP status 409" },
	{ 409, "<html>", -EEXIST, "ask: the server answered with HTTP status 409" },
	{ 409, "{\"title\":\"a\\u001b[31m\\nb\\u007f\"}", -EEXIST,
	  "ask: a?[31m?b? (HTTP status 409)" },
};

static void test_http_response_statuses_become_errors(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct http_response response = {
			.status = cases[i].status,
			.body = (uint8_t *)cases[i].body,
			.body_len = strlen(cases[i].body),
		};
		struct err err = { 0 };

		if (http_response_check(&response, "ask", &err) != cases[i].want ||
		    (cases[i].text && strcmp(err_text(&err), cases[i].text) != 0))
			fail_msg("case %zu: %s", i, err_text(&err));
		assert_int_equal(err.code, -cases[i].want);
		assert_int_equal(http_response_check(&response, "ask", NULL), cases[i].want);
	}
}

static void test_http_response_long_problems_are_cut(void **state)
{
	static char body[1 << 16];
	struct http_response response = { .status = 400, .body = (uint8_t *)body };
	struct err err = { 0 };

	(void)state;
	memset(body, 'x', sizeof(body));
	memcpy(body, "{\"title\":\"", 10);
	memcpy(body + sizeof(body) - 3, "\"}", 3);
	response.body_len = sizeof(body) - 1;
	assert_int_equal(http_response_check(&response, "ask", &err), -EINVAL);
	assert_int_equal(strlen(err_text(&err)), ERR_TEXT_MAX - 1);
	assert_memory_equal(err_text(&err), "ask: xxx", 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_http_response_statuses_become_errors),
		cmocka_unit_test(test_http_response_long_problems_are_cut),
	};

	return cmocka_run_group_tests_name("http_response", tests, NULL, NULL);
}
