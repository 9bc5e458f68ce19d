/* What a child that is started apart sees of other processes: none. Tried without the other layers of the sandbox. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base.h"
#include "mgmt-server/scan/child.h"

/* $1 is this test's process, $2 another child of it. What they print goes to descriptor 3. */
static const struct {
	const char *name, *script, *want;
	int status;
} cases[] = {
	{ "it is the first", "echo $$ >&3", "1\n", 0 },
	{ "it cannot signal who started it", "kill -9 $1 || echo no >&3", "no\n", 0 },
	{ "nor who else that started", "kill -9 $2 || echo no >&3", "no\n", 0 },
	{ "all is only its own", "sleep 600 & kill -9 -1; wait $!; echo $? >&3", "137\n", 0 },
	{ "its status arrives", "exit 7", "", 7 },
};

static void test_child_apart_reaches_no_other(void **state)
{
	const char *const other_argv[] = { "/bin/sleep", "600", NULL };
	struct err err = { 0 };
	pid_t other = child_start(other_argv, NULL, 0, &err);
	char self_text[16], other_text[16];

	(void)state;
	assert_true(other > 0);
	snprintf(self_text, sizeof(self_text), "%d", getpid());
	snprintf(other_text, sizeof(other_text), "%d", other);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		const char *const argv[] = { "/bin/sh",  "-c", cases[i].script, "sh", self_text,
					     other_text, NULL };
		char text[64] = "";
		size_t len = 0;
		int ends[2], status;
		ssize_t n;
		pid_t pid;

		assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
		pid = child_start_apart(argv, &ends[1], 1, &err);
		close(ends[1]);
		if (pid < 0)
			fail_msg("%s: %s", cases[i].name, err_text(&err));
		while ((n = read(ends[0], text + len, sizeof(text) - 1 - len)) > 0)
			len += (size_t)n;
		close(ends[0]);
		status = child_end(pid, 0);
		if (strcmp(text, cases[i].want) != 0 || !WIFEXITED(status) ||
		    WEXITSTATUS(status) != cases[i].status)
			fail_msg("%s: '%s', status %d", cases[i].name, text, status);
	}
	assert_int_equal(waitpid(other, NULL, WNOHANG), 0);
	child_end(other, 1);
}

/* What it leaves behind ends with it, whoever else holds a descriptor of it. */
static void test_child_apart_takes_along_what_it_started(void **state)
{
	const char *const argv[] = { "/bin/sh", "-c", "sleep 600 & exit 0", NULL };
	struct err err = { 0 };
	int ends[2];
	pid_t pid;
	char byte;

	(void)state;
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	pid = child_start_apart(argv, &ends[1], 1, &err);
	close(ends[1]);
	assert_true(pid > 0);
	assert_int_equal(read(ends[0], &byte, 1), 0); /* or it waits for ten minutes */
	close(ends[0]);
	assert_int_equal(child_end(pid, 0), 0);
}

/* Ends when the child has told that it runs. */
static void *start_one(void *arg)
{
	const char *const argv[] = { "/bin/sh", "-c", "echo >&3; exec sleep 600", NULL };
	struct err err = { 0 };
	int ends[2];
	char byte;

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	*(pid_t *)arg = child_start_apart(argv, &ends[1], 1, &err);
	assert_int_equal(read(ends[0], &byte, 1), 1);
	close(ends[0]);
	close(ends[1]);
	return NULL;
}

/* The first process of a namespace is not spared. */
static void test_child_apart_dies_with_the_thread_that_started_it(void **state)
{
	pthread_t thread;
	pid_t pid = -1;
	int status;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, start_one, &pid), 0);
	pthread_join(thread, NULL);
	assert_true(pid > 0);
	status = child_end(pid, 0); /* or it waits for ten minutes */
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_child_apart_reaches_no_other),
		cmocka_unit_test(test_child_apart_takes_along_what_it_started),
		cmocka_unit_test(test_child_apart_dies_with_the_thread_that_started_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
