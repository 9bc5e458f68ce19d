/* api_notices.c - notices, whom they are mailed to, and the pins of snapshots. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "mgmt-server/api/api.h"
#include "mgmt-server/api/api_edit.h"
#include "mgmt-server/api/api_page.h"
#include "mgmt-server/core/mail.h"
#include "mgmt-server/core/marks.h"
#include "mgmt-server/core/notices.h"
#include "mgmt-server/core/objects.h"
#include "mgmt-server/core/ransomware.h"

static int list_notice(void *arg, const struct catalogue_notice *n, struct err *err)
{
	(void)err;
	return api_page_add_number(arg, notices_object(n), n->seq);
}

static int walk_notices(struct api_page *page, void *arg, struct err *err)
{
	struct catalogue_notice_filter *filter = arg;

	filter->before = page->before;
	return catalogue_notice_each(page->db, filter, list_notice, page, err);
}

void api_notices(struct http_request *request)
{
	struct catalogue_notice_filter filter = { .desktop = NULL };
	const struct json_field fields[] = {
		{ "desktop", JSON_KIND_STRING, true, &filter.desktop },
		{ "unread", JSON_KIND_BOOL, true, &filter.unread },
	};

	api_page_reply(request, &(struct api_page_list){ .walk = walk_notices,
							 .arg = &filter,
							 .fields = fields,
							 .field_count = ARRAY_LEN(fields) });
}

void api_notice(struct http_request *request)
{
	api_reply_object(request, "notice", notices_object_of);
}

static int read_one(struct change *change, const char *id, const char *user, struct err *err)
{
	json_t *object = notices_object_of(change->db, id);
	int r;

	if (!object)
		return err_say(err, ENOENT, "there is no notice %.40s", id);
	json_decref(object);
	r = catalogue_notice_read(change->db, strtoull(id, NULL, 10), user, clock_wall_ms(), err);
	if (r > 0)
		change_touch(change, CHANGE_NOTICE, id);
	return r < 0 ? r : 0;
}

void api_notice_read(struct http_request *request)
{
	CLEANUP_API_EDIT struct api_edit e = { .request = request };
	const char *id = http_param(request, "id");
	int r = api_edit_body(&e, NULL, 0);

	if (!api_edit_begin(&e, r))
		return;
	r = read_one(&e.change, id, http_caller(request)->name, &e.err);
	api_edit_end(&e, r, 200, r == 0 ? notices_object_of(e.change.db, id) : NULL);
}

void api_notices_read(struct http_request *request)
{
	CLEANUP_API_EDIT struct api_edit e = { .request = request };
	uint64_t up_to = INT64_MAX;
	const struct json_field fields[] = { { "up_to", JSON_KIND_UINT, true, &up_to } };
	int r = api_edit_body(&e, fields, ARRAY_LEN(fields));

	if (!api_edit_begin(&e, r))
		return;
	r = catalogue_notice_read_all(e.change.db, up_to > INT64_MAX ? INT64_MAX : up_to,
				      http_caller(request)->name, clock_wall_ms(), &e.err);
	api_edit_end(&e, r < 0 ? r : 0, 200, json_pack("{sI}", "read", (json_int_t)r));
}

/* ---- Owners ---- */

static int set_owner(struct change *change, const char *desktop, const char *owner, struct err *err)
{
	int r;

	if (owner[0] && !mail_address_valid(owner))
		return err_say(err, EINVAL,
			       "'owner' must be an e-mail address, or empty for nobody");
	r = catalogue_desktop_set_owner(change->db, desktop, owner, err);
	change_touch(change, CHANGE_DESKTOP, desktop);
	return r == CATALOGUE_NONE ? err_say(err, ENOENT, "there is no desktop %.63s", desktop) : r;
}

void api_desktop_owner(struct http_request *request)
{
	CLEANUP_API_EDIT struct api_edit e = { .request = request };
	struct server *s = http_request_app(request);
	const char *name = http_param(request, "name"), *owner = "";
	const struct json_field fields[] = { { "owner", JSON_KIND_STRING, true, &owner } };
	int r = api_edit_body(&e, fields, ARRAY_LEN(fields));

	if (!api_edit_begin(&e, r))
		return;
	r = set_owner(&e.change, name, owner, &e.err);
	if (r == 0)
		r = api_edit_audit(&e, "owner", name, owner);
	api_edit_end(&e, r, 200, r == 0 ? objects_desktop_named(s, e.change.db, name) : NULL);
}

/* ---- Pins ---- */

static void mark(struct http_request *request,
		 int (*act)(struct change *, const struct marks_order *, struct err *),
		 const char *preset)
{
	CLEANUP_API_EDIT struct api_edit e = { .request = request };
	struct marks_order order = { .snapshot = http_param(request, "id"),
				     .kind = MARKS_PIN,
				     .source = "person",
				     .why = preset,
				     .user = http_caller(request)->name };
	const struct json_field fields[] = {
		{ "why", JSON_KIND_STRING, true, &order.why },
		{ "source", JSON_KIND_STRING, true, &order.source },
	};
	/* Only `unpin` names a source: what a person pins is his. */
	int r = api_edit_body(&e, fields, act == marks_clear ? 2 : 1);

	if (r == 0 && strlen(order.why) > 200)
		r = err_say(&e.err, EINVAL, "'why' must have at most 200 bytes");
	if (r == 0 && act == marks_clear &&
	    (!strcmp(order.source, RANSOMWARE_SOURCE_BLOCK) ||
	     !strcmp(order.source, RANSOMWARE_SOURCE_GOOD)))
		r = err_say(&e.err, EEXIST,
			    "an alarm keeps it: an administrator must acknowledge that first");
	if (!api_edit_begin(&e, r))
		return;
	r = act(&e.change, &order, &e.err);
	api_edit_end(&e, r, 200,
		     r == 0 ? objects_snapshot_named(e.change.db, order.snapshot) : NULL);
}

void api_snapshot_pin(struct http_request *request)
{
	mark(request, marks_set, "pinned by hand");
}

void api_snapshot_unpin(struct http_request *request)
{
	mark(request, marks_clear, "");
}
