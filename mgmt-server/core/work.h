/* work.h - agents ask for work (a long poll) and report on it; and small words to watchers.
 *
 * A parked poll belongs to its endpoint in the fleet; it is answered by new work, by the endpoint's next poll, by its
 * own time-out, or when the server stops. All but the handlers need the fleet's lock.
 */
#ifndef GODWIT_MGMT_SERVER_WORK_H
#define GODWIT_MGMT_SERVER_WORK_H

#include "mgmt-server/core/fleet.h"
#include "mgmt-server/http/http.h"

void work_get(struct http_request *request);    /* GET /agent/v1/work */
void work_report(struct http_request *request); /* POST /agent/v1/jobs/{job}/report */

/* There is something for that endpoint now: work_due, after the change that says so, answers its poll. */
void work_wake(struct server *s, const char *endpoint);
void work_due(struct server *s);
/* Answer a parked poll with nothing. */
void work_poll_end(struct fleet_endpoint *e);
/* Look again for work that waited (an earlier epoch was in the way, no report came). */
void work_tick(struct server *s);
/* Answer all parked polls: the server stops. Takes the lock itself. */
void work_stop(struct server *s);

void work_publish_endpoint(struct server *s, const char *name);
void work_publish_desktop(struct server *s, const char *name);

#endif
