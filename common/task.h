/* task.h - a pool of threads with a bounded queue.
 *
 * Submitting blocks while the queue is full: that is what bounds the memory of a pipeline. A task must not submit to
 * its own pool. The first negative return of a task is kept and reported by task_pool_wait; tasks of that batch that have
 * not begun by then are dropped, and so are those that wait when the pool is freed. Whoever owns the args must
 * therefore be able to free the ones whose task never ran. Workers block all signals. A pool may be shared by threads,
 * but a batch is everything between two waits, whoever submitted it.
 */
#ifndef GODWIT_COMMON_TASK_H
#define GODWIT_COMMON_TASK_H

#include <stddef.h>

#include "common/base.h"
#include "common/err.h"

struct task_pool;

typedef int task_fn(void *arg, struct err *err);

/* threads 0: one per processor. queue: how many tasks may wait. Return 0 or -errno. */
int task_pool_new(struct task_pool **out, unsigned threads, size_t queue, struct err *err);

/* Waits for running tasks, drops waiting ones. */
void task_pool_free(struct task_pool *pool);
DEFINE_CLEANUP(struct task_pool *, task_pool_free);

unsigned task_pool_threads(const struct task_pool *pool);

/**
 * task_pool_submit(pool, fn, arg):
 * Return 0, or the negative number of a task that failed before (then @fn will not run: the caller keeps @arg).
 */
int task_pool_submit(struct task_pool *pool, task_fn *fn, void *arg);

/* Wait until all submitted tasks have ended. Return 0 or the first failure, with its text; the pool is usable again. */
int task_pool_wait(struct task_pool *pool, struct err *err);

#endif
