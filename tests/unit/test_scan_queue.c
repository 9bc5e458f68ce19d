/* Which reasons of an incomplete scan may pass: those are tried again, the others would end the same. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include "common/base.h"
#include "mgmt-server/core/scan_queue.h"

static void test_scan_queue_may_pass(void **state)
{
	static const struct {
		const char *reason;
		bool may_pass;
	} cases[] = {
		{ "no engine: no signatures in /x: run freshclam, or name another folder", true },
		{ "no engine: make a temp folder for the scan engine: No space left on device",
		  true },
		{ "outdated: the signatures are 9 days old", true },
		{ "unfinished: disk0 1 a.zip: the engine died twice while scanning it", true },
		{ "unfinished: disk0 1 a: the engine did not find its canary inside an archive",
		  true },
		{ "unreadable: disk0 1: godwit-scan-ext was ended by signal 9 (Killed)", true },
		{ "unreadable: disk0 : godwit-scan-parts: read the partition table: Bad message",
		  true },
		{ "cancelled", true },
		{ "unfinished: disk0 1 a.zip: Heuristics.Encrypted.Zip", false },
		{ "unfinished: disk0 1 a.zip: Heuristics.Limits.Exceeded.MaxRecursion", false },
		{ "encrypted: disk0: a LUKS volume", false },
		{ "unknown: disk0: no file system that is known", false },
		{ "", false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		if (scan_queue_may_pass(cases[i].reason) != cases[i].may_pass)
			fail_msg("%s", cases[i].reason);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scan_queue_may_pass),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
