#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdint.h>

#include "client-agent/heartbeat.h"
#include "common/base.h"

static void test_heartbeat_ttl_counts_from_sending(void **state)
{
	static const struct {
		const char *name;
		uint64_t ttl_ms, sent_ms, now_ms, want;
	} cases[] = {
		{ "answered at once", 6000, 1000, 1000, 6000 },
		{ "the journey is taken off", 6000, 1000, 1250, 5750 },
		{ "last millisecond", 6000, 1000, 6999, 1 },
		{ "exactly over", 6000, 1000, 7000, 0 },
		{ "long over", 6000, 1000, UINT64_MAX, 0 },
		{ "no right at all", 0, 1000, 1000, 0 },
		{ "longest", UINT64_MAX, 0, 1, UINT64_MAX - 1 },
		{ "a clock that went back", 6000, 1000, 900, 6000 },
	};
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_LEN(cases); i++) {
		uint64_t got = heartbeat_ttl_left(cases[i].ttl_ms, cases[i].sent_ms, cases[i].now_ms);

		if (got != cases[i].want)
			fail_msg("%s: %ju", cases[i].name, (uintmax_t)got);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_heartbeat_ttl_counts_from_sending),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
