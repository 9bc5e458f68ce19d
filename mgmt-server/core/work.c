/* work.c - see work.h. */
#include "mgmt-server/core/work.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "mgmt-server/core/events.h"
#include "mgmt-server/core/jobs.h"
#include "mgmt-server/core/objects.h"

enum { WAIT_MAX_MS = 60000 };

static void answer(struct http_request *poll, json_t *items)
{
	json_t *body = json_pack("{so}", "work", items ? items : json_array());

	http_reply_json(poll, 200, body);
}

void work_poll_end(struct fleet_endpoint *e)
{
	if (e->poll)
		answer(TAKE(e->poll), NULL);
}

/* What there is to do for @e; an empty array when nothing. NULL with @err when the catalogue failed. */
static json_t *collect(struct server *s, struct fleet_endpoint *e, struct err *err)
{
	CLEANUP_CHANGE struct change change = { .held = false };
	CLEANUP(json_decref) json_t *items = json_array();
	int r = change_begin(&change, s, err);

	if (r == 0)
		r = jobs_hand_out(&change, e, e->instance, items, err);
	/* Durable before it is handed out: after a crash we know who may be doing it. */
	if (r == 0 && json_array_size(items) > 0)
		r = change_commit(&change, err);
	return r < 0 ? NULL : TAKE(items);
}

void work_wake(struct server *s, const char *name)
{
	struct fleet_endpoint *e = fleet_endpoint(s->fleet, name);

	if (e)
		e->work_waits = true;
	if (e && e->poll)
		e->poll_due = true;
}

static void try_poll(struct server *s, struct fleet_endpoint *e)
{
	struct err err = { 0 };
	json_t *items;

	if (!e->poll)
		return;
	items = collect(s, e, &err);
	if (!items) {
		log_error("work for endpoint=%s: %s", e->name, err_text(&err));
		return;
	}
	if (json_array_size(items) > 0)
		answer(TAKE(e->poll), items);
	else
		json_decref(items);
}

void work_due(struct server *s)
{
	struct fleet_endpoint *e;
	size_t i;

	for (i = 0; i < fleet_endpoint_count(s->fleet); i++) {
		e = fleet_endpoint_at(s->fleet, i);
		if (e->poll_due) {
			e->poll_due = false;
			try_poll(s, e);
		}
	}
}

void work_tick(struct server *s)
{
	struct fleet_endpoint *e;
	size_t i;

	for (i = 0; i < fleet_endpoint_count(s->fleet); i++) {
		e = fleet_endpoint_at(s->fleet, i);
		if (e->work_waits)
			try_poll(s, e);
	}
}

void work_stop(struct server *s)
{
	CLEANUP(fleet_unlock) struct fleet *held = fleet_hold(s->fleet);
	size_t i;

	for (i = 0; i < fleet_endpoint_count(held); i++)
		work_poll_end(fleet_endpoint_at(held, i));
}

static bool instance_ok(const char *text)
{
	size_t len =
		strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-");

	return len > 0 && len <= 64 && text[len] == '\0';
}

void work_get(struct http_request *request)
{
	struct server *s = http_request_app(request);
	const char *instance = "-";
	uint64_t wait_ms = 30000;
	const struct json_field fields[] = {
		{ "wait_ms", JSON_KIND_UINT, true, &wait_ms },
		{ "instance", JSON_KIND_STRING, true, &instance },
	};
	struct fleet_endpoint *e;
	struct err err = { 0 };
	json_t *items;
	int r = http_query(request, fields, ARRAY_LEN(fields), &err);

	if (r == 0 && !instance_ok(instance))
		r = err_say(&err, EINVAL, "query: 'instance' must be 1 to 64 of A-Z a-z 0-9 -");
	if (r < 0) {
		http_fail_err(request, r, &err);
		return;
	}
	CLEANUP(fleet_unlock) struct fleet *held = fleet_hold(s->fleet);
	e = fleet_endpoint_add(held, http_caller(request)->name);
	if (!e) {
		http_fail(request, 503, "out of memory");
		return;
	}
	work_poll_end(e);
	snprintf(e->instance, sizeof(e->instance), "%s", instance);
	items = collect(s, e, &err);
	if (!items) {
		http_fail_err(request, -err.code, &err);
	} else if (json_array_size(items) > 0 || wait_ms == 0) {
		answer(request, items);
	} else {
		json_decref(items);
		e->poll = request;
		e->poll_end_ms = clock_now_ms() + (wait_ms < WAIT_MAX_MS ? wait_ms : WAIT_MAX_MS);
	}
}

static int parse_report(struct http_request *request, json_t **body, struct jobs_report *report,
			struct err *err)
{
	const struct json_field fields[] = {
		{ "step", JSON_KIND_STRING, false, &report->step },
		{ "state", JSON_KIND_STRING, false, &report->state },
		{ "done_bytes", JSON_KIND_UINT, true, &report->done_bytes },
		{ "total_bytes", JSON_KIND_UINT, true, &report->total_bytes },
		{ "message", JSON_KIND_STRING, true, &report->message },
		{ "result", JSON_KIND_OBJECT, true, &report->result },
	};
	size_t len;
	const uint8_t *text = http_body(request, &len);
	int r = json_parse(body, (const char *)text, len, "the report", err);

	return r < 0 ? r : json_fields(*body, fields, ARRAY_LEN(fields), "the report", err);
}

void work_report(struct http_request *request)
{
	struct server *s = http_request_app(request);
	CLEANUP(json_decref) json_t *body = NULL;
	CLEANUP_CHANGE struct change change = { .held = false };
	struct jobs_report report = { .message = "" };
	struct err err = { 0 };
	bool cancel = false;
	int r;

	r = parse_report(request, &body, &report, &err);
	if (r == 0)
		r = change_begin(&change, s, &err);
	if (r == 0)
		r = jobs_report(&change, http_caller(request)->name, http_param(request, "job"),
				&report, &cancel, &err);
	if (r == JOBS_OVER) {
		http_fail(request, 409, "job %s, or its step %s, is over",
			  http_param(request, "job"), report.step);
		return;
	}
	if (r == 0)
		r = change_commit(&change, &err);
	if (r < 0)
		http_fail_err(request, r, &err);
	else
		http_reply_json(request, 200, json_pack("{sb}", "cancel", cancel));
}

void work_publish_endpoint(struct server *s, const char *name)
{
	CLEANUP(db_read_end) struct db_conn *c = db_read(s->db);

	events_publish(s->events, "endpoint", objects_endpoint_named(s, c, name));
}

void work_publish_desktop(struct server *s, const char *name)
{
	CLEANUP(db_read_end) struct db_conn *c = db_read(s->db);

	events_publish(s->events, "desktop", objects_desktop_named(s, c, name));
}
