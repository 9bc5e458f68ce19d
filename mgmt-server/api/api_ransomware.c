/* api_ransomware.c - POST /desktops/{name}/acknowledge. */
#include "mgmt-server/api/api.h"
#include "mgmt-server/core/objects.h"
#include "mgmt-server/core/ransomware.h"

void api_desktop_acknowledge(struct http_request *request)
{
	CLEANUP_CHANGE struct change change = { .held = false };
	CLEANUP(json_decref) json_t *body = NULL;
	const char *desktop = http_param(request, "name"), *user = http_caller(request)->name;
	bool false_alarm = false;
	const struct json_field fields[] = {
		{ "false_alarm", JSON_KIND_BOOL, true, &false_alarm },
	};
	struct err err = { 0 };
	int r = api_body(request, fields, ARRAY_LEN(fields), &body, &err);

	if (r == 0)
		r = api_change(request, &change, &err);
	if (r != 0) {
		api_failed(request, r, &err);
		return;
	}
	r = ransomware_acknowledge(&change, desktop, false_alarm, user, &err);
	if (r == 0)
		r = change_audit(&change, user, http_address(request), "acknowledge", desktop,
				 false_alarm ? "a false alarm" : "", &err);
	api_finish(request, &change, r, 200,
		   r == 0 ? objects_desktop_named(change.server, change.db, desktop) : NULL, &err);
}
