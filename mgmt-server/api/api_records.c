/* api_records.c - snapshots, jobs, events, the audit trail and the server itself. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "mgmt-server/api/api.h"
#include "mgmt-server/core/events.h"
#include "mgmt-server/core/fleet.h"
#include "mgmt-server/core/jobs.h"
#include "mgmt-server/core/objects.h"
#include "mgmt-server/core/scans.h"
#include "mgmt-server/core/upkeep.h"

void api_server(struct http_request *request)
{
	struct server *s = http_request_app(request);
	struct store_stat stat = { 0 };
	struct err err = { 0 };
	int r = store_stat(s->store, &stat, &err);

	if (r < 0) {
		http_fail_err(request, r, &err);
		return;
	}
	http_reply_json(request, 200,
			json_pack("{ss ss so s{sI sI sI sI sI}}", "version", SERVER_VERSION,
				  "ca_fingerprint", s->ca_fingerprint, "started",
				  objects_time(s->started_wall_ms), "store", "packs",
				  (json_int_t)stat.packs, "pack_bytes", (json_int_t)stat.pack_bytes,
				  "chunks", (json_int_t)stat.chunks, "plain_bytes",
				  (json_int_t)stat.plain_bytes, "snapshots",
				  (json_int_t)stat.snapshots));
}

/* ---- Snapshots ---- */

struct snapshot_listing {
	struct api_page page;
	struct db_conn *db;
};

static int list_snapshot(void *arg, const struct catalogue_snapshot *s, struct err *err)
{
	struct snapshot_listing *l = arg;
	(void)err;
	return api_page_add_number(&l->page, objects_snapshot(l->db, s), s->seq);
}

void api_snapshots(struct http_request *request)
{
	struct server *s = http_request_app(request);
	const char *desktop = NULL;
	struct json_field fields[3] = { [2] = { "desktop", JSON_KIND_STRING, true, &desktop } };
	struct snapshot_listing l;
	struct err err = { 0 };
	uint64_t before = 0;
	int r = api_page_begin(request, &l.page, fields, ARRAY_LEN(fields), &err);

	if (r == 0)
		r = api_page_number(&l.page, &before, &err);
	if (r == 0) {
		l.db = db_read(s->db);
		r = catalogue_snapshot_each(l.db, desktop, before, list_snapshot, &l, &err);
		db_read_end(l.db);
	}
	api_page_end(request, &l.page, r, &err);
}

void api_snapshot(struct http_request *request)
{
	struct server *s = http_request_app(request);
	const char *id = http_param(request, "id");
	struct err err = { 0 };
	struct manifest m;
	struct db_conn *c;
	json_t *object;
	int r;

	c = db_read(s->db);
	object = objects_snapshot_named(c, id);
	if (object)
		json_object_set_new(object, "scan", scans_object(c, id));
	db_read_end(c);
	if (!object) {
		http_fail(request, 404, "there is no snapshot %.32s", id);
		return;
	}
	manifest_init(&m);
	r = store_manifest(s->store, id, &m, &err);
	if (r == 0)
		json_object_set_new(object, "manifest", manifest_to_json(&m));
	manifest_deinit(&m);
	if (r == 0) {
		http_reply_json(request, 200, object);
		return;
	}
	json_decref(object);
	if (r == STORE_ABSENT)
		r = err_say(&err, EIO, "snapshot %.32s is in the catalogue, but not in the store",
			    id);
	http_fail_err(request, r, &err);
}

/* ---- Jobs ---- */

static int list_job(void *arg, const struct catalogue_job *job, struct err *err)
{
	(void)err;
	return api_page_add_number(arg, objects_job(job), job->seq);
}

void api_jobs(struct http_request *request)
{
	struct server *s = http_request_app(request);
	struct catalogue_job_filter filter = { .desktop = NULL };
	struct json_field fields[4] = {
		[2] = { "desktop", JSON_KIND_STRING, true, &filter.desktop },
		[3] = { "state", JSON_KIND_STRING, true, &filter.state },
	};
	struct api_page page;
	struct err err = { 0 };
	struct db_conn *c;
	int r = api_page_begin(request, &page, fields, ARRAY_LEN(fields), &err);

	if (r == 0)
		r = api_page_number(&page, &filter.before, &err);
	if (r == 0) {
		c = db_read(s->db);
		r = catalogue_job_each(c, &filter, list_job, &page, &err);
		db_read_end(c);
	}
	api_page_end(request, &page, r, &err);
}

void api_job(struct http_request *request)
{
	struct server *s = http_request_app(request);
	struct db_conn *c = db_read(s->db);
	json_t *object = objects_job_named(c, http_param(request, "id"));

	db_read_end(c);
	api_reply_found(request, object, "job");
}

void api_job_cancel(struct http_request *request)
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
	r = jobs_cancel(&change, id, &err);
	if (r == 0)
		r = change_audit(&change, http_caller(request)->name, http_address(request),
				 "cancel", id, "", &err);
	api_finish(request, &change, r, 202, r == 0 ? objects_job_named(change.db, id) : NULL,
		   &err);
}

/* ---- Events and audit ---- */

void api_events(struct http_request *request)
{
	struct server *s = http_request_app(request);

	events_watch(s->events, request, http_header(request, "Last-Event-ID"));
}

static int list_audit(void *arg, const struct catalogue_audit *a, struct err *err)
{
	(void)err;
	return api_page_add_number(arg,
				   json_pack("{sI so ss ss ss ss ss ss}", "seq", (json_int_t)a->seq,
					     "at", objects_time(a->at_ms), "actor", a->actor,
					     "address", a->address, "action", a->action, "object",
					     a->object, "detail", a->detail, "hash", a->hash),
				   a->seq);
}

void api_audit(struct http_request *request)
{
	struct server *s = http_request_app(request);
	struct json_field fields[2];
	struct api_page page;
	struct err err = { 0 };
	struct db_conn *c;
	uint64_t before = 0;
	int r = api_page_begin(request, &page, fields, ARRAY_LEN(fields), &err);

	if (r == 0)
		r = api_page_number(&page, &before, &err);
	if (r == 0) {
		c = db_read(s->db);
		r = catalogue_audit_each(c, before, list_audit, &page, &err);
		db_read_end(c);
	}
	api_page_end(request, &page, r, &err);
}

/* ---- The store ---- */

void api_store(struct http_request *request)
{
	http_reply_json(request, 200, upkeep_object(http_request_app(request)));
}

void api_store_run(struct http_request *request)
{
	struct server *s = http_request_app(request);
	struct err err = { 0 };
	int r = upkeep_run(s, http_param(request, "task"), &err);

	if (r < 0)
		http_fail_err(request, r == -EBUSY ? -EEXIST : r, &err);
	else
		http_reply_json(request, 202, upkeep_object(s));
}
