#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

#include "snapshot/crc32c.h"

static void test_crc32c_known_values(void **state)
{
	uint8_t buf[32];

	(void)state;
	/* RFC 3720, appendix B.4 */
	memset(buf, 0, sizeof(buf));
	assert_int_equal(crc32c(0, buf, sizeof(buf)), 0x8a9136aa);
	memset(buf, 0xff, sizeof(buf));
	assert_int_equal(crc32c(0, buf, sizeof(buf)), 0x62a8ab43);
	assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
	assert_int_equal(crc32c_portable(0, "123456789", 9), 0xe3069283);
}

static void test_crc32c_in_pieces_and_both_ways(void **state)
{
	uint8_t buf[1000];

	(void)state;
	for (size_t i = 0; i < sizeof(buf); i++)
		buf[i] = (uint8_t)(i * 7 + i / 13);
	for (size_t at = 0; at <= sizeof(buf); at += 37) {
		uint32_t whole = crc32c(0, buf, sizeof(buf));

		assert_int_equal(crc32c(crc32c(0, buf, at), buf + at, sizeof(buf) - at), whole);
		assert_int_equal(crc32c_portable(0, buf, at), crc32c(0, buf, at));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_crc32c_known_values),
		cmocka_unit_test(test_crc32c_in_pieces_and_both_ways),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
