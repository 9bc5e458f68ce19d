/* api_scan.c - POST /snapshots/{id}/scan and /mend. */
#include "mgmt-server/api/api.h"
#include "mgmt-server/api/api_edit.h"
#include "mgmt-server/core/mends.h"
#include "mgmt-server/core/objects.h"
#include "mgmt-server/core/scans.h"

void api_snapshot_scan(struct http_request *request)
{
	CLEANUP_API_EDIT struct api_edit e = { .request = request };
	struct scans_order order = { .snapshot = http_param(request, "id"),
				     .user = http_caller(request)->name };
	char id[CATALOGUE_ID_LEN] = "";
	int r = api_edit_body(&e, NULL, 0);

	if (!api_edit_begin(&e, r))
		return;
	r = scans_order(&e.change, &order, id, &e.err);
	if (r == 0)
		r = api_edit_audit(&e, "scan", order.snapshot, id);
	api_edit_end(&e, r, 202, r == 0 ? objects_job_named(e.change.db, id) : NULL);
}

void api_snapshot_mend(struct http_request *request)
{
	CLEANUP_API_EDIT struct api_edit e = { .request = request };
	struct mends_order order = { .snapshot = http_param(request, "id"),
				     .user = http_caller(request)->name,
				     .from = "" };
	const struct json_field fields[] = {
		{ "file", JSON_KIND_STRING, false, &order.file },
		{ "from", JSON_KIND_STRING, true, &order.from },
	};
	char id[CATALOGUE_ID_LEN] = "";
	int r = api_edit_body(&e, fields, ARRAY_LEN(fields));

	if (!api_edit_begin(&e, r))
		return;
	r = mends_order(&e.change, &order, id, &e.err);
	if (r == 0)
		r = api_edit_audit(&e, "mend", order.snapshot, order.file);
	api_edit_end(&e, r, 202, r == 0 ? objects_job_named(e.change.db, id) : NULL);
}
