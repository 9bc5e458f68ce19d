/* Deadlines, and the file that carries them across a restart. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base.h"
#include "common/io.h"
#include "hypervisor/lease_guard.h"

#define BOOT "0f0e0d0c-1111-4222-8333-444455556666"

static const struct {
	const char *name;
	bool strict;
	uint64_t deadline_ms, now_ms, left;
	bool fences;
} times[] = {
	{ "before the end", true, 5000, 1000, 4000, false },
	{ "a moment before", true, 5000, 4999, 1, false },
	{ "at the end", true, 5000, 5000, 0, true },
	{ "after it", true, 5000, 9000, 0, true },
	{ "never granted", true, 0, 1, 0, true },
	{ "offline-ok runs on", false, 5000, 9000, 0, false },
};

static void test_lease_guard_time(void **unused)
{
	(void)unused;
	for (size_t i = 0; i < ARRAY_LEN(times); i++) {
		struct lease_guard g = { .strict = times[i].strict,
					 .deadline_ms = times[i].deadline_ms };

		if (lease_guard_left(&g, times[i].now_ms) != times[i].left ||
		    lease_guard_fences(&g, times[i].now_ms) != times[i].fences)
			fail_msg("%s", times[i].name);
	}
}

static void test_lease_guard_renew(void **unused)
{
	struct lease_guard g = { .strict = true };

	(void)unused;
	lease_guard_renew(&g, 1000, 500);
	assert_int_equal(g.deadline_ms, 1500);
	lease_guard_renew(&g, 1000, 100); /* a shorter one counts too: the server decides */
	assert_int_equal(g.deadline_ms, 1100);
	lease_guard_renew(&g, 1000, UINT64_MAX);
	assert_true(g.deadline_ms == UINT64_MAX);
}

static const struct {
	const char *name, *text;
	int want;
} files[] = {
	{ "good", "strict 12345 " BOOT "    \n", 0 },
	{ "empty", "", -EBADMSG },
	{ "unknown policy", "lax 12345 " BOOT "\n", -EBADMSG },
	{ "no number", "strict soon " BOOT "\n", -EBADMSG },
	{ "no boot", "strict 12345\n", -EBADMSG },
};

static void test_lease_guard_file(void **unused)
{
	char folder[] = "/tmp/test_lease_guard.XXXXXX";
	CLEANUP_FREE char *path = NULL;
	struct lease_guard in = { .strict = true, .deadline_ms = UINT64_MAX - 1 }, out;
	struct err err;

	(void)unused;
	assert_non_null(mkdtemp(folder));
	path = io_printf("%s/lease", folder);
	assert_int_equal(lease_guard_load(&out, path, BOOT, &err), -ENOENT);
	assert_int_equal(lease_guard_save(&in, path, BOOT, &err), 0);
	in.deadline_ms = 7; /* a shorter text over a longer one */
	assert_int_equal(lease_guard_save(&in, path, BOOT, &err), 0);
	assert_int_equal(lease_guard_load(&out, path, BOOT, &err), 0);
	assert_true(out.strict && out.deadline_ms == 7);
	assert_int_equal(lease_guard_load(&out, path, "another-boot", &err), 0);
	assert_true(out.strict && lease_guard_fences(&out, 1));
	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		assert_int_equal(
			io_replace_file(path, files[i].text, strlen(files[i].text), 0600, &err), 0);
		if (lease_guard_load(&out, path, BOOT, &err) != files[i].want)
			fail_msg("%s", files[i].name);
	}
	unlink(path);
	rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lease_guard_time),
		cmocka_unit_test(test_lease_guard_renew),
		cmocka_unit_test(test_lease_guard_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
