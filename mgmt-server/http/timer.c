/* timer.c - see timer.h. A binary heap by due time; cancelled entries are found by id (lists here are short-lived). */
#include "mgmt-server/http/timer.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "common/clock.h"

struct entry {
	uint64_t due_ms, id;
	timer_fn *fn;
	void *arg;
};

struct timer_wheel {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	pthread_t thread;
	bool stop;
	uint64_t next_id;
	struct entry *heap; /* heap[i] is due no earlier than heap[(i - 1) / 2] */
	size_t count, cap;
};

static void swap(struct entry *a, struct entry *b)
{
	struct entry t = *a;

	*a = *b;
	*b = t;
}

static void sift_up(struct timer_wheel *w, size_t i)
{
	while (i > 0 && w->heap[i].due_ms < w->heap[(i - 1) / 2].due_ms) {
		swap(&w->heap[i], &w->heap[(i - 1) / 2]);
		i = (i - 1) / 2;
	}
}

static void sift_down(struct timer_wheel *w, size_t i)
{
	size_t child;

	while ((child = 2 * i + 1) < w->count) {
		if (child + 1 < w->count && w->heap[child + 1].due_ms < w->heap[child].due_ms)
			child++;
		if (w->heap[i].due_ms <= w->heap[child].due_ms)
			return;
		swap(&w->heap[i], &w->heap[child]);
		i = child;
	}
}

static void remove_at(struct timer_wheel *w, size_t i)
{
	w->heap[i] = w->heap[--w->count];
	if (i < w->count) {
		sift_down(w, i);
		sift_up(w, i);
	}
}

/* pthread's monotonic clock is not CLOCK_BOOTTIME: wait in steps, so that a suspend of the machine is noticed soon. */
static void wait_a_while(struct timer_wheel *w, uint64_t ms)
{
	struct timespec until;

	if (ms > 500)
		ms = 500;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += (long)(ms % 1000) * 1000000;
	until.tv_sec += (time_t)(ms / 1000) + until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	pthread_cond_timedwait(&w->changed, &w->lock, &until);
}

static void *timer_thread(void *arg)
{
	struct timer_wheel *w = arg;
	struct entry due;
	uint64_t now;

	pthread_mutex_lock(&w->lock);
	while (!w->stop) {
		now = clock_now_ms();
		if (w->count == 0 || w->heap[0].due_ms > now) {
			wait_a_while(w, w->count ? w->heap[0].due_ms - now : 500);
			continue;
		}
		due = w->heap[0];
		remove_at(w, 0);
		pthread_mutex_unlock(&w->lock);
		due.fn(due.arg);
		pthread_mutex_lock(&w->lock);
	}
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

int timer_wheel_new(struct timer_wheel **out, struct err *err)
{
	struct timer_wheel *w = calloc(1, sizeof(*w));
	pthread_condattr_t attr;
	int r;

	if (!w)
		return err_set(err, ENOMEM, "timers");
	pthread_mutex_init(&w->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&w->changed, &attr);
	pthread_condattr_destroy(&attr);
	r = pthread_create(&w->thread, NULL, timer_thread, w);
	if (r) {
		free(w);
		return err_set(err, r, "start the timer thread");
	}
	*out = w;
	return 0;
}

void timer_wheel_free(struct timer_wheel *w)
{
	pthread_mutex_lock(&w->lock);
	w->stop = true;
	pthread_cond_signal(&w->changed);
	pthread_mutex_unlock(&w->lock);
	pthread_join(w->thread, NULL);
	pthread_cond_destroy(&w->changed);
	pthread_mutex_destroy(&w->lock);
	free(w->heap);
	free(w);
}

static bool make_room(struct timer_wheel *w)
{
	size_t cap = w->cap ? 2 * w->cap : 64;
	struct entry *heap;

	if (w->count < w->cap)
		return true;
	heap = realloc(w->heap, cap * sizeof(*heap));
	if (!heap)
		return false;
	w->heap = heap;
	w->cap = cap;
	return true;
}

uint64_t timer_after(struct timer_wheel *w, uint64_t ms, timer_fn *fn, void *arg)
{
	uint64_t id = 0;

	pthread_mutex_lock(&w->lock);
	if (make_room(w)) {
		id = ++w->next_id;
		w->heap[w->count++] = (struct entry){
			.due_ms = clock_now_ms() + ms, .id = id, .fn = fn, .arg = arg
		};
		sift_up(w, w->count - 1);
		pthread_cond_signal(&w->changed);
	}
	pthread_mutex_unlock(&w->lock);
	return id;
}

bool timer_cancel(struct timer_wheel *w, uint64_t id)
{
	bool found = false;
	size_t i;

	pthread_mutex_lock(&w->lock);
	for (i = 0; i < w->count && !found; i++) {
		if (w->heap[i].id == id) {
			remove_at(w, i);
			found = true;
		}
	}
	pthread_mutex_unlock(&w->lock);
	return found;
}
