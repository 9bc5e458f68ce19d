/* objects.c - see objects.h. */
#include "mgmt-server/core/objects.h"

#include <string.h>

#include "common/clock.h"
#include "mgmt-server/core/fleet.h"
#include "mgmt-server/core/marks.h"
#include "mgmt-server/core/ransomware.h"
#include "mgmt-server/core/scan_queue.h"

json_t *objects_time(uint64_t wall_ms)
{
	char text[CLOCK_TEXT_LEN];

	if (wall_ms == 0)
		return json_null();
	clock_format(wall_ms, text);
	return json_string(text);
}

json_t *objects_text(const char *text)
{
	return text && text[0] ? json_string(text) : json_null();
}

static json_t *figure(int64_t n)
{
	return n < 0 ? json_null() : json_integer(n);
}

static json_t *parsed(const char *text, const char *what)
{
	json_t *value = NULL;

	return json_parse(&value, text, strlen(text), what, NULL) < 0 ? json_null() : value;
}

/* ---- Endpoints ---- */

static uint64_t memory_of(struct db_conn *c, const char *desktop)
{
	struct catalogue_desktop d;
	json_t *machine;
	uint64_t mib;

	if (catalogue_desktop_get(c, desktop, &d, NULL) != 0)
		return 0;
	machine = parsed(d.machine, "machine");
	mib = (uint64_t)json_integer_value(json_object_get(machine, "memory_mib"));
	json_decref(machine);
	return mib;
}

json_t *objects_endpoint(struct server *s, struct db_conn *c, const struct catalogue_endpoint *row)
{
	struct fleet_endpoint *e = fleet_endpoint(s->fleet, row->name);
	json_t *desktops = json_array();
	uint64_t used = 0;
	size_t i;

	for (i = 0; i < fleet_desktop_count(s->fleet); i++) {
		struct fleet_desktop *d = fleet_desktop_at(s->fleet, i);

		if (strcmp(d->lease.holder, row->name) != 0)
			continue;
		json_array_append_new(desktops, json_string(d->name));
		used += memory_of(c, d->name);
	}
	return json_pack("{ss ss so ss ss sI sI sI sb sI so so}", "name", row->name, "state",
			 e && e->online ? "online" : "offline", "last_seen",
			 objects_time(e && e->seen_wall_ms ? e->seen_wall_ms : row->last_seen_ms),
			 "version", e ? e->version : "", "accelerator", e ? e->accelerator : "",
			 "cpus", (json_int_t)(e ? e->cpus : 0), "memory_mib",
			 (json_int_t)(e ? e->memory_mib : 0), "disk_free_bytes",
			 (json_int_t)(e ? e->disk_free_bytes : 0), "live_capture",
			 e && e->live_capture, "memory_used_mib", (json_int_t)used, "desktops",
			 desktops, "enrolled", objects_time(row->enrolled_ms));
}

/* ---- Desktops ---- */

static const char *state_while_held(struct server *s, const struct fleet_desktop *d)
{
	static const struct {
		const char *reported, *state;
	} states[] = {
		{ "starting", "starting" }, { "incoming", "starting" },
		{ "running", "running" },   { "paused", "paused" },
		{ "fenced", "fenced" },     { "postcopy-paused", "paused" },
		{ "off", "stopped" },       { "io-error", "error" },
		{ "crashed", "error" },
	};
	struct fleet_endpoint *e = fleet_endpoint(s->fleet, d->lease.holder);
	const struct fleet_report *r = e ? fleet_report(e, d->name) : NULL;
	size_t i;

	if (d->starting)
		return "starting";
	for (i = 0; r && r->epoch == d->lease.epoch && i < ARRAY_LEN(states); i++) {
		if (strcmp(states[i].reported, r->state) == 0)
			return states[i].state;
	}
	return "running"; /* its holder was not heard since this server started */
}

static const char *desktop_state(struct server *s, const struct catalogue_desktop *row,
				 const struct fleet_desktop *d, const struct catalogue_job *job)
{
	bool failing_over = job && strcmp(job->kind, "failover") == 0 && job->blocking;

	if (failing_over)
		return "failing-over";
	if (!d || d->lease.state == LEASE_FREE)
		return row->rest;
	if (d->lease.state == LEASE_LOST)
		return "lost";
	return state_while_held(s, d);
}

struct latest {
	char id[CATALOGUE_ID_LEN];
	uint64_t disk_bytes;
};

static int take_latest(void *arg, const struct catalogue_snapshot *snapshot, struct err *err)
{
	struct latest *latest = arg;

	(void)err;
	memcpy(latest->id, snapshot->id, sizeof(latest->id));
	latest->disk_bytes = objects_disk_bytes(snapshot->volumes);
	return DB_STOP;
}

static json_t *lease_json(const struct fleet_desktop *d)
{
	uint64_t now = clock_now_ms();
	uint64_t until = 0;

	if (d->lease.state == LEASE_HELD && d->lease.until_ms > now)
		until = clock_wall_ms() + (d->lease.until_ms - now);
	return json_pack("{ss ss so}", "policy", lease_policy_name(d->lease.policy), "state",
			 lease_state_name(d->lease.state), "until", objects_time(until));
}

/* Whom it belongs to. */
static void show_owner(struct db_conn *c, const char *name, json_t *object)
{
	char text[256] = "";

	catalogue_desktop_owner(c, name, text, sizeof(text), NULL);
	json_object_set_new(object, "owner", objects_text(text));
}

json_t *objects_desktop(struct server *s, struct db_conn *c, const struct catalogue_desktop *row)
{
	const struct fleet_desktop *d = fleet_desktop(s->fleet, row->name);
	struct latest latest = { .disk_bytes = 0 };
	struct catalogue_job job = { .id = "" };
	char job_id[CATALOGUE_ID_LEN];
	json_t *object;
	bool has_job;

	catalogue_snapshot_get(c, row->name, NULL, take_latest, &latest, NULL);
	catalogue_job_active(c, row->name, job_id, NULL);
	has_job = job_id[0] && catalogue_job_get(c, job_id, &job, NULL) == 0;
	object = json_pack(
		"{ss ss ss so sI so so sI so so ss so}", "name", row->name, "domain", row->domain,
		"state", desktop_state(s, row, d, has_job ? &job : NULL), "endpoint",
		d ? objects_text(d->lease.holder) : json_null(), "epoch",
		(json_int_t)(d ? d->lease.epoch : 0), "lease", d ? lease_json(d) : json_null(),
		"machine", parsed(row->machine, "machine"), "disk_bytes",
		(json_int_t)latest.disk_bytes, "latest_snapshot", objects_text(latest.id), "job",
		objects_text(job_id), "note", row->note, "created", objects_time(row->created_ms));
	if (has_job)
		catalogue_job_deinit(&job);
	if (object) {
		json_object_set_new(object, "quarantined", json_boolean(d && d->quarantined));
		ransomware_show_alarm(c, row->name, object);
		show_owner(c, row->name, object);
	}
	return object;
}

/* ---- Snapshots and jobs ---- */

uint64_t objects_disk_bytes(const char *volumes_json)
{
	json_t *volumes = parsed(volumes_json, "volumes"), *volume;
	uint64_t bytes = 0;
	size_t i;

	json_array_foreach (volumes, i, volume) {
		if (strcmp(json_string_value(json_object_get(volume, "kind")) ?: "", "disk") == 0)
			bytes += (uint64_t)json_integer_value(json_object_get(volume, "size"));
	}
	json_decref(volumes);
	return bytes;
}

json_t *objects_snapshot(struct db_conn *c, const struct catalogue_snapshot *s)
{
	json_t *object = json_pack(
		"{ss ss so so ss sb sI sb so so so so so ss}", "id", s->id, "desktop", s->desktop,
		"created", objects_time(s->created_ms), "parent", objects_text(s->parent), "kind",
		s->kind, "branch", s->branch, "epoch", (json_int_t)s->epoch, "memory", s->memory,
		"read_bytes", figure(s->read_bytes), "new_bytes", figure(s->new_bytes),
		"stored_bytes", figure(s->stored_bytes), "pause_ms",
		s->pause_ms < 0 ? json_null() : json_real(s->pause_ms), "volumes",
		parsed(s->volumes, "volumes"), "verdict", s->verdict);

	if (object) {
		marks_show(c, s->id, object);
		scan_queue_show(c, s->id, object);
		ransomware_show_changes(c, s->id, object);
	}
	return object;
}

json_t *objects_job(const struct catalogue_job *j)
{
	return json_pack("{ss ss ss so ss ss sI sI ss so sO ss so so so sb}", "id", j->id, "kind",
			 j->kind, "desktop", j->desktop, "endpoint", objects_text(j->endpoint),
			 "state", j->state, "step", j->step, "done_bytes",
			 (json_int_t)j->done_bytes, "total_bytes", (json_int_t)j->total_bytes,
			 "message", j->message, "error", objects_text(j->error), "result",
			 j->result, "user", j->user, "created", objects_time(j->created_ms),
			 "started", objects_time(j->started_ms), "ended", objects_time(j->ended_ms),
			 "cancel", j->cancel);
}

/* ---- By name ---- */

json_t *objects_endpoint_named(struct server *s, struct db_conn *c, const char *name)
{
	struct catalogue_endpoint e;

	return catalogue_endpoint_get(c, name, &e, NULL) == 0 ? objects_endpoint(s, c, &e) : NULL;
}

json_t *objects_desktop_named(struct server *s, struct db_conn *c, const char *name)
{
	struct catalogue_desktop d;

	return catalogue_desktop_get(c, name, &d, NULL) == 0 ? objects_desktop(s, c, &d) : NULL;
}

struct named {
	struct db_conn *db;
	json_t *object;
};

static int take_snapshot(void *arg, const struct catalogue_snapshot *snapshot, struct err *err)
{
	struct named *named = arg;

	(void)err;
	named->object = objects_snapshot(named->db, snapshot);
	return DB_STOP;
}

json_t *objects_snapshot_named(struct db_conn *c, const char *id)
{
	struct named named = { .db = c };

	catalogue_snapshot_get(c, NULL, id, take_snapshot, &named, NULL);
	return named.object;
}

json_t *objects_job_named(struct db_conn *c, const char *id)
{
	struct catalogue_job job;
	json_t *object;

	if (catalogue_job_get(c, id, &job, NULL) != 0)
		return NULL;
	object = objects_job(&job);
	catalogue_job_deinit(&job);
	return object;
}
