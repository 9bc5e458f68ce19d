#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "common/base.h"
#include "common/hex.h"

static void test_hex_encodes_lower_case(void **state)
{
	char text[9];

	(void)state;
	hex_encode((const uint8_t[]){ 0x00, 0xab, 0xcd, 0xff }, 4, text);
	assert_string_equal(text, "00abcdff");
	hex_encode(NULL, 0, text);
	assert_string_equal(text, "");
}

static const struct {
	const char *text;
	size_t len;
	int want;
} decode_cases[] = {
	{ "00abCDff", 4, 0 },       { "", 0, 0 },
	{ "00abcdf", 4, -EINVAL },                               /* a digit short */
	{ "00abcd", 4, -EINVAL },                                /* a byte short */
	{ "", 1, -EINVAL },         { "00abcdff0", 4, -EINVAL }, /* a digit more */
	{ "00abcdfg", 4, -EINVAL }, { "00abcd f", 4, -EINVAL },
	{ "0x00abcd", 4, -EINVAL }, { "-1abcdff", 4, -EINVAL },
	{ "00", 0, -EINVAL },
};

static void test_hex_decodes_exactly_or_refuses(void **state)
{
	uint8_t bytes[4];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(decode_cases); i++)
		assert_int_equal(hex_decode(decode_cases[i].text, bytes, decode_cases[i].len),
				 decode_cases[i].want);
	assert_int_equal(hex_decode("00abCDff", bytes, 4), 0);
	assert_memory_equal(bytes, ((uint8_t[]){ 0x00, 0xab, 0xcd, 0xff }), 4);
}

static void test_hex_random_differs(void **state)
{
	char a[33], b[33], longest[513];

	(void)state;
	hex_random(a, 16);
	hex_random(b, 16);
	assert_int_equal(strlen(a), 32);
	assert_int_equal(strspn(a, "0123456789abcdef"), 32);
	assert_string_not_equal(a, b);
	hex_random(longest, 256);
	assert_int_equal(strlen(longest), 512);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hex_encodes_lower_case),
		cmocka_unit_test(test_hex_decodes_exactly_or_refuses),
		cmocka_unit_test(test_hex_random_differs),
	};

	return cmocka_run_group_tests_name("hex", tests, NULL, NULL);
}
