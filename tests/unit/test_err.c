#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "common/err.h"

static void test_err_set_appends_the_reason(void **state)
{
	struct err err = { 0 };

	(void)state;
	assert_int_equal(err_set(&err, ENOENT, "open %s", "/x"), -ENOENT);
	assert_int_equal(err.code, ENOENT);
	assert_string_equal(err_text(&err), "open /x: No such file or directory");
}

static void test_err_say_stands_alone(void **state)
{
	struct err err = { 0 };

	(void)state;
	assert_int_equal(err_say(&err, EINVAL, "%d is too many", 7), -EINVAL);
	assert_string_equal(err_text(&err), "7 is too many");
	assert_int_equal(err_say(&err, EIO, "again"), -EIO);
	assert_int_equal(err.code, EIO);
	assert_string_equal(err_text(&err), "again");
}

static void test_err_wrap_puts_a_place_in_front(void **state)
{
	struct err err = { 0 };
	int r = err_say(&err, EINVAL, "bad");

	(void)state;
	assert_int_equal(err_wrap(&err, r, "line %d", 3), -EINVAL);
	assert_int_equal(err_wrap(&err, r, "file"), -EINVAL);
	assert_string_equal(err_text(&err), "file: line 3: bad");
	assert_int_equal(err.code, EINVAL);
}

static void test_err_may_be_absent(void **state)
{
	(void)state;
	assert_int_equal(err_set(NULL, EIO, "x"), -EIO);
	assert_int_equal(err_say(NULL, EIO, "x"), -EIO);
	assert_int_equal(err_wrap(NULL, -EIO, "x"), -EIO);
}

static void test_err_text_is_never_empty(void **state)
{
	struct err err = { .code = EACCES };

	(void)state;
	assert_string_equal(err_text(&err), "Permission denied");
	assert_int_equal(err_wrap(&err, -EACCES, "door"), -EACCES);
	assert_string_equal(err_text(&err), "door: Permission denied");
}

static void test_err_cuts_what_does_not_fit(void **state)
{
	char long_text[3 * ERR_TEXT_MAX];
	struct err err = { 0 };

	(void)state;
	memset(long_text, 'x', sizeof(long_text) - 1);
	long_text[sizeof(long_text) - 1] = 0;
	err_set(&err, EIO, "%s", long_text);
	assert_int_equal(strlen(err.text), ERR_TEXT_MAX - 1);
	err_wrap(&err, -EIO, "place");
	assert_int_equal(strlen(err.text), ERR_TEXT_MAX - 1);
	assert_memory_equal(err.text, "place: xxx", 10);

	/* Each length around the end: the reason is cut, never the terminator. */
	for (int len = ERR_TEXT_MAX - 30; len < ERR_TEXT_MAX + 5; len++) {
		err_set(&err, EIO, "%.*s", len, long_text);
		assert_in_range(strlen(err.text), ERR_TEXT_MAX - 30, ERR_TEXT_MAX - 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_err_set_appends_the_reason),
		cmocka_unit_test(test_err_say_stands_alone),
		cmocka_unit_test(test_err_wrap_puts_a_place_in_front),
		cmocka_unit_test(test_err_may_be_absent),
		cmocka_unit_test(test_err_text_is_never_empty),
		cmocka_unit_test(test_err_cuts_what_does_not_fit),
	};

	return cmocka_run_group_tests_name("err", tests, NULL, NULL);
}
