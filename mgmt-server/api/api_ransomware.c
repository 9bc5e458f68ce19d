/* api_ransomware.c - POST /desktops/{name}/acknowledge. */
#include "mgmt-server/api/api.h"
#include "mgmt-server/api/api_edit.h"
#include "mgmt-server/core/objects.h"
#include "mgmt-server/core/ransomware.h"

void api_desktop_acknowledge(struct http_request *request)
{
	CLEANUP_API_EDIT struct api_edit e = { .request = request };
	const char *desktop = http_param(request, "name");
	bool false_alarm = false;
	const struct json_field fields[] = {
		{ "false_alarm", JSON_KIND_BOOL, true, &false_alarm },
	};
	int r = api_edit_body(&e, fields, ARRAY_LEN(fields));

	if (!api_edit_begin(&e, r))
		return;
	r = ransomware_acknowledge(&e.change, desktop, false_alarm, http_caller(request)->name,
				   &e.err);
	if (r == 0)
		r = api_edit_audit(&e, "acknowledge", desktop, false_alarm ? "a false alarm" : "");
	api_edit_end(&e, r, 200,
		     r == 0 ? objects_desktop_named(e.change.server, e.change.db, desktop) : NULL);
}
