/* watch.c - see watch.h. */
#include "mgmt-server/http/watch.h"

#include <sys/socket.h>

#include "common/clock.h"

void watch_init(struct watch *w)
{
	pthread_mutex_init(&w->lock, NULL);
	w->all.next = w->all.prev = &w->all;
}

void watch_deinit(struct watch *w)
{
	pthread_mutex_destroy(&w->lock);
}

static uint64_t deadline(uint64_t within_ms)
{
	return within_ms ? clock_now_ms() + within_ms : 0;
}

void watch_add(struct watch *w, struct watch_entry *e, int fd, uint64_t within_ms)
{
	pthread_mutex_lock(&w->lock);
	e->fd = fd;
	e->deadline_ms = deadline(within_ms);
	e->prev = w->all.prev;
	e->next = &w->all;
	e->prev->next = e->next->prev = e;
	pthread_mutex_unlock(&w->lock);
}

void watch_remove(struct watch *w, struct watch_entry *e)
{
	pthread_mutex_lock(&w->lock);
	e->prev->next = e->next;
	e->next->prev = e->prev;
	pthread_mutex_unlock(&w->lock);
}

void watch_set(struct watch *w, struct watch_entry *e, uint64_t within_ms)
{
	pthread_mutex_lock(&w->lock);
	e->deadline_ms = deadline(within_ms);
	pthread_mutex_unlock(&w->lock);
}

size_t watch_sweep(struct watch *w)
{
	struct watch_entry *e;
	uint64_t now = clock_now_ms();
	size_t cut = 0;

	pthread_mutex_lock(&w->lock);
	for (e = w->all.next; e != &w->all; e = e->next) {
		if (e->deadline_ms && e->deadline_ms < now) {
			shutdown(e->fd, SHUT_RDWR);
			e->deadline_ms = 0;
			cut++;
		}
	}
	pthread_mutex_unlock(&w->lock);
	return cut;
}
