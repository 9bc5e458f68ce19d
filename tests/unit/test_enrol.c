#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "client-agent/enrol.h"
#include "common/base.h"

#define PRINT "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void test_enrol_token(void **state)
{
	static const struct {
		const char *name, *text;
		const char *secret; /* NULL: refused */
	} cases[] = {
		{ "plain", "gw1-abc123-" PRINT, "abc123" },
		{ "secret with dashes", "gw1-ab-c_1-" PRINT, "ab-c_1" },
		{ "upper-case fingerprint",
		  "gw1-x-0123456789ABCDEF0123456789abcdef0123456789abcdef"
		  "0123456789abcdef",
		  "x" },
		{ "empty", "", NULL },
		{ "nothing in it", "gw1-", NULL },
		{ "no secret", "gw1--" PRINT, NULL },
		{ "another version", "gw2-abc-" PRINT, NULL },
		{ "no fingerprint", "gw1-abc", NULL },
		{ "short fingerprint", "gw1-abc-0123", NULL },
		{ "long fingerprint", "gw1-abc-" PRINT "00", NULL },
		{ "fingerprint of other letters",
		  "gw1-abc-z123456789abcdef0123456789abcdef0123456789"
		  "abcdef0123456789abcdef",
		  NULL },
		{ "space in the secret", "gw1-a b-" PRINT, NULL },
		{ "line break in the secret", "gw1-a\nb-" PRINT, NULL },
		{ "secret too long", "gw1-" PRINT PRINT "x-" PRINT, NULL },
	};
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_LEN(cases); i++) {
		struct enrol_token token;
		struct err err = { 0 };
		int r = enrol_token_parse(cases[i].text, &token, &err);

		if (r != (cases[i].secret ? 0 : -EINVAL))
			fail_msg("%s: %d", cases[i].name, r);
		if (r == 0) {
			assert_string_equal(token.secret, cases[i].secret);
			assert_string_equal(token.fingerprint, PRINT);
		} else {
			assert_non_null(strstr(err.text, "gw1-SECRET-FINGERPRINT"));
		}
	}
}

static void test_enrol_refuses_bad_names_before_it_asks(void **state)
{
	static const char *const names[] = { "", "-a", "A", "a b", "a/b", "..", "ä" };
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_LEN(names); i++) {
		struct err err = { 0 };

		assert_int_equal(enrol_run(&(struct enrol_order){ .state_dir = "/nonexistent/x",
								  .server = "https://127.0.0.1:1",
								  .token = "gw1-abc-" PRINT,
								  .name = names[i] },
					   &err),
				 -EINVAL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_enrol_token),
		cmocka_unit_test(test_enrol_refuses_bad_names_before_it_asks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
