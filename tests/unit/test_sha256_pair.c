#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdint.h>
#include <stdlib.h>

#include "common/base.h"
#include "snapshot/chunk.h"
#include "snapshot/sha256_pair.h"

/* Both messages, of every length around block ends, get the digests that OpenSSL gives them; alignment does not matter. */
static void test_sha256_pair_agrees_with_openssl(void **state)
{
	enum { ROOM = 65536 + 64 };
	CLEANUP_FREE uint8_t *a = malloc(ROOM), *b = malloc(ROOM);
	static const size_t long_lengths[] = { 4096, 8191, 65535, 65536, 65537 };

	(void)state;
	assert_non_null(a);
	assert_non_null(b);
	if (!sha256_pair_possible())
		skip();
	for (size_t i = 0; i < ROOM; i++) {
		a[i] = (uint8_t)(i * 2654435761u >> 24);
		b[i] = (uint8_t)(i * 40503u >> 7);
	}
	for (size_t i = 0; i < 260 + ARRAY_LEN(long_lengths); i++) {
		size_t len = i < 260 ? i : long_lengths[i - 260];
		struct chunk_id got[2], want[2];

		sha256_pair(a + i % 17, b + i % 5, len, got[0].bytes, got[1].bytes);
		chunk_id_of(a + i % 17, len, &want[0]);
		chunk_id_of(b + i % 5, len, &want[1]);
		assert_memory_equal(got, want, sizeof(want));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sha256_pair_agrees_with_openssl),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
