/* api_quarantine.c - POST /desktops/{name}/quarantine and /desktops/{name}/release. */
#include "mgmt-server/api/api.h"
#include "mgmt-server/core/objects.h"
#include "mgmt-server/core/quarantines.h"

static void set(struct http_request *request, bool on)
{
	CLEANUP_CHANGE struct change change = { .held = false };
	CLEANUP(json_decref) json_t *body = NULL;
	struct quarantines_order order = { .desktop = http_param(request, "name"),
					   .on = on,
					   .why = "",
					   .user = http_caller(request)->name,
					   .address = http_address(request) };
	const struct json_field fields[] = { { "why", JSON_KIND_STRING, true, &order.why } };
	struct err err = { 0 };
	int r = api_body(request, fields, ARRAY_LEN(fields), &body, &err);

	if (r == 0)
		r = api_change(request, &change, &err);
	if (r != 0) {
		api_failed(request, r, &err);
		return;
	}
	r = quarantines_set(&change, &order, &err);
	api_finish(request, &change, r, 200,
		   r == 0 ? objects_desktop_named(change.server, change.db, order.desktop) : NULL,
		   &err);
}

void api_desktop_quarantine(struct http_request *request)
{
	set(request, true);
}

void api_desktop_release(struct http_request *request)
{
	set(request, false);
}
