/* timer.h - functions to be called later, on one thread of their own. They must be short: longer work goes to a pool. */
#ifndef GODWIT_MGMT_SERVER_TIMER_H
#define GODWIT_MGMT_SERVER_TIMER_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base.h"
#include "common/err.h"

struct timer_wheel;

typedef void timer_fn(void *arg);

int timer_wheel_new(struct timer_wheel **out, struct err *err);
/* Stops the thread; what still waits is dropped uncalled. */
void timer_wheel_free(struct timer_wheel *wheel);
DEFINE_CLEANUP(struct timer_wheel *, timer_wheel_free);

/* Call @fn once after @ms. Return an id > 0 for timer_cancel, 0: out of memory. */
uint64_t timer_after(struct timer_wheel *wheel, uint64_t ms, timer_fn *fn, void *arg);
/* Return true: it will not be called; false: it was, or is running right now. */
bool timer_cancel(struct timer_wheel *wheel, uint64_t id);

#endif
