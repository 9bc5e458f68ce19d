/* auth: passwords are kept as hashes that only the right one matches; what is no hash is an error. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "mgmt-server/core/auth.h"

static void test_auth_passwords(void **state)
{
	struct err err = { 0 };
	char text[256];

	(void)state;
	assert_int_equal(auth_password_hash("a secret", text, &err), 0);
	assert_int_equal(auth_password_check("a secret", text, &err), 0);
	assert_int_equal(auth_password_check("a Secret", text, &err), -EACCES);
	assert_int_equal(auth_password_check("", text, &err), -EACCES);
	assert_int_equal(auth_password_check("x", "plain", &err), -EBADMSG);
	assert_int_equal(auth_password_check("x", "scrypt$99$8$3$00$00", &err), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_auth_passwords) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
