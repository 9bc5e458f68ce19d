#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "common/hex.h"
#include "snapshot/siphash.h"

static void test_siphash_reference_values(void **state)
{
	/* The reference implementation's vectors_sip128, key 00 01 … 0f, input 00 01 … */
	static const char *const want[] = { "a3817f04ba25a8e66df67214c7550293",
					    "da87c1d86b99af44347659119b22fc45",
					    "8177228da4a45dc7fca38bdef60affe4" };
	uint8_t key[SIPHASH_KEY_LEN], in[8], out[SIPHASH_LEN];
	char text[2 * SIPHASH_LEN + 1];

	(void)state;
	for (size_t i = 0; i < sizeof(key); i++)
		key[i] = (uint8_t)i;
	for (size_t i = 0; i < sizeof(in); i++)
		in[i] = (uint8_t)i;
	for (size_t len = 0; len < 3; len++) {
		siphash(key, in, len, out);
		hex_encode(out, sizeof(out), text);
		assert_string_equal(text, want[len]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_siphash_reference_values) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
