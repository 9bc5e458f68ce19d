/* budget.c - see budget.h. */
#include "mgmt-server/http/budget.h"

#include "mgmt-server/http/request.h"

void budget_init(struct budget *b, size_t limit)
{
	*b = (struct budget){ .limit = limit };
	pthread_mutex_init(&b->lock, NULL);
}

void budget_deinit(struct budget *b)
{
	pthread_mutex_destroy(&b->lock);
}

static bool take(struct budget *b, struct http_request *request)
{
	if (request->body_size <= BUDGET_SMALL)
		return true;
	if (b->reserved > 0 && b->reserved + request->body_size > b->limit)
		return false;
	request->reserved = request->body_size;
	b->reserved += request->reserved;
	return true;
}

bool budget_reserve(struct budget *b, struct http_request *request)
{
	if (request->body_size <= BUDGET_SMALL || (!b->first && take(b, request)))
		return true;
	request->next_queued = NULL;
	if (b->first)
		b->last->next_queued = request;
	else
		b->first = request;
	b->last = request;
	return false;
}

void budget_release(struct budget *b, struct http_request *request)
{
	struct http_request *next;

	if (!request->reserved)
		return;
	pthread_mutex_lock(&b->lock);
	b->reserved -= request->reserved;
	request->reserved = 0;
	while ((next = b->first) && take(b, next)) {
		b->first = next->next_queued;
		http_request_resume(next);
	}
	pthread_mutex_unlock(&b->lock);
}
