/* api_quarantine.c - POST /desktops/{name}/quarantine and /desktops/{name}/release. */
#include "mgmt-server/api/api.h"
#include "mgmt-server/api/api_edit.h"
#include "mgmt-server/core/objects.h"
#include "mgmt-server/core/quarantines.h"

static void set(struct http_request *request, bool on)
{
	CLEANUP_API_EDIT struct api_edit e = { .request = request };
	struct quarantines_order order = { .desktop = http_param(request, "name"),
					   .on = on,
					   .why = "",
					   .user = http_caller(request)->name,
					   .address = http_address(request) };
	const struct json_field fields[] = { { "why", JSON_KIND_STRING, true, &order.why } };
	int r = api_edit_body(&e, fields, ARRAY_LEN(fields));

	if (!api_edit_begin(&e, r))
		return;
	r = quarantines_set(&e.change, &order, &e.err);
	api_edit_end(&e, r, 200,
		     r == 0 ? objects_desktop_named(e.change.server, e.change.db, order.desktop)
			    : NULL);
}

void api_desktop_quarantine(struct http_request *request)
{
	set(request, true);
}

void api_desktop_release(struct http_request *request)
{
	set(request, false);
}
