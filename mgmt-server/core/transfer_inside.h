/* transfer_inside.h - shared by transfer.c (uploads), transfer_commit.c and transfer_fetch.c. */
#ifndef GODWIT_MGMT_SERVER_TRANSFER_INSIDE_H
#define GODWIT_MGMT_SERVER_TRANSFER_INSIDE_H

#include <pthread.h>

#include "mgmt-server/core/transfer.h"

struct upload { /* an open session of the store; the catalogue's row outlives it */
	struct catalogue_upload row;
	struct store_session *session;
	unsigned refs; /* requests that use it; with the transfer's lock */
	bool over;     /* closed when the last of them ends */
	uint64_t used_ms, touched_ms;
	uint64_t new_bytes, stored_bytes; /* that arrived; with the transfer's lock */
	pthread_mutex_t commit;           /* one commit at a time */
	struct upload *next;
};

enum { SENT_SLOTS = 256 };

struct transfer {
	struct server *server;
	pthread_mutex_t lock;
	struct upload *uploads;
	struct {
		char job[CATALOGUE_ID_LEN];
		uint64_t bytes;
	} sent[SENT_SLOTS];
	size_t sent_next; /* the slot that is reused next */
	uint64_t
		line_free_us; /* when the last byte that was promised will have gone, at download_bytes_per_s */
};

/* "endpoint/a" or "user/admin" into char[CATALOGUE_NAME_LEN + 16]. */
void transfer_caller(struct http_request *request, char *text);
bool transfer_is_endpoint(struct http_request *request);

/**
 * transfer_take(request, out, err):
 * The upload that the request's {session} names; give it back with transfer_give.
 *
 * Return 0, -ENOENT (unknown, over, or somebody else's), -errno.
 */
int transfer_take(struct http_request *request, struct upload **out, struct err *err);
void transfer_give(struct transfer *t, struct upload *u);
/* No further request will find it. */
void transfer_over(struct transfer *t, struct upload *u);

/* What a caller may read of a desktop. */
struct transfer_reach {
	char domain[CATALOGUE_NAME_LEN]; /* its chunks */
	uint64_t epoch_max;              /* manifests of this epoch and earlier ones */
};

/**
 * transfer_may_read(request, desktop, reach, err):
 * May the caller read this desktop's chunks and manifests? An endpoint that only has leftovers to hand in sees nothing
 * that came after it.
 *
 * Return 0, -EACCES, -ENOENT, -errno.
 */
int transfer_may_read(struct http_request *request, const char *desktop,
		      struct transfer_reach *reach, struct err *err);

void transfer_sent_add(struct transfer *t, const char *job, uint64_t bytes);

#endif
