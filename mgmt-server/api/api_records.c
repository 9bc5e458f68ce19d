/* api_records.c - snapshots, jobs, events, the audit trail and the server itself. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "mgmt-server/api/api.h"
#include "mgmt-server/api/api_edit.h"
#include "mgmt-server/api/api_page.h"
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

static int list_snapshot(void *arg, const struct catalogue_snapshot *s, struct err *err)
{
	struct api_page *page = arg;

	(void)err;
	return api_page_add_number(page, objects_snapshot(page->db, s), s->seq);
}

static int walk_snapshots(struct api_page *page, void *arg, struct err *err)
{
	const char *const *desktop = arg;

	return catalogue_snapshot_each(page->db, *desktop, page->before, list_snapshot, page, err);
}

void api_snapshots(struct http_request *request)
{
	const char *desktop = NULL;
	const struct json_field fields[] = { { "desktop", JSON_KIND_STRING, true, &desktop } };

	api_page_reply(request, &(struct api_page_list){ .walk = walk_snapshots,
							 .arg = &desktop,
							 .fields = fields,
							 .field_count = ARRAY_LEN(fields) });
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

static int walk_jobs(struct api_page *page, void *arg, struct err *err)
{
	struct catalogue_job_filter *filter = arg;

	filter->before = page->before;
	return catalogue_job_each(page->db, filter, list_job, page, err);
}

void api_jobs(struct http_request *request)
{
	struct catalogue_job_filter filter = { .desktop = NULL };
	const struct json_field fields[] = {
		{ "desktop", JSON_KIND_STRING, true, &filter.desktop },
		{ "state", JSON_KIND_STRING, true, &filter.state },
	};

	api_page_reply(request, &(struct api_page_list){ .walk = walk_jobs,
							 .arg = &filter,
							 .fields = fields,
							 .field_count = ARRAY_LEN(fields) });
}

void api_job(struct http_request *request)
{
	api_reply_object(request, "job", objects_job_named);
}

void api_job_cancel(struct http_request *request)
{
	CLEANUP_API_EDIT struct api_edit e = { .request = request };
	const char *id = http_param(request, "id");
	int r = api_edit_body(&e, NULL, 0);

	if (!api_edit_begin(&e, r))
		return;
	r = jobs_cancel(&e.change, id, &e.err);
	if (r == 0)
		r = api_edit_audit(&e, "cancel", id, "");
	api_edit_end(&e, r, 202, r == 0 ? objects_job_named(e.change.db, id) : NULL);
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

static int walk_audit(struct api_page *page, void *arg, struct err *err)
{
	(void)arg;
	return catalogue_audit_each(page->db, page->before, list_audit, page, err);
}

void api_audit(struct http_request *request)
{
	api_page_reply(request, &(struct api_page_list){ .walk = walk_audit });
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
