/* api.h - the API's handlers, and what they share. Those that change something: api_edit.h; lists: api_page.h. */
#ifndef GODWIT_MGMT_SERVER_API_H
#define GODWIT_MGMT_SERVER_API_H

#include "mgmt-server/core/server.h"

/* The body against a table; an absent body is {}. *body keeps what the fields borrow. Return 0 or -EINVAL. */
int api_body(struct http_request *request, const struct json_field *fields, size_t n, json_t **body,
	     struct err *err);

/* Answer with the object that @get finds under the path's {id}, or 404 naming @what when there is none (NULL). */
void api_reply_object(struct http_request *request, const char *what,
		      json_t *(*get)(struct db_conn *c, const char *id));

/* ---- Handlers ---- */

void api_server(struct http_request *request);
void api_store(struct http_request *request);
void api_store_run(struct http_request *request);
void api_endpoints(struct http_request *request);
void api_endpoint(struct http_request *request);
void api_desktops(struct http_request *request);
void api_desktop(struct http_request *request);
void api_desktop_new(struct http_request *request);
void api_desktop_action(struct http_request *request); /* POST /desktops/{name}/{action} */
void api_snapshots(struct http_request *request);
void api_snapshot(struct http_request *request);
void api_snapshot_scan(struct http_request *request); /* POST /snapshots/{id}/scan */
void api_snapshot_mend(struct http_request *request); /* POST /snapshots/{id}/mend */
void api_desktop_owner(struct http_request *request); /* POST /desktops/{name}/owner */
void api_snapshot_pin(struct http_request *request);  /* POST /snapshots/{id}/pin */
void api_snapshot_unpin(struct http_request *request);
void api_signatures(struct http_request *request);
void api_signatures_update(struct http_request *request);
void api_signatures_upload(struct http_request *request); /* POST /signatures/uploads */
void api_signatures_data(struct http_request *request);   /* POST /signatures/uploads/{id}/data */
void api_signatures_end(struct http_request *request);    /* POST /signatures/uploads/{id}/end */
void api_desktop_acknowledge(struct http_request *request);
void api_desktop_quarantine(struct http_request *request); /* POST /desktops/{name}/quarantine */
void api_desktop_release(struct http_request *request);
void api_hunt_new(struct http_request *request);   /* POST /hunts */
void api_rescan_new(struct http_request *request); /* POST /rescans */
void api_hunts(struct http_request *request);
void api_hunt(struct http_request *request);
void api_hunt_cancel(struct http_request *request); /* POST /hunts/{id}/cancel */
void api_notices(struct http_request *request);
void api_notice(struct http_request *request);
void api_notice_read(struct http_request *request);  /* POST /notices/{id}/read */
void api_notices_read(struct http_request *request); /* POST /notices/read */
void api_jobs(struct http_request *request);
void api_job(struct http_request *request);
void api_job_cancel(struct http_request *request);
void api_events(struct http_request *request);
void api_audit(struct http_request *request);

/* routes.c */
extern const struct http_route routes_people[];
extern const size_t routes_people_count;
extern const struct http_route routes_agents[];
extern const size_t routes_agents_count;

#endif
