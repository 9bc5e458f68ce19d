/* agent_socket.h - the hypervisor's socket: connections, requests in flight, events.
 *
 * Each connection has a reader and a writer thread; each request runs in a thread of its own, so that a shutdown that
 * takes minutes holds up nothing. Whoever wants to send puts a line into the connection's queue and never waits; a client
 * that does not read is cut off when its queue is full. Source: docs/protocol.md section 1.
 */
#ifndef GODWIT_HYPERVISOR_AGENT_SOCKET_H
#define GODWIT_HYPERVISOR_AGENT_SOCKET_H

#include "hypervisor/hypervisor.h"

struct agent_socket;

/* A server without connections: its agent_socket_emit may be used. Return 0 or -errno. */
int agent_socket_new(struct agent_socket **out, struct hypervisor *hypervisor, struct err *err);

/* Listen on @path and serve until agent_socket_free. Once. Return 0 or -errno. */
int agent_socket_listen(struct agent_socket *server, const char *path, struct err *err);

/* Send an event to every connection; steals it. For hypervisor.emit. */
void agent_socket_emit(void *server, json_t *event);

/* Cut all connections and wait for their requests; events go nowhere afterwards. */
void agent_socket_end(struct agent_socket *server);
/* That, if it was not done, and free. */
void agent_socket_free(struct agent_socket *server);
DEFINE_CLEANUP(struct agent_socket *, agent_socket_free);

#endif
