/* events.h - what changed, for whoever watches: server-sent events out of a ring in memory.
 *
 * An event's id is "BOOT-NUMBER". A client that comes back with Last-Event-ID gets what it missed; when that is gone
 * (the ring turned over, the server restarted) it gets `reload` instead. Thread-safe. Source: WHATWG HTML,
 * "Server-sent events".
 */
#ifndef GODWIT_MGMT_SERVER_EVENTS_H
#define GODWIT_MGMT_SERVER_EVENTS_H

#include "mgmt-server/http/http.h"

struct events;

int events_new(struct events **out, struct err *err);
void events_free(struct events *events); /* no watcher is left */
DEFINE_CLEANUP(struct events *, events_free);

/* type: "endpoint", "desktop", "snapshot", "job"; data: taken over. */
void events_publish(struct events *events, const char *type, json_t *data);

/* Answer @request with the stream. */
void events_watch(struct events *events, struct http_request *request, const char *last_event_id);

#endif
