/* api_notices.c - notices, whom they are mailed to, and the pins of snapshots. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "mgmt-server/api/api.h"
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

void api_notices(struct http_request *request)
{
	struct server *s = http_request_app(request);
	struct catalogue_notice_filter filter = { .desktop = NULL };
	struct json_field fields[4] = {
		[2] = { "desktop", JSON_KIND_STRING, true, &filter.desktop },
		[3] = { "unread", JSON_KIND_BOOL, true, &filter.unread },
	};
	struct api_page page;
	struct err err = { 0 };
	struct db_conn *c;
	int r = api_page_begin(request, &page, fields, ARRAY_LEN(fields), &err);

	if (r == 0)
		r = api_page_number(&page, &filter.before, &err);
	if (r == 0) {
		c = db_read(s->db);
		r = catalogue_notice_each(c, &filter, list_notice, &page, &err);
		db_read_end(c);
	}
	api_page_end(request, &page, r, &err);
}

void api_notice(struct http_request *request)
{
	struct server *s = http_request_app(request);
	struct db_conn *c = db_read(s->db);
	json_t *object = notices_object_of(c, http_param(request, "id"));

	db_read_end(c);
	api_reply_found(request, object, "notice");
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
	CLEANUP_CHANGE struct change change = { .held = false };
	CLEANUP(json_decref) json_t *body = NULL;
	const char *id = http_param(request, "id");
	struct err err = { 0 };
	int r = api_body(request, NULL, 0, &body, &err);

	if (r == 0)
		r = api_change(request, &change, &err);
	if (r != 0) {
		api_failed(request, r, &err);
		return;
	}
	r = read_one(&change, id, http_caller(request)->name, &err);
	api_finish(request, &change, r, 200, r == 0 ? notices_object_of(change.db, id) : NULL,
		   &err);
}

void api_notices_read(struct http_request *request)
{
	CLEANUP_CHANGE struct change change = { .held = false };
	CLEANUP(json_decref) json_t *body = NULL;
	uint64_t up_to = INT64_MAX;
	const struct json_field fields[] = { { "up_to", JSON_KIND_UINT, true, &up_to } };
	struct err err = { 0 };
	int r = api_body(request, fields, ARRAY_LEN(fields), &body, &err);

	if (r == 0)
		r = api_change(request, &change, &err);
	if (r != 0) {
		api_failed(request, r, &err);
		return;
	}
	r = catalogue_notice_read_all(change.db, up_to > INT64_MAX ? INT64_MAX : up_to,
				      http_caller(request)->name, clock_wall_ms(), &err);
	api_finish(request, &change, r < 0 ? r : 0, 200, json_pack("{sI}", "read", (json_int_t)r),
		   &err);
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
	CLEANUP_CHANGE struct change change = { .held = false };
	CLEANUP(json_decref) json_t *body = NULL;
	struct server *s = http_request_app(request);
	const char *name = http_param(request, "name"), *owner = "";
	const struct json_field fields[] = { { "owner", JSON_KIND_STRING, true, &owner } };
	struct err err = { 0 };
	int r = api_body(request, fields, ARRAY_LEN(fields), &body, &err);

	if (r == 0)
		r = api_change(request, &change, &err);
	if (r != 0) {
		api_failed(request, r, &err);
		return;
	}
	r = set_owner(&change, name, owner, &err);
	if (r == 0)
		r = change_audit(&change, http_caller(request)->name, http_address(request),
				 "owner", name, owner, &err);
	api_finish(request, &change, r, 200,
		   r == 0 ? objects_desktop_named(s, change.db, name) : NULL, &err);
}

/* ---- Pins ---- */

static void mark(struct http_request *request,
		 int (*act)(struct change *, const struct marks_order *, struct err *),
		 const char *preset)
{
	CLEANUP_CHANGE struct change change = { .held = false };
	CLEANUP(json_decref) json_t *body = NULL;
	struct marks_order order = { .snapshot = http_param(request, "id"),
				     .kind = MARKS_PIN,
				     .source = "person",
				     .why = preset,
				     .user = http_caller(request)->name };
	const struct json_field fields[] = {
		{ "why", JSON_KIND_STRING, true, &order.why },
		{ "source", JSON_KIND_STRING, true, &order.source },
	};
	struct err err = { 0 };
	/* Only `unpin` names a source: what a person pins is his. */
	int r = api_body(request, fields, act == marks_clear ? 2 : 1, &body, &err);

	if (r == 0 && strlen(order.why) > 200)
		r = err_say(&err, EINVAL, "'why' must have at most 200 bytes");
	if (r == 0 && act == marks_clear &&
	    (!strcmp(order.source, RANSOMWARE_SOURCE_BLOCK) ||
	     !strcmp(order.source, RANSOMWARE_SOURCE_GOOD)))
		r = err_say(&err, EEXIST,
			    "an alarm keeps it: an administrator must acknowledge that first");
	if (r == 0)
		r = api_change(request, &change, &err);
	if (r != 0) {
		api_failed(request, r, &err);
		return;
	}
	r = act(&change, &order, &err);
	api_finish(request, &change, r, 200,
		   r == 0 ? objects_snapshot_named(change.db, order.snapshot) : NULL, &err);
}

void api_snapshot_pin(struct http_request *request)
{
	mark(request, marks_set, "pinned by hand");
}

void api_snapshot_unpin(struct http_request *request)
{
	mark(request, marks_clear, "");
}
