/* api_scan.c - POST /snapshots/{id}/scan and /mend. */
#include "mgmt-server/api/api.h"
#include "mgmt-server/core/mends.h"
#include "mgmt-server/core/objects.h"
#include "mgmt-server/core/scans.h"

void api_snapshot_scan(struct http_request *request)
{
	CLEANUP_CHANGE struct change change = { .held = false };
	CLEANUP(json_decref) json_t *body = NULL;
	const char *snapshot = http_param(request, "id"), *user = http_caller(request)->name;
	struct scans_order order = { .tries = 0 };
	char id[CATALOGUE_ID_LEN] = "";
	struct err err = { 0 };
	int r = api_body(request, NULL, 0, &body, &err);

	if (r == 0)
		r = api_change(request, &change, &err);
	if (r != 0) {
		api_failed(request, r, &err);
		return;
	}
	order.snapshot = snapshot;
	order.user = user;
	r = scans_order(&change, &order, id, &err);
	if (r == 0)
		r = change_audit(&change, user, http_address(request), "scan", snapshot, id, &err);
	api_finish(request, &change, r, 202, r == 0 ? objects_job_named(change.db, id) : NULL,
		   &err);
}

void api_snapshot_mend(struct http_request *request)
{
	CLEANUP_CHANGE struct change change = { .held = false };
	CLEANUP(json_decref) json_t *body = NULL;
	const char *snapshot = http_param(request, "id"), *user = http_caller(request)->name;
	struct mends_order order = { .snapshot = snapshot, .user = user, .from = "" };
	const struct json_field fields[] = {
		{ "file", JSON_KIND_STRING, false, &order.file },
		{ "from", JSON_KIND_STRING, true, &order.from },
	};
	char id[CATALOGUE_ID_LEN] = "";
	struct err err = { 0 };
	int r = api_body(request, fields, ARRAY_LEN(fields), &body, &err);

	if (r == 0)
		r = api_change(request, &change, &err);
	if (r != 0) {
		api_failed(request, r, &err);
		return;
	}
	r = mends_order(&change, &order, id, &err);
	if (r == 0)
		r = change_audit(&change, user, http_address(request), "mend", snapshot, order.file,
				 &err);
	api_finish(request, &change, r, 202, r == 0 ? objects_job_named(change.db, id) : NULL,
		   &err);
}
