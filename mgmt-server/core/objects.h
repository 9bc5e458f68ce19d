/* objects.h - endpoints, desktops, snapshots and jobs as JSON, exactly as docs/api.md shows them; the API and the
 * events use the same functions. Desktops and endpoints need the fleet's lock. New references; NULL: out of memory.
 */
#ifndef GODWIT_MGMT_SERVER_OBJECTS_H
#define GODWIT_MGMT_SERVER_OBJECTS_H

#include "mgmt-server/core/server.h"

json_t *objects_endpoint(struct server *s, struct db_conn *c, const struct catalogue_endpoint *e);
json_t *objects_desktop(struct server *s, struct db_conn *c, const struct catalogue_desktop *d);
json_t *objects_snapshot(struct db_conn *c, const struct catalogue_snapshot *snapshot);
json_t *objects_job(const struct catalogue_job *job);

/* By name. Return NULL when there is none (or no memory). */
json_t *objects_endpoint_named(struct server *s, struct db_conn *c, const char *name);
json_t *objects_desktop_named(struct server *s, struct db_conn *c, const char *name);
json_t *objects_snapshot_named(struct db_conn *c, const char *id);
json_t *objects_job_named(struct db_conn *c, const char *id);

/* A wall-clock time, 0: null. */
json_t *objects_time(uint64_t wall_ms);
/* "a" or null for "". */
json_t *objects_text(const char *text);

/* The disks of a snapshot, bytes together. */
uint64_t objects_disk_bytes(const char *volumes_json);

#endif
