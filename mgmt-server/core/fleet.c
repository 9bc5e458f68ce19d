/* fleet.c - see fleet.h. Two arrays of pointers, sorted by name. */
#include "mgmt-server/core/fleet.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "mgmt-server/core/server.h"

struct names { /* entries begin with their name */
	char **at;
	size_t count, cap;
};

struct fleet {
	struct server *server;
	pthread_mutex_t lock;
	struct names desktops, endpoints;
};

/* Where @name is, or would have to be. */
static bool names_find(const struct names *n, const char *name, size_t *where)
{
	size_t low = 0, high = n->count, middle;
	int order;

	while (low < high) {
		middle = (low + high) / 2;
		order = strcmp(n->at[middle], name);
		if (order == 0) {
			*where = middle;
			return true;
		}
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	*where = low;
	return false;
}

static char *names_get(const struct names *n, const char *name)
{
	size_t i;

	return names_find(n, name, &i) ? n->at[i] : NULL;
}

static char *names_add(struct names *n, const char *name, size_t size)
{
	size_t i, cap;
	char *entry, **at;

	if (names_find(n, name, &i))
		return n->at[i];
	if (n->count == n->cap) {
		cap = n->cap ? 2 * n->cap : 16;
		at = realloc(n->at, cap * sizeof(*at));
		if (!at)
			return NULL;
		n->at = at;
		n->cap = cap;
	}
	entry = calloc(1, size);
	if (!entry)
		return NULL;
	snprintf(entry, CATALOGUE_NAME_LEN, "%s", name);
	memmove(n->at + i + 1, n->at + i, (n->count - i) * sizeof(*n->at));
	n->at[i] = entry;
	n->count++;
	return entry;
}

static void names_free(struct names *n)
{
	size_t i;

	for (i = 0; i < n->count; i++)
		free(n->at[i]);
	free(n->at);
}

int fleet_new(struct fleet **out, struct server *server, struct err *err)
{
	struct fleet *f = calloc(1, sizeof(*f));
	pthread_mutexattr_t attr;

	if (!f)
		return err_set(err, ENOMEM, "fleet");
	f->server = server;
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&f->lock, &attr);
	pthread_mutexattr_destroy(&attr);
	*out = f;
	return 0;
}

void fleet_free(struct fleet *f)
{
	size_t i;

	for (i = 0; i < f->endpoints.count; i++)
		free(fleet_endpoint_at(f, i)->reports);
	names_free(&f->desktops);
	names_free(&f->endpoints);
	pthread_mutex_destroy(&f->lock);
	free(f);
}

static int load_lease(void *arg, const struct catalogue_lease *row, struct err *err)
{
	struct fleet *f = arg;
	struct fleet_desktop *d;
	enum lease_policy policy;

	if (lease_policy_parse(row->policy, &policy) < 0)
		return err_say(err, EBADMSG, "desktop %s: unknown lease policy '%s'", row->desktop,
			       row->policy);
	d = fleet_desktop_add(f, row->desktop, policy);
	if (!d)
		return err_set(err, ENOMEM, "desktop %s", row->desktop);
	if (lease_state_parse(row->state, &d->lease.state) < 0)
		return err_say(err, EBADMSG, "desktop %s: unknown lease state '%s'", row->desktop,
			       row->state);
	d->lease.epoch = row->epoch;
	d->epoch_floor = row->floor;
	snprintf(d->lease.holder, sizeof(d->lease.holder), "%s", row->holder);
	/* An endpoint may go by what an earlier server with a longer ttl promised. */
	d->promised_ms = row->ttl_ms > d->lease.ttl_ms ? row->ttl_ms : d->lease.ttl_ms;
	d->lease.until_ms = clock_now_ms() + d->promised_ms;
	if (!lease_check(&d->lease))
		return err_say(err, EBADMSG, "desktop %s: its lease contradicts itself",
			       row->desktop);
	return 0;
}

static int load_endpoint(void *arg, const struct catalogue_endpoint *row, struct err *err)
{
	struct fleet_endpoint *e = fleet_endpoint_add(arg, row->name);
	CLEANUP(json_decref) json_t *facts = NULL;

	if (!e)
		return err_set(err, ENOMEM, "endpoint %s", row->name);
	if (json_parse(&facts, row->facts, strlen(row->facts), "endpoint", err) < 0)
		return err_wrap(err, -EBADMSG, "endpoint %s", row->name);
	e->saved_wall_ms = row->last_seen_ms;
	snprintf(e->version, sizeof(e->version), "%s",
		 json_string_value(json_object_get(facts, "version")) ?: "");
	snprintf(e->accelerator, sizeof(e->accelerator), "%s",
		 json_string_value(json_object_get(facts, "accelerator")) ?: "");
	e->cpus = (uint64_t)json_integer_value(json_object_get(facts, "cpus"));
	e->memory_mib = (uint64_t)json_integer_value(json_object_get(facts, "memory_mib"));
	e->disk_free_bytes =
		(uint64_t)json_integer_value(json_object_get(facts, "disk_free_bytes"));
	e->live_capture = json_is_true(json_object_get(facts, "live_capture"));
	return 0;
}

static int load_domain(void *arg, const struct catalogue_desktop *row, struct err *err)
{
	struct fleet_desktop *d = fleet_desktop(arg, row->name);

	if (!d)
		return err_say(err, EBADMSG, "desktop %s has no lease", row->name);
	if (!manifest_desktop_valid(row->domain))
		return err_say(err, EBADMSG, "desktop %s: '%s' is no name of a domain", row->name,
			       row->domain);
	fleet_desktop_place(d, row->domain);
	d->quarantined = row->quarantined_ms != 0;
	return 0;
}

/* Before the first renewal of this server: the next one must know what was promised. */
static int note_promise(struct fleet *f, struct err *err)
{
	CLEANUP(db_abort) struct db_conn *c = NULL;
	int r = db_begin(f->server->db, &c, err);

	if (r == 0)
		r = catalogue_lease_promise(c, f->server->config.lease_ttl_ms, err);
	return r < 0 ? r : db_commit(TAKE(c), err);
}

int fleet_load(struct fleet *f, struct err *err)
{
	CLEANUP(db_read_end) struct db_conn *c = NULL;
	int r = note_promise(f, err);

	if (r < 0)
		return r;
	c = db_read(f->server->db);
	r = catalogue_lease_each(c, load_lease, f, err);
	if (r == 0)
		r = catalogue_desktop_each(c, "", load_domain, f, err);
	return r < 0 ? r : catalogue_endpoint_each(c, "", load_endpoint, f, err);
}

void fleet_lock(struct fleet *f)
{
	pthread_mutex_lock(&f->lock);
}

void fleet_unlock(struct fleet *f)
{
	pthread_mutex_unlock(&f->lock);
}

struct fleet *fleet_hold(struct fleet *f)
{
	fleet_lock(f);
	return f;
}

struct fleet_desktop *fleet_desktop(struct fleet *f, const char *name)
{
	return (struct fleet_desktop *)names_get(&f->desktops, name);
}

struct fleet_endpoint *fleet_endpoint(struct fleet *f, const char *name)
{
	return (struct fleet_endpoint *)names_get(&f->endpoints, name);
}

size_t fleet_desktop_count(const struct fleet *f)
{
	return f->desktops.count;
}

struct fleet_desktop *fleet_desktop_at(struct fleet *f, size_t i)
{
	return (struct fleet_desktop *)f->desktops.at[i];
}

size_t fleet_endpoint_count(const struct fleet *f)
{
	return f->endpoints.count;
}

struct fleet_endpoint *fleet_endpoint_at(struct fleet *f, size_t i)
{
	return (struct fleet_endpoint *)f->endpoints.at[i];
}

struct fleet_desktop *fleet_desktop_add(struct fleet *f, const char *name, enum lease_policy policy)
{
	struct fleet_desktop *d = fleet_desktop(f, name);

	if (d)
		return d;
	d = (struct fleet_desktop *)names_add(&f->desktops, name, sizeof(*d));
	if (d) {
		d->lease.policy = policy;
		d->lease.ttl_ms = f->server->config.lease_ttl_ms;
		d->lease.margin_ms = f->server->config.lease_margin_ms;
	}
	return d;
}

void fleet_desktop_place(struct fleet_desktop *d, const char *domain)
{
	snprintf(d->domain, sizeof(d->domain), "%s", domain);
}

struct fleet_endpoint *fleet_endpoint_add(struct fleet *f, const char *name)
{
	return (struct fleet_endpoint *)names_add(&f->endpoints, name,
						  sizeof(struct fleet_endpoint));
}

const struct fleet_report *fleet_report(const struct fleet_endpoint *endpoint, const char *desktop)
{
	size_t i;

	for (i = 0; i < endpoint->report_count; i++) {
		if (strcmp(endpoint->reports[i].desktop, desktop) == 0)
			return &endpoint->reports[i];
	}
	return NULL;
}
