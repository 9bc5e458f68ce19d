/* api_fleet.c - endpoints, desktops and what can be done with a desktop. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "mgmt-server/api/api.h"
#include "mgmt-server/api/api_edit.h"
#include "mgmt-server/api/api_page.h"
#include "mgmt-server/core/failover.h"
#include "mgmt-server/core/fleet.h"
#include "mgmt-server/core/leases.h"
#include "mgmt-server/core/mail.h"
#include "mgmt-server/core/objects.h"
#include "mgmt-server/core/recovery.h"

/* ---- Endpoints ---- */

static int list_endpoint(void *arg, const struct catalogue_endpoint *e, struct err *err)
{
	struct api_page *page = arg;

	(void)err;
	return api_page_add(page, objects_endpoint(page->server, page->db, e), e->name);
}

static int walk_endpoints(struct api_page *page, void *arg, struct err *err)
{
	(void)arg;
	return catalogue_endpoint_each(page->db, page->after, list_endpoint, page, err);
}

void api_endpoints(struct http_request *request)
{
	api_page_reply(request, &(struct api_page_list){ .walk = walk_endpoints, .fleet = true });
}

/* One object by name, or 404. */
static void reply_one(struct http_request *request, const char *what,
		      json_t *(*get)(struct server *, struct db_conn *, const char *))
{
	struct server *s = http_request_app(request);
	struct db_conn *c;
	json_t *object;

	fleet_lock(s->fleet);
	c = db_read(s->db);
	object = get(s, c, http_param(request, "name"));
	db_read_end(c);
	fleet_unlock(s->fleet);
	if (object)
		http_reply_json(request, 200, object);
	else
		http_fail(request, 404, "there is no %s %.63s", what, http_param(request, "name"));
}

void api_endpoint(struct http_request *request)
{
	reply_one(request, "endpoint", objects_endpoint_named);
}

/* ---- Desktops ---- */

static int list_desktop(void *arg, const struct catalogue_desktop *d, struct err *err)
{
	struct api_page *page = arg;

	(void)err;
	return api_page_add(page, objects_desktop(page->server, page->db, d), d->name);
}

static int walk_desktops(struct api_page *page, void *arg, struct err *err)
{
	(void)arg;
	return catalogue_desktop_each(page->db, page->after, list_desktop, page, err);
}

void api_desktops(struct http_request *request)
{
	api_page_reply(request, &(struct api_page_list){ .walk = walk_desktops, .fleet = true });
}

void api_desktop(struct http_request *request)
{
	reply_one(request, "desktop", objects_desktop_named);
}

struct order {
	const char *name, *network, *policy_name, *domain, /* NULL: as the server is configured */
		*owner;                                    /* NULL: nobody */
	uint64_t vcpus, memory_mib;
	enum lease_policy policy;
};

static int check_order(struct order *o, struct err *err)
{
	if (!manifest_desktop_valid(o->name))
		return err_say(err, EINVAL, "'name' must be 1 to 63 of a-z 0-9 -, not first a -");
	if (strcmp(o->name, RECOVERY_NAME) == 0 ||
	    (o->domain && strcmp(o->domain, RECOVERY_NAME) == 0))
		return err_say(err, EINVAL, "'%s' is kept for the server's own records",
			       RECOVERY_NAME);
	if (o->vcpus < 1 || o->vcpus > 255)
		return err_say(err, EINVAL, "'vcpus' must be 1 to 255");
	if (o->memory_mib < 16 || o->memory_mib > 4 << 20)
		return err_say(err, EINVAL, "'memory_mib' must be 16 to %d", 4 << 20);
	if (strcmp(o->network, "user") != 0 && strcmp(o->network, "none") != 0)
		return err_say(err, EINVAL, "'network' must be user or none");
	if (o->owner && o->owner[0] && !mail_address_valid(o->owner))
		return err_say(err, EINVAL, "'owner' must be an e-mail address");
	if (lease_policy_parse(o->policy_name, &o->policy) < 0)
		return err_say(err, EINVAL, "'lease_policy' must be strict or offline-ok");
	if (o->domain && !manifest_desktop_valid(o->domain))
		return err_say(err, EINVAL, "'domain' must be 1 to 63 of a-z 0-9 -, not first a -");
	return 0;
}

/* Named by who orders; else the one that all share, or one that nobody else is in. */
static int choose_domain(struct change *change, const struct order *o, char *domain,
			 struct err *err)
{
	bool shared = strcmp(change->server->config.store_domains, "shared") == 0;
	uint64_t others = 0;
	int r;

	snprintf(domain, CATALOGUE_NAME_LEN, "%s",
		 o->domain ? o->domain
		 : shared  ? "default"
			   : o->name);
	if (o->domain || shared)
		return 0;
	r = catalogue_desktop_domain_count(change->db, domain, &others, err);
	if (r == 0 && (others > 0 || strcmp(domain, "default") == 0))
		r = err_say(err, EEXIST,
			    "desktop %s would get the domain of its own name, which other desktops "
			    "may be in: name a 'domain', or choose another name",
			    o->name);
	return r;
}

static int make_desktop(struct change *change, const struct order *o, struct err *err)
{
	struct catalogue_desktop d = { .rest = "empty", .created_ms = clock_wall_ms() };
	struct catalogue_desktop there;
	json_t *machine = json_pack("{sI sI ss}", "vcpus", (json_int_t)o->vcpus, "memory_mib",
				    (json_int_t)o->memory_mib, "network", o->network);
	CLEANUP_FREE char *text = machine ? json_text(machine) : NULL;
	int r;

	json_decref(machine);
	if (!text)
		return err_set(err, ENOMEM, "desktop %s", o->name);
	snprintf(d.name, sizeof(d.name), "%s", o->name);
	snprintf(d.machine, sizeof(d.machine), "%s", text);
	r = catalogue_desktop_get(change->db, o->name, &there, err);
	if (r == 0)
		return err_say(err, EEXIST, "there is a desktop %s already", o->name);
	if (r == CATALOGUE_NONE)
		r = choose_domain(change, o, d.domain, err);
	if (r == 0)
		r = catalogue_desktop_add(change->db, &d, err);
	if (r == 0 && o->owner)
		r = catalogue_desktop_set_owner(change->db, o->name, o->owner, err);
	if (r == 0)
		r = leases_new(change, o->name, o->policy, err);
	if (r == 0)
		fleet_desktop_place(fleet_desktop(change->server->fleet, o->name), d.domain);
	return r;
}

void api_desktop_new(struct http_request *request)
{
	struct server *s = http_request_app(request);
	CLEANUP_API_EDIT struct api_edit e = { .request = request };
	struct order o = {
		.vcpus = 2, .memory_mib = 2048, .network = "user", .policy_name = "strict"
	};
	const struct json_field fields[] = {
		{ "name", JSON_KIND_STRING, false, &o.name },
		{ "vcpus", JSON_KIND_UINT, true, &o.vcpus },
		{ "memory_mib", JSON_KIND_UINT, true, &o.memory_mib },
		{ "network", JSON_KIND_STRING, true, &o.network },
		{ "lease_policy", JSON_KIND_STRING, true, &o.policy_name },
		{ "domain", JSON_KIND_STRING, true, &o.domain },
		{ "owner", JSON_KIND_STRING, true, &o.owner },
	};
	int r = api_edit_body(&e, fields, ARRAY_LEN(fields));

	if (r == 0)
		r = check_order(&o, &e.err);
	if (!api_edit_begin(&e, r))
		return;
	r = make_desktop(&e.change, &o, &e.err);
	if (r == 0)
		r = api_edit_audit(&e, "desktop", o.name, "");
	api_edit_end(&e, r, 201, r == 0 ? objects_desktop_named(s, e.change.db, o.name) : NULL);
}

/* ---- Actions ---- */

struct action {
	const char *endpoint, *snapshot;
	bool memory, force;
	uint64_t timeout_ms;
};

enum { TAKES_ENDPOINT = 1, TAKES_SNAPSHOT = 2, TAKES_MEMORY = 4, TAKES_STOP = 8 };

static const struct {
	const char *name;
	const char *kind; /* of the job */
	unsigned takes;
} actions[] = {
	{ "start", "start", TAKES_ENDPOINT | TAKES_SNAPSHOT },
	{ "resume", "resume", TAKES_ENDPOINT | TAKES_SNAPSHOT },
	{ "stop", "stop", TAKES_STOP },
	{ "suspend", "suspend", 0 },
	{ "snapshot", "snapshot", TAKES_MEMORY },
	{ "move", "move", TAKES_ENDPOINT },
	{ "failover", "failover", TAKES_ENDPOINT },
	{ "pause", "pause", 0 },
	{ "unpause", "unpause", 0 },
};

static int parse_action(struct api_edit *e, unsigned takes, struct action *a)
{
	const struct {
		unsigned when;
		struct json_field field;
	} all[] = {
		{ TAKES_ENDPOINT, { "endpoint", JSON_KIND_STRING, true, &a->endpoint } },
		{ TAKES_SNAPSHOT, { "snapshot", JSON_KIND_STRING, true, &a->snapshot } },
		{ TAKES_MEMORY, { "memory", JSON_KIND_BOOL, true, &a->memory } },
		{ TAKES_STOP, { "force", JSON_KIND_BOOL, true, &a->force } },
		{ TAKES_STOP, { "timeout_ms", JSON_KIND_UINT, true, &a->timeout_ms } },
	};
	struct json_field fields[ARRAY_LEN(all)];
	size_t i, n = 0;

	for (i = 0; i < ARRAY_LEN(all); i++) {
		if (takes & all[i].when)
			fields[n++] = all[i].field;
	}
	return api_edit_body(e, fields, n);
}

static int begin_job(struct change *change, const char *desktop, const char *kind,
		     const struct action *a, const char *user, char *id, struct err *err)
{
	struct fleet_desktop *d = fleet_desktop(change->server->fleet, desktop);
	struct jobs_order order = { .kind = kind, .desktop = desktop, .user = user };

	if (!d)
		return err_say(err, ENOENT, "there is no desktop %.63s", desktop);
	if (a->endpoint && !fleet_endpoint(change->server->fleet, a->endpoint))
		return err_say(err, ENOENT, "there is no endpoint %.63s", a->endpoint);
	if (strcmp(kind, "failover") == 0)
		return failover_ordered(change, d, a->endpoint, user, id, err);
	order.arguments = json_pack("{sb sb sI ss* ss*}", "memory", a->memory, "force", a->force,
				    "timeout_ms", (json_int_t)a->timeout_ms, "endpoint",
				    a->endpoint, "snapshot", a->snapshot);
	if (strcmp(kind, "move") == 0 && !a->endpoint)
		json_object_set_new(order.arguments, "avoid", json_string(d->lease.holder));
	return jobs_create(change, &order, id, err);
}

void api_desktop_action(struct http_request *request)
{
	CLEANUP_API_EDIT struct api_edit e = { .request = request };
	struct action a = { .memory = true, .timeout_ms = 60000 };
	const char *name = http_param(request, "name"), *word = http_param(request, "action");
	const char *user = http_caller(request)->name;
	char id[CATALOGUE_ID_LEN] = "";
	size_t i;
	int r;

	for (i = 0; i < ARRAY_LEN(actions) && strcmp(actions[i].name, word) != 0; i++)
		;
	if (i == ARRAY_LEN(actions)) {
		http_fail(request, 404, "there is no %.200s", http_path(request));
		return;
	}
	r = parse_action(&e, actions[i].takes, &a);
	if (!api_edit_begin(&e, r))
		return;
	r = begin_job(&e.change, name, actions[i].kind, &a, user, id, &e.err);
	if (r == 0)
		r = api_edit_audit(&e, word, name, id);
	api_edit_end(&e, r, 202, r == 0 ? objects_job_named(e.change.db, id) : NULL);
}
