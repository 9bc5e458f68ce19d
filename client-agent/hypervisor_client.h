/* hypervisor_client.h - the agent's end of the hypervisor's socket: requests, replies, descriptors, events.
 *
 * One connection, one reader thread; requests of any thread are in flight at once. When the hypervisor goes away, calls
 * that wait for a reply fail with -ECONNRESET and the reader connects anew for ever; a new call, and one that may be sent
 * again, waits for that until its time is over. Events wake listeners; after a reconnection all of them hear the event "reconnected".
 * Source: docs/protocol.md, "Hypervisor socket".
 */
#ifndef GODWIT_CLIENT_AGENT_HYPERVISOR_CLIENT_H
#define GODWIT_CLIENT_AGENT_HYPERVISOR_CLIENT_H

#include <stdint.h>

#include "common/base.h"
#include "common/err.h"
#include "common/json.h"

struct hypervisor_client;

/* Starts the reader. The hypervisor need not be there yet. */
int hypervisor_client_new(struct hypervisor_client **out, const char *socket_path, struct err *err);
void hypervisor_client_free(struct hypervisor_client *client);
DEFINE_CLEANUP(struct hypervisor_client *, hypervisor_client_free);

struct hypervisor_call {
	const char *op;
	const char *desktop; /* NULL: an op without one */
	json_t *args;        /* further arguments, borrowed; may be NULL */
	uint64_t timeout_ms; /* 0: 30 s */
	bool again; /* done twice is as good as once: sent again when the connection breaks */
	const char *
		undo; /* NULL or an op on the desktop: asked for if the ok comes after the time limit */
	json_t *undo_args; /* its further arguments, borrowed; may be NULL */
	json_t **reply;    /* out, a new reference to the "ok" object; NULL: not wanted */
	int *fd; /* out, the descriptor that came along, or -1; NULL: closed if one comes */
};

/**
 * hypervisor_client_call(client, call, err):
 * Return 0; the error that the hypervisor named, its text behind "hypervisor, OP DESKTOP:"; -ECONNRESET when the
 * connection broke (the op may have been done or not); -ETIMEDOUT, also when the hypervisor did not even read the request
 * to its end, in its time or 30 s: then the connection is cut, for all; -ENOTCONN when nobody answers there.
 */
int hypervisor_client_call(struct hypervisor_client *client, const struct hypervisor_call *call,
			   struct err *err);

/* How often it was connected: the hypervisor was another one, or is another connection's, when this grew. */
uint64_t hypervisor_client_connections(struct hypervisor_client *client);

/* An op whose only further argument is the epoch. */
int hypervisor_client_epoch_op(struct hypervisor_client *client, const char *op,
			       const char *desktop, uint64_t epoch, json_t **reply,
			       struct err *err);

/* A listener's fn runs on the reader thread and must neither block nor call the hypervisor. */
struct hypervisor_listener {
	const char *desktop; /* its events only; NULL: all */
	void (*fn)(void *arg, const char *event, const json_t *object);
	void *arg;
	struct hypervisor_listener *next; /* the client's */
};
void hypervisor_client_listen(struct hypervisor_client *client,
			      struct hypervisor_listener *listener);
/* After it returns, fn is not running and will not run again. */
void hypervisor_client_unlisten(struct hypervisor_client *client,
				struct hypervisor_listener *listener);

#endif
