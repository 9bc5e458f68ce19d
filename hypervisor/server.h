/* server.h - the hypervisor's socket: connections, requests in flight, events.
 *
 * Each connection has a reader and a writer thread; each request runs in a thread of its own, so that a shutdown that
 * takes minutes holds up nothing. Whoever wants to send puts a line into the connection's queue and never waits; a client
 * that does not read is cut off when its queue is full. Source: docs/protocol.md section 1.
 */
#ifndef GODWIT_HYPERVISOR_SERVER_H
#define GODWIT_HYPERVISOR_SERVER_H

#include "hypervisor/hypervisor.h"

struct server;

/* A server without connections: its server_emit may be used. Return 0 or -errno. */
int server_new(struct server **out, struct hypervisor *hypervisor, struct err *err);

/* Listen on @path and serve until server_free. Once. Return 0 or -errno. */
int server_listen(struct server *server, const char *path, struct err *err);

/* Send an event to every connection; steals it. For hypervisor.emit. */
void server_emit(void *server, json_t *event);

/* Cut all connections and wait for their requests; events go nowhere afterwards. */
void server_end(struct server *server);
/* That, if it was not done, and free. */
void server_free(struct server *server);
DEFINE_CLEANUP(struct server *, server_free);

#endif
