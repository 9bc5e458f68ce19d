/* deadline.h - "at most so long" for pthread_cond_timedwait, on CLOCK_MONOTONIC. */
#ifndef GODWIT_HYPERVISOR_DEADLINE_H
#define GODWIT_HYPERVISOR_DEADLINE_H

#include <pthread.h>
#include <time.h>

/* The instant @timeout_ms from now. */
struct timespec deadline_in(int timeout_ms);

/* A condition variable that waits by that clock. */
void deadline_init_cond(pthread_cond_t *cond);

#endif
