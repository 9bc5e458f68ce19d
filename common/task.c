#include "common/task.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>

struct task {
	task_fn *fn;
	void *arg;
};

/*
 * Invariants, under lock:
 * - the waiting tasks are queue[head], queue[head + 1] … queue[head + waiting - 1], modulo
 * queue_len
 * - failure.code != 0 implies waiting == 0: a failure empties the queue and closes it until
 * task_pool_wait
 */
struct task_pool {
	pthread_mutex_t lock;
	pthread_cond_t work;  /* a task came, or ending */
	pthread_cond_t space; /* a task left the queue, or a failure */
	pthread_cond_t idle;  /* nothing waits, nothing runs */
	struct task *queue;
	size_t queue_len, head, waiting, running;
	bool ending;
	struct err failure;
	unsigned thread_count;
	pthread_t threads[];
};

static void keep_failure(struct task_pool *pool, int r, const struct err *err)
{
	if (pool->failure.code)
		return;
	pool->failure = *err;
	pool->failure.code = -r;
	pool->waiting = 0;
	pthread_cond_broadcast(&pool->space);
}

static void *worker(void *arg)
{
	struct task_pool *pool = arg;

	pthread_mutex_lock(&pool->lock);
	for (;;) {
		struct err err = { 0 };
		struct task task;
		int r;

		while (!pool->waiting && !pool->ending)
			pthread_cond_wait(&pool->work, &pool->lock);
		if (pool->ending)
			break;

		task = pool->queue[pool->head];
		pool->head = (pool->head + 1) % pool->queue_len;
		pool->waiting--;
		pool->running++;
		pthread_cond_signal(&pool->space);
		pthread_mutex_unlock(&pool->lock);

		r = task.fn(task.arg, &err);

		pthread_mutex_lock(&pool->lock);
		pool->running--;
		if (r < 0)
			keep_failure(pool, r, &err);
		if (!pool->running && !pool->waiting)
			pthread_cond_broadcast(&pool->idle);
	}
	pthread_mutex_unlock(&pool->lock);
	return NULL;
}

static unsigned processors(void)
{
	cpu_set_t set;

	/* What this process may use, which in a container is less than what the machine has. */
	if (sched_getaffinity(0, sizeof(set), &set) < 0)
		return 1;
	return (unsigned)CPU_COUNT(&set);
}

/* Signals are for the daemon's main loop: none may interrupt a worker. */
static int start_threads(struct task_pool *pool, unsigned n)
{
	sigset_t all, old;
	int r = 0;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	while (r == 0 && pool->thread_count < n) {
		r = pthread_create(&pool->threads[pool->thread_count], NULL, worker, pool);
		if (r == 0)
			pool->thread_count++;
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -r;
}

int task_pool_new(struct task_pool **out, unsigned threads, size_t queue, struct err *err)
{
	CLEANUP(task_pool_free) struct task_pool *pool = NULL;
	int r;

	if (!threads)
		threads = processors();
	if (!queue)
		queue = 1;
	pool = calloc(1, sizeof(*pool) + threads * sizeof(pool->threads[0]));
	if (!pool)
		return err_set(err, ENOMEM, "start %u threads", threads);
	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->work, NULL);
	pthread_cond_init(&pool->space, NULL);
	pthread_cond_init(&pool->idle, NULL);
	pool->queue_len = queue;
	pool->queue = calloc(queue, sizeof(pool->queue[0]));
	if (!pool->queue)
		return err_set(err, ENOMEM, "make a queue for %zu tasks", queue);

	r = start_threads(pool, threads);
	if (r < 0)
		return err_set(err, -r, "start %u threads", threads);
	*out = TAKE(pool);
	return 0;
}

void task_pool_free(struct task_pool *pool)
{
	if (!pool)
		return;
	pthread_mutex_lock(&pool->lock);
	pool->ending = true;
	pthread_cond_broadcast(&pool->work);
	pthread_mutex_unlock(&pool->lock);
	for (unsigned i = 0; i < pool->thread_count; i++)
		pthread_join(pool->threads[i], NULL);
	pthread_cond_destroy(&pool->idle);
	pthread_cond_destroy(&pool->space);
	pthread_cond_destroy(&pool->work);
	pthread_mutex_destroy(&pool->lock);
	free(pool->queue);
	free(pool);
}

unsigned task_pool_threads(const struct task_pool *pool)
{
	return pool->thread_count;
}

int task_pool_submit(struct task_pool *pool, task_fn *fn, void *arg)
{
	int r;

	pthread_mutex_lock(&pool->lock);
	while (pool->waiting == pool->queue_len && !pool->failure.code)
		pthread_cond_wait(&pool->space, &pool->lock);
	r = -pool->failure.code;
	if (r == 0) {
		pool->queue[(pool->head + pool->waiting) % pool->queue_len] =
			(struct task){ .fn = fn, .arg = arg };
		pool->waiting++;
		pthread_cond_signal(&pool->work);
	}
	pthread_mutex_unlock(&pool->lock);
	return r;
}

int task_pool_wait(struct task_pool *pool, struct err *err)
{
	int r;

	pthread_mutex_lock(&pool->lock);
	while (pool->waiting || pool->running)
		pthread_cond_wait(&pool->idle, &pool->lock);
	r = -pool->failure.code;
	if (r < 0 && err)
		*err = pool->failure;
	pool->failure = (struct err){ 0 };
	pthread_mutex_unlock(&pool->lock);
	return r;
}
