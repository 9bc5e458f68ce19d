/* budget.h - memory for request bodies, shared by all connections.
 *
 * All of a body is reserved before its first byte is read, so nobody waits while holding a part; whoever must wait is
 * served in order. Bodies up to BUDGET_SMALL are not counted: there are no more of them than connections.
 */
#ifndef GODWIT_MGMT_SERVER_BUDGET_H
#define GODWIT_MGMT_SERVER_BUDGET_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

struct http_request;

enum { BUDGET_SMALL = 64 << 10 };

struct budget {
	pthread_mutex_t lock;
	size_t limit, reserved;            /* bytes; one body alone may be larger than the limit */
	struct http_request *first, *last; /* who waits */
};

void budget_init(struct budget *b, size_t limit);
void budget_deinit(struct budget *b);

/* With b->lock held: take request->body_size, or stand in line (false); the caller then suspends the connection
 * before he unlocks. */
bool budget_reserve(struct budget *b, struct http_request *request);
/* Give back what @request has, if anything; those in line that fit now are resumed. */
void budget_release(struct budget *b, struct http_request *request);

#endif
