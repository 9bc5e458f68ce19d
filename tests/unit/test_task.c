#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "common/clock.h"
#include "common/task.h"

static atomic_uint ran, at_gate;
static atomic_bool gate; /* tasks of wait_for_gate go on when it is true */

static int count(void *arg, struct err *err)
{
	(void)err;
	if (arg)
		(*(unsigned *)arg)++;
	ran++;
	return 0;
}

static int wait_for_gate(void *arg, struct err *err)
{
	at_gate++;
	while (!gate)
		clock_sleep_ms(1);
	return count(arg, err);
}

static int break_down(void *arg, struct err *err)
{
	ran++;
	return err_say(err, EIO, "task %d broke", *(int *)arg);
}

static struct task_pool *pool_of(unsigned threads, size_t queue)
{
	struct task_pool *pool = NULL;
	struct err err = { 0 };

	if (task_pool_new(&pool, threads, queue, &err) < 0)
		fail_msg("%s", err_text(&err));
	ran = at_gate = 0;
	gate = false;
	return pool;
}

static void test_task_runs_each_once(void **state)
{
	CLEANUP(task_pool_free) struct task_pool *pool = pool_of(4, 3);
	static unsigned counts[1000];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(counts); i++)
		assert_int_equal(task_pool_submit(pool, count, &counts[i]), 0);
	assert_int_equal(task_pool_wait(pool, NULL), 0);
	for (size_t i = 0; i < ARRAY_LEN(counts); i++)
		assert_int_equal(counts[i], 1);
	assert_int_equal(ran, 1000);
	assert_int_equal(task_pool_threads(pool), 4);
}

static int meet(void *arg, struct err *err)
{
	(void)err;
	pthread_barrier_wait(arg);
	return 0;
}

static void test_task_runs_as_many_at_once_as_it_has_threads(void **state)
{
	CLEANUP(task_pool_free) struct task_pool *pool = pool_of(5, 1);
	pthread_barrier_t barrier;

	(void)state;
	pthread_barrier_init(&barrier, NULL, 5); /* would never open for fewer */
	for (int i = 0; i < 5; i++)
		assert_int_equal(task_pool_submit(pool, meet, &barrier), 0);
	assert_int_equal(task_pool_wait(pool, NULL), 0);
	pthread_barrier_destroy(&barrier);
}

static void test_task_count_defaults_to_the_processors(void **state)
{
	CLEANUP(task_pool_free) struct task_pool *pool = pool_of(0, 0);

	(void)state;
	assert_in_range(task_pool_threads(pool), 1, 4096);
	assert_int_equal(task_pool_submit(pool, count, NULL), 0);
	assert_int_equal(task_pool_wait(pool, NULL), 0);
	assert_int_equal(ran, 1);
}

static void *submit_one(void *pool)
{
	return (void *)(intptr_t)task_pool_submit(pool, count, NULL);
}

static void test_task_submit_blocks_while_the_queue_is_full(void **state)
{
	CLEANUP(task_pool_free) struct task_pool *pool = pool_of(1, 2);
	pthread_t thread;
	void *result;

	(void)state;
	for (int i = 0; i < 3; i++) /* one runs, two wait */
		assert_int_equal(task_pool_submit(pool, wait_for_gate, NULL), 0);
	assert_int_equal(pthread_create(&thread, NULL, submit_one, pool), 0);
	clock_sleep_ms(100);
	assert_int_equal(pthread_tryjoin_np(thread, &result), EBUSY);
	gate = true;
	pthread_join(thread, &result);
	assert_null(result);
	assert_int_equal(task_pool_wait(pool, NULL), 0);
	assert_int_equal(ran, 4);
}

static void test_task_failure_ends_the_batch(void **state)
{
	CLEANUP(task_pool_free) struct task_pool *pool = pool_of(1, 10);
	struct err err = { 0 };
	int first = 1, second = 2;

	(void)state;
	assert_int_equal(task_pool_submit(pool, wait_for_gate, NULL), 0);
	assert_int_equal(task_pool_submit(pool, break_down, &first), 0);
	assert_int_equal(task_pool_submit(pool, break_down, &second), 0);
	assert_int_equal(task_pool_submit(pool, count, NULL), 0);
	gate = true;
	assert_int_equal(task_pool_wait(pool, &err), -EIO);
	assert_int_equal(err.code, EIO);
	assert_string_equal(err_text(&err), "task 1 broke");
	assert_int_equal(ran, 2); /* the rest was dropped */

	/* A new batch starts clean. */
	assert_int_equal(task_pool_submit(pool, count, NULL), 0);
	assert_int_equal(task_pool_wait(pool, &err), 0);
	assert_int_equal(ran, 3);
}

static void test_task_submit_reports_an_earlier_failure(void **state)
{
	CLEANUP(task_pool_free) struct task_pool *pool = pool_of(1, 1);
	int number = 7, r = 0, submitted = 0;

	(void)state;
	assert_int_equal(task_pool_submit(pool, break_down, &number), 0);
	while (r == 0 && submitted < 100000) {
		r = task_pool_submit(pool, count, NULL);
		submitted++;
	}
	assert_int_equal(r, -EIO);
	assert_int_equal(task_pool_submit(pool, count, NULL), -EIO);
	assert_int_equal(task_pool_wait(pool, NULL), -EIO);
	assert_int_equal(task_pool_wait(pool, NULL), 0);
}

static void test_task_submit_that_waits_hears_of_a_failure(void **state)
{
	CLEANUP(task_pool_free) struct task_pool *pool = pool_of(1, 1);
	int number = 7;
	pthread_t thread;
	void *result;

	(void)state;
	assert_int_equal(task_pool_submit(pool, wait_for_gate, NULL), 0);
	assert_int_equal(task_pool_submit(pool, break_down, &number), 0);
	assert_int_equal(pthread_create(&thread, NULL, submit_one, pool), 0);
	gate = true;
	pthread_join(thread, &result);
	/* It found room before the failure or was told of it; it is never left waiting. */
	assert_true((intptr_t)result == 0 || (intptr_t)result == -EIO);
	assert_int_equal(task_pool_wait(pool, NULL), -EIO);
}

static void test_task_free_drops_what_waits(void **state)
{
	struct task_pool *pool = pool_of(1, 10);

	(void)state;
	for (int i = 0; i < 5; i++)
		assert_int_equal(task_pool_submit(pool, wait_for_gate, NULL), 0);
	while (at_gate == 0)
		clock_sleep_ms(1);
	gate = true;
	task_pool_free(pool);
	assert_in_range(ran, 1, 5);
	task_pool_free(NULL);
}

static int look_at_signals(void *arg, struct err *err)
{
	(void)err;
	return -pthread_sigmask(SIG_SETMASK, NULL, arg);
}

static void test_task_workers_take_no_signals(void **state)
{
	CLEANUP(task_pool_free) struct task_pool *pool = pool_of(1, 1);
	sigset_t worker, own;

	(void)state;
	assert_int_equal(task_pool_submit(pool, look_at_signals, &worker), 0);
	assert_int_equal(task_pool_wait(pool, NULL), 0);
	assert_int_equal(sigismember(&worker, SIGTERM), 1);
	assert_int_equal(sigismember(&worker, SIGCHLD), 1);
	pthread_sigmask(SIG_SETMASK, NULL, &own);
	assert_int_equal(sigismember(&own, SIGTERM), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_task_runs_each_once),
		cmocka_unit_test(test_task_runs_as_many_at_once_as_it_has_threads),
		cmocka_unit_test(test_task_count_defaults_to_the_processors),
		cmocka_unit_test(test_task_submit_blocks_while_the_queue_is_full),
		cmocka_unit_test(test_task_failure_ends_the_batch),
		cmocka_unit_test(test_task_submit_reports_an_earlier_failure),
		cmocka_unit_test(test_task_submit_that_waits_hears_of_a_failure),
		cmocka_unit_test(test_task_free_drops_what_waits),
		cmocka_unit_test(test_task_workers_take_no_signals),
	};

	return cmocka_run_group_tests_name("task", tests, NULL, NULL);
}
