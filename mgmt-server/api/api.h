/* api.h - what the API's handlers share: bodies, lists with cursors, repeated requests (Idempotency-Key). */
#ifndef GODWIT_MGMT_SERVER_API_H
#define GODWIT_MGMT_SERVER_API_H

#include "mgmt-server/core/change.h"
#include "mgmt-server/core/server.h"

/* The body against a table; an absent body is {}. *body keeps what the fields borrow. Return 0 or -EINVAL. */
int api_body(struct http_request *request, const struct json_field *fields, size_t n, json_t **body,
	     struct err *err);

enum { API_REPLIED = 1 };
/**
 * api_change(request, change, err):
 * Begin the change of a creating request. A request with an Idempotency-Key that was answered before gets the same
 * answer again.
 *
 * Return 0, API_REPLIED (the request is gone), -errno: -EBADMSG when the key came with another request.
 */
int api_change(struct http_request *request, struct change *change, struct err *err);
/* Commit and answer with @object (taken; may be NULL when r < 0), or abort and fail. */
void api_finish(struct http_request *request, struct change *change, int r, unsigned status,
		json_t *object, struct err *err);
/* For failures before or within api_change: r < 0 answers, API_REPLIED has answered. */
void api_failed(struct http_request *request, int r, const struct err *err);

struct api_page { /* of a list */
	uint64_t limit;
	const char *after; /* cursor, "" at the beginning */
	json_t *items;
	char next[128]; /* cursor of the last item */
	bool more;
};
/* ?limit and ?after among @fields (which the caller fills from index 2 on). Return 0 or -EINVAL. */
int api_page_begin(struct http_request *request, struct api_page *page, struct json_field *fields,
		   size_t n, struct err *err);
/* Return 0, or DB_STOP when the page is full (the item was dropped). item is taken. */
int api_page_add(struct api_page *page, json_t *item, const char *cursor);
/* The same for items whose cursor is a number. */
int api_page_add_number(struct api_page *page, json_t *item, uint64_t number);
void api_page_end(struct http_request *request, struct api_page *page, int r, struct err *err);
/* A cursor that is a number; "" is the newest. Return 0 or -EINVAL. */
int api_page_number(const struct api_page *page, uint64_t *before, struct err *err);

/* Answer with @object (taken), or 404 naming @what when it is NULL: there is none with the id of the path. */
void api_reply_found(struct http_request *request, json_t *object, const char *what);

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
