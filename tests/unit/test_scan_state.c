/* What scans remember: several of them begin it at once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base.h"
#include "common/io.h"
#include "mgmt-server/scan/scan_state.h"

enum { AT_ONCE = 4, ROUNDS = 10 };

static void remove_state(const char *folder)
{
	static const char *const names[] = { "scan.db", "scan.db-wal", "scan.db-shm", "scan.lock" };
	size_t i;

	for (i = 0; i < ARRAY_LEN(names); i++) {
		CLEANUP_FREE char *path = io_printf("%s/%s", folder, names[i]);

		unlink(path);
	}
	rmdir(folder);
}

/* In a process of its own, as scans are. */
static _Noreturn void begin(const char *folder, int go)
{
	struct scan_state *state = NULL;
	struct err err = { 0 };
	bool anew = false;
	char byte;

	if (read(go, &byte, 1) != 0 || scan_state_open(&state, folder, &anew, &err) < 0 || anew) {
		fprintf(stderr, "anew %d: %s\n", anew, err_text(&err));
		_exit(1);
	}
	scan_state_close(state);
	_exit(0);
}

static void test_scan_state_is_begun_by_several(void **state)
{
	char parent[] = "/tmp/godwit-test-state.XXXXXX";
	int round, i;

	(void)state;
	assert_non_null(mkdtemp(parent));
	for (round = 0; round < ROUNDS; round++) {
		CLEANUP_FREE char *folder = io_printf("%s/scan", parent);
		pid_t pids[AT_ONCE];
		int go[2], failed = 0;

		assert_int_equal(pipe(go), 0);
		for (i = 0; i < AT_ONCE; i++) {
			pids[i] = fork();
			if (pids[i] == 0) {
				close(go[1]);
				begin(folder, go[0]);
			}
			assert_true(pids[i] > 0);
		}
		close(go[0]);
		close(go[1]); /* now, all of them */
		for (i = 0; i < AT_ONCE; i++) {
			int status = -1;

			waitpid(pids[i], &status, 0);
			failed += status != 0;
		}
		assert_int_equal(failed, 0);
		remove_state(folder);
	}
	rmdir(parent);
}

static void test_scan_state_says_why_it_cannot(void **state)
{
	struct scan_state *scans = NULL;
	struct err err = { 0 };

	(void)state;
	assert_int_equal(scan_state_open(&scans, "/dev/null/scan", NULL, &err), -ENOTDIR);
	assert_null(scans);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scan_state_is_begun_by_several),
		cmocka_unit_test(test_scan_state_says_why_it_cannot),
	};

	return cmocka_run_group_tests_name("scan_state", tests, NULL, NULL);
}
