/* heartbeat_server.c - POST /agent/v1/heartbeat: an endpoint says how it is; its leases are renewed.
 *
 * The usual heartbeat writes nothing: renewals live in memory. The catalogue hears of an endpoint when it comes back,
 * when its facts are a minute old, and of every desktop whose lease ends here.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "mgmt-server/api/api.h"
#include "mgmt-server/api/heartbeat_server.h"
#include "mgmt-server/core/doubt.h"
#include "mgmt-server/core/failover.h"
#include "mgmt-server/core/fleet.h"
#include "mgmt-server/core/grants.h"
#include "mgmt-server/core/leases.h"
#include "mgmt-server/core/work.h"

enum { DESKTOPS_MAX = 256, SAVE_MS = 60000 };

struct beat {
	const char *version, *accelerator, *doubt;
	uint64_t cpus, memory_mib, disk_free_bytes;
	bool live_capture;
	json_t *desktops;
	struct fleet_report *reports; /* heap */
	size_t count;
};

/* ---- Reading ---- */

static int read_desktop(const json_t *object, struct fleet_report *out, struct err *err)
{
	const char *desktop = "", *state = "", *memory = "", *proof = "";
	uint64_t lease_ms = 0;
	const struct json_field fields[] = {
		{ "desktop", JSON_KIND_STRING, false, &desktop },
		{ "epoch", JSON_KIND_UINT, false, &out->epoch },
		{ "state", JSON_KIND_STRING, false, &state },
		{ "memory", JSON_KIND_STRING, true, &memory },
		{ "complete", JSON_KIND_BOOL, true, &out->complete },
		{ "proof", JSON_KIND_STRING, true, &proof },
		{ "lease_ms", JSON_KIND_UINT, true, &lease_ms },
	};
	int r = json_fields(object, fields, ARRAY_LEN(fields), "heartbeat: desktops", err);

	if (r == 0 && !manifest_desktop_valid(desktop))
		r = err_say(err, EINVAL, "heartbeat: '%.80s' is no name of a desktop", desktop);
	if (r == 0 && strlen(state) >= sizeof(out->state))
		r = err_say(err, EINVAL, "heartbeat: desktop %s: unknown state '%.40s'", desktop,
			    state);
	if (r == 0 && strlen(proof) >= sizeof(out->proof))
		r = err_say(err, EINVAL, "heartbeat: desktop %s: 'proof' is none", desktop);
	out->in_force = lease_ms > 0;
	snprintf(out->proof, sizeof(out->proof), "%s", proof);
	snprintf(out->desktop, sizeof(out->desktop), "%s", desktop);
	snprintf(out->state, sizeof(out->state), "%s", state);
	return r;
}

static int read_beat(struct http_request *request, json_t **body, struct beat *b, struct err *err)
{
	const struct json_field fields[] = {
		{ "version", JSON_KIND_STRING, false, &b->version },
		{ "accelerator", JSON_KIND_STRING, false, &b->accelerator },
		{ "cpus", JSON_KIND_UINT, false, &b->cpus },
		{ "memory_mib", JSON_KIND_UINT, false, &b->memory_mib },
		{ "disk_free_bytes", JSON_KIND_UINT, false, &b->disk_free_bytes },
		{ "live_capture", JSON_KIND_BOOL, true, &b->live_capture },
		{ "doubt", JSON_KIND_STRING, true, &b->doubt },
		{ "desktops", JSON_KIND_ARRAY, false, &b->desktops },
	};
	json_t *entry;
	size_t i;
	int r = api_body(request, fields, ARRAY_LEN(fields), body, err);

	if (r < 0)
		return r;
	if (json_array_size(b->desktops) > DESKTOPS_MAX)
		return err_say(err, EINVAL, "heartbeat: more than %d desktops", DESKTOPS_MAX);
	b->count = json_array_size(b->desktops);
	b->reports = calloc(b->count + 1, sizeof(*b->reports));
	if (!b->reports)
		return err_set(err, ENOMEM, "heartbeat");
	json_array_foreach (b->desktops, i, entry) {
		r = read_desktop(entry, &b->reports[i], err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* ---- Taking note ---- */

static bool take_facts(struct fleet_endpoint *e, const struct beat *b)
{
	bool changed = e->cpus != b->cpus || e->memory_mib != b->memory_mib ||
		       e->live_capture != b->live_capture ||
		       strncmp(e->version, b->version, sizeof(e->version) - 1) != 0 ||
		       strncmp(e->accelerator, b->accelerator, sizeof(e->accelerator) - 1) != 0;

	snprintf(e->version, sizeof(e->version), "%s", b->version);
	snprintf(e->accelerator, sizeof(e->accelerator), "%s", b->accelerator);
	e->cpus = b->cpus;
	e->memory_mib = b->memory_mib;
	e->disk_free_bytes = b->disk_free_bytes;
	e->live_capture = b->live_capture;
	return changed;
}

/* States are compared by name, so that watchers hear of each change once. */
static void take_reports(struct server *s, struct fleet_endpoint *e, struct beat *b)
{
	struct fleet_report *old = e->reports;
	size_t old_count = e->report_count, i, j;
	bool after_start = s->doubt[0] && strcmp(b->doubt, s->doubt) == 0;

	e->reports = TAKE(b->reports);
	e->report_count = b->count;
	for (i = 0; i < e->report_count; i++) {
		struct fleet_report *now = &e->reports[i];

		/* Without this start's number it may be what was so before it. */
		now->in_force = now->in_force && after_start;

		for (j = 0; j < old_count && strcmp(old[j].desktop, now->desktop) != 0; j++)
			;
		if (j == old_count || strcmp(old[j].state, now->state) != 0)
			work_publish_desktop(s, now->desktop);
	}
	free(old);
}

static int save_facts(struct server *s, struct fleet_endpoint *e, struct err *err)
{
	CLEANUP(db_abort) struct db_conn *c = NULL;
	CLEANUP(json_decref) json_t *facts = NULL;
	CLEANUP_FREE char *text = NULL;
	int r;

	facts = json_pack("{ss ss sI sI sI sb}", "version", e->version, "accelerator",
			  e->accelerator, "cpus", (json_int_t)e->cpus, "memory_mib",
			  (json_int_t)e->memory_mib, "disk_free_bytes",
			  (json_int_t)e->disk_free_bytes, "live_capture", e->live_capture);
	text = facts ? json_text(facts) : NULL;
	if (!text)
		return err_set(err, ENOMEM, "endpoint %s", e->name);
	r = db_begin(s->db, &c, err);
	if (r == 0)
		r = catalogue_endpoint_seen(c, e->name, e->seen_wall_ms, text, err);
	if (r == 0)
		r = db_commit(TAKE(c), err);
	if (r == 0)
		e->saved_wall_ms = e->seen_wall_ms;
	return r;
}

/* ---- Leases ---- */

static bool has_blocking_job(struct server *s, const char *desktop)
{
	CLEANUP(db_read_end) struct db_conn *c = db_read(s->db);
	struct catalogue_job job;
	char id[CATALOGUE_ID_LEN];
	bool blocking = false;

	catalogue_job_active(c, desktop, id, NULL);
	if (id[0] && catalogue_job_get(c, id, &job, NULL) == 0) {
		blocking = job.blocking;
		catalogue_job_deinit(&job);
	}
	return blocking;
}

/* The guest is off, or its QEMU gone, and no job is at it: the right to run ends, what follows begins with it. */
static int give_back(struct server *s, struct fleet_endpoint *e, struct fleet_desktop *d,
		     const struct fleet_report *r, struct err *err)
{
	CLEANUP_CHANGE struct change change = { .held = false };
	struct jobs_order order = { .kind = "save", .desktop = d->name, .user = "system" };
	char id[CATALOGUE_ID_LEN];
	bool off = strcmp(r->state, "off") == 0;
	int x = change_begin(&change, s, err);

	if (x == 0)
		x = jobs_fail_all(&change, d->name, off ? "the guest powered off" : "QEMU is gone",
				  err);
	if (x == 0)
		x = leases_release(&change, d, e->name, r->epoch, err);
	if (x == 0 && off) {
		order.endpoint = e->name;
		order.arguments = json_pack("{sI}", "timeout_ms", (json_int_t)60000);
		x = catalogue_desktop_rest(change.db, d->name, "stopped", "", err);
		if (x == 0)
			x = jobs_create(&change, &order, id, err);
		else
			json_decref(order.arguments);
	} else if (x == 0) {
		x = failover_crashed(&change, d, e->name, err);
	}
	return x < 0 ? x : change_commit(&change, err);
}

/* Nobody else was given the right since: what it has is the newest there is, not a stale copy. */
static bool still_newest(const struct fleet_desktop *d, const struct fleet_report *r)
{
	return d->lease.state == LEASE_FREE && d->lease.epoch == r->epoch &&
	       (strcmp(r->state, "off") == 0 || strcmp(r->state, "crashed") == 0);
}

/* It runs what this catalogue has forgotten giving it. Return what leases_claim() does. */
static int believe(struct server *s, struct fleet_endpoint *e, struct fleet_desktop *d,
		   const struct fleet_report *r)
{
	CLEANUP_CHANGE struct change change = { .held = false };
	struct err err = { 0 };
	char text[256];
	int x = change_begin(&change, s, &err);

	snprintf(text, sizeof(text),
		 "endpoint %s proved that it has epoch %llu of desktop %s, which the catalogue had "
		 "forgotten",
		 e->name, (unsigned long long)r->epoch, d->name);
	if (x == 0)
		x = leases_claim(&change, d, e->name, r->epoch, &err);
	if (x == 0)
		x = change_audit(&change, e->name, "", "claim", d->name, text, &err);
	if (x == 0)
		x = change_commit(&change, &err);
	if (x < 0)
		log_error("desktop=%s: %s", d->name, err_text(&err));
	else if (x == 0)
		log_warning("%s", text);
	return x;
}

/* Return whether the endpoint is kept waiting: it hears neither that it may run nor that it may not. */
static bool one_desktop(struct server *s, struct fleet_endpoint *e, const struct fleet_report *r,
			json_t *leases, json_t *stale)
{
	struct fleet_desktop *d = fleet_desktop(s->fleet, r->desktop);
	struct lease_input input = { .event = LEASE_EVENT_RENEW,
				     .now_ms = clock_now_ms(),
				     .holder = e->name,
				     .epoch = r->epoch };
	enum lease_state before;
	enum lease_action action;
	bool over = strcmp(r->state, "off") == 0 || strcmp(r->state, "crashed") == 0;
	struct err err = { 0 };

	if (d && r->epoch > d->lease.epoch &&
	    grants_check(s, d->name, e->name, r->epoch, r->proof) && believe(s, e, d, r) < 0)
		return true; /* the next heartbeat tries again */
	before = d ? d->lease.state : LEASE_FREE;
	action = d ? lease_advance(&d->lease, &input) : LEASE_ACTION_STALE;
	if (action == LEASE_ACTION_RENEWED && !doubt_tells(s, d, r->in_force, input.now_ms))
		return true;
	if (action == LEASE_ACTION_RENEWED && over && !has_blocking_job(s, r->desktop)) {
		if (give_back(s, e, d, r, &err) < 0) /* the next heartbeat tries again */
			log_error("desktop=%s is %s on endpoint=%s: %s", r->desktop, r->state,
				  e->name, err_text(&err));
		return false;
	}
	if (action == LEASE_ACTION_RENEWED) {
		json_t *lease =
			json_pack("{ss sI sI}", "desktop", r->desktop, "epoch",
				  (json_int_t)r->epoch, "ttl_ms", (json_int_t)d->lease.ttl_ms);

		if (lease && d->quarantined)
			json_object_set_new(lease, "quarantined", json_true());
		json_array_append_new(leases, lease);
		d->told = true;
		if (before == LEASE_EXPIRED)
			work_publish_desktop(s, r->desktop);
	} else if (!d || !still_newest(d, r)) {
		json_array_append_new(stale, json_pack("{ss sI}", "desktop", r->desktop, "epoch",
						       (json_int_t)r->epoch));
	}
	return false;
}

/* What was granted and is not listed yet: the agent is just preparing it. */
static void renew_starting(struct server *s, const struct fleet_endpoint *e)
{
	struct fleet_desktop *d;
	size_t i;

	for (i = 0; i < fleet_desktop_count(s->fleet); i++) {
		d = fleet_desktop_at(s->fleet, i);
		if (d->starting && strcmp(d->lease.holder, e->name) == 0) {
			struct lease_input input = { .event = LEASE_EVENT_RENEW,
						     .now_ms = clock_now_ms(),
						     .holder = e->name,
						     .epoch = d->lease.epoch };
			lease_advance(&d->lease, &input);
		}
	}
}

static json_t *answer(struct server *s, struct fleet_endpoint *e)
{
	json_t *leases = json_array(), *stale = json_array(), *reply;
	bool waits = doubt_left(s, clock_now_ms()) > 0;
	size_t i;

	renew_starting(s, e);
	for (i = 0; i < e->report_count; i++)
		waits |= one_desktop(s, e, &e->reports[i], leases, stale);
	reply = json_pack("{sI so so}", "interval_ms", (json_int_t)s->config.heartbeat_ms, "leases",
			  leases, "stale", stale);
	if (reply && waits)
		json_object_set_new(reply, "doubt", json_string(s->doubt));
	return reply;
}

void heartbeat_server_post(struct http_request *request)
{
	struct server *s = http_request_app(request);
	CLEANUP(json_decref) json_t *body = NULL;
	struct beat beat = { .version = "", .doubt = "" };
	struct fleet_endpoint *e;
	struct err err = { 0 };
	json_t *reply = NULL;
	bool changed;
	int r = read_beat(request, &body, &beat, &err);

	if (r < 0) {
		free(beat.reports);
		http_fail_err(request, r, &err);
		return;
	}
	fleet_lock(s->fleet);
	e = fleet_endpoint_add(s->fleet, http_caller(request)->name);
	if (e) {
		changed = take_facts(e, &beat) || !e->online;
		if (!e->online)
			log_info("endpoint is here endpoint=%s", e->name);
		e->online = true;
		e->seen_ms = clock_now_ms();
		e->seen_wall_ms = clock_wall_ms();
		take_reports(s, e, &beat);
		reply = answer(s, e);
		/* A full disk must not stop heartbeats: facts are only a convenience. */
		if ((changed || e->seen_wall_ms - e->saved_wall_ms > SAVE_MS) &&
		    save_facts(s, e, &err) < 0)
			log_error("endpoint=%s: %s", e->name, err_text(&err));
		if (changed)
			work_publish_endpoint(s, e->name);
	}
	fleet_unlock(s->fleet);
	free(beat.reports);
	http_reply_json(request, 200, reply);
}
