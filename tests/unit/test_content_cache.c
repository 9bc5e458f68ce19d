/* Verdicts by content: found again whatever the hashes, never for another size, and never an unfinished one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "mgmt-server/scan/content_cache.h"

static void hash_of(unsigned n, uint8_t *sha256)
{
	memset(sha256, 0, CONTENT_CACHE_SHA256_LEN);
	/* All begin in the same slots: collisions are part of the test. */
	sha256[0] = (uint8_t)(n % 3);
	memcpy(sha256 + 16, &n, sizeof(n));
}

static void test_content_cache_remembers_verdicts(void **state)
{
	CLEANUP(content_cache_free) struct content_cache *cache = content_cache_new();
	uint8_t sha256[CONTENT_CACHE_SHA256_LEN];
	struct engine_reply reply;

	(void)state;
	for (unsigned n = 0; n < 5000; n++) {
		reply = (struct engine_reply){ .verdict = n % 2 ? ENGINE_INFECTED : ENGINE_CLEAN,
					       .text = "Bad" };
		hash_of(n, sha256);
		content_cache_add(cache, sha256, n + 1, &reply);
	}
	for (unsigned n = 0; n < 5000; n++) {
		hash_of(n, sha256);
		assert_true(content_cache_find(cache, sha256, n + 1, &reply));
		assert_int_equal(reply.verdict, n % 2 ? ENGINE_INFECTED : ENGINE_CLEAN);
		assert_string_equal(reply.text, n % 2 ? "Bad" : "");
		assert_false(content_cache_find(cache, sha256, n + 2, &reply));
	}
}

static void test_content_cache_forgets_unfinished_ones(void **state)
{
	CLEANUP(content_cache_free) struct content_cache *cache = content_cache_new();
	uint8_t sha256[CONTENT_CACHE_SHA256_LEN];
	struct engine_reply reply = { .verdict = ENGINE_UNFINISHED, .text = "limit" };

	(void)state;
	hash_of(1, sha256);
	content_cache_add(cache, sha256, 10, &reply);
	assert_false(content_cache_find(cache, sha256, 10, &reply));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_content_cache_remembers_verdicts),
		cmocka_unit_test(test_content_cache_forgets_unfinished_ones),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
