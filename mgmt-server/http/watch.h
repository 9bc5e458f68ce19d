/* watch.h - deadlines of connections. Whoever misses his is shut down, however busily he trickles bytes: idle time-outs
 * are restarted by each byte, these are not.
 *
 * The descriptor is only touched under the lock and only between watch_add and watch_remove, so it can't be one that
 * was closed and reused meanwhile. Thread-safe.
 */
#ifndef GODWIT_MGMT_SERVER_WATCH_H
#define GODWIT_MGMT_SERVER_WATCH_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

struct watch_entry { /* embedded in the connection */
	int fd;
	uint64_t deadline_ms; /* clock_now_ms; 0: none */
	struct watch_entry *next, *prev;
};

struct watch {
	pthread_mutex_t lock;
	struct watch_entry all; /* ring */
};

void watch_init(struct watch *w);
void watch_deinit(struct watch *w);
void watch_add(struct watch *w, struct watch_entry *e, int fd, uint64_t within_ms);
void watch_remove(struct watch *w, struct watch_entry *e);
/* A new deadline from now; 0: none. */
void watch_set(struct watch *w, struct watch_entry *e, uint64_t within_ms);
/* Shut down who is late. Return how many. */
size_t watch_sweep(struct watch *w);

#endif
