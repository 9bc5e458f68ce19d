/* route: patterns, methods, roles, escapes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "common/base.h"
#include "mgmt-server/http/route.h"
#include "mgmt-server/http/static_files.h"

static const struct http_route routes[] = {
	{ .method = "GET", .pattern = "/api/desktops" },
	{ .method = "POST", .pattern = "/api/desktops" },
	{ .method = "GET", .pattern = "/api/desktops/{name}" },
	{ .method = "POST", .pattern = "/api/desktops/{name}/chunks" },
	{ .method = "POST", .pattern = "/api/desktops/{name}/{action}" },
	{ .method = "GET", .pattern = "/{path...}" },
};

static const struct {
	const char *method, *path;
	int want;
	size_t route;
	const char *name, *value;
} find_cases[] = {
	{ "GET", "/api/desktops", 0, 0, NULL, NULL },
	{ "HEAD", "/api/desktops", 0, 0, NULL, NULL },
	{ "POST", "/api/desktops", 0, 1, "name", NULL },
	{ "GET", "/api/desktops/anna", 0, 2, "name", "anna" },
	{ "POST", "/api/desktops/anna/chunks", 0, 3, "name", "anna" },
	{ "POST", "/api/desktops/anna/start", 0, 4, "action", "start" },
	{ "POST", "/api/desktops/anna/start/now", ROUTE_NONE, 0, NULL, NULL },
	{ "POST", "/api/desktops//start", ROUTE_NONE, 0, NULL, NULL },
	{ "DELETE", "/api/desktops/anna", ROUTE_METHOD, 0, NULL, NULL },
	{ "DELETE", "/style.css", ROUTE_NONE, 0, NULL, NULL },
	{ "GET", "/", 0, 5, "path", "" },
	{ "GET", "/a/b.js", 0, 5, "path", "a/b.js" },
	{ "GET", "", ROUTE_NONE, 0, NULL, NULL },
};

static void test_route_find(void **state)
{
	struct route_match match;
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_LEN(find_cases); i++) {
		int r = route_find(routes, ARRAY_LEN(routes), find_cases[i].method,
				   find_cases[i].path, &match);

		assert_int_equal(r, find_cases[i].want);
		if (r != 0)
			continue;
		assert_ptr_equal(match.route, &routes[find_cases[i].route]);
		if (find_cases[i].value)
			assert_string_equal(route_param(&match, find_cases[i].name),
					    find_cases[i].value);
		else if (find_cases[i].name)
			assert_null(route_param(&match, find_cases[i].name));
	}
}

static void test_route_find_long_parameter(void **state)
{
	char path[600] = "/api/desktops/";
	struct route_match match;

	(void)state;
	memset(path + 14, 'a', 500);
	assert_int_equal(route_find(routes, 5, "GET", path, &match), ROUTE_NONE);
	path[14 + ROUTE_PARAM_LEN - 1] = '\0';
	assert_int_equal(route_find(routes, 5, "GET", path, &match), 0);
}

static void test_route_roles_are_ordered(void **state)
{
	(void)state;
	assert_true(route_role_of("admin") > route_role_of("operator"));
	assert_true(route_role_of("operator") > route_role_of("auditor"));
	assert_true(route_role_of("auditor") > route_role_of("user"));
	assert_true(route_role_of("user") > route_role_of("root"));
	assert_int_equal(route_role_of(""), ROUTE_PUBLIC);
}

static const struct {
	const char *text, *want; /* want NULL: refused */
} unescape_cases[] = {
	{ "/plain", "/plain" }, { "%41%2f%2F", "A//" }, { "a%", NULL },
	{ "a%4", NULL },        { "a%zz", NULL },       { "a%00b", NULL },
	{ "a%0ab", NULL },      { "%7f", NULL },        { "%c3%a9", "\xc3\xa9" },
};

static void test_route_unescape(void **state)
{
	char text[64];
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_LEN(unescape_cases); i++) {
		strcpy(text, unescape_cases[i].text);
		assert_int_equal(route_unescape(text) == 0, unescape_cases[i].want != NULL);
		if (unescape_cases[i].want)
			assert_string_equal(text, unescape_cases[i].want);
	}
}

static void test_route_static_names(void **state)
{
	static const char *const good[] = { "", "index.html", "app/main.js", "a-b_c.9" };
	static const char *const bad[] = { "/etc/passwd", "../x", "a/../x", ".git/x", "a/.x",
					   "a//b",        "a\\b", "a b",    "a%2e",   "\xc3\xa9" };
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_LEN(good); i++)
		assert_true(static_files_name_ok(good[i]));
	for (i = 0; i < ARRAY_LEN(bad); i++)
		assert_false(static_files_name_ok(bad[i]));
	assert_string_equal(static_files_type("x.mjs"), "text/javascript; charset=utf-8");
	assert_string_equal(static_files_type("html"), "application/octet-stream");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_route_find),
		cmocka_unit_test(test_route_find_long_parameter),
		cmocka_unit_test(test_route_roles_are_ordered),
		cmocka_unit_test(test_route_unescape),
		cmocka_unit_test(test_route_static_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
