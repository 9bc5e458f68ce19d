/* leases.c - see leases.h. */
#include "mgmt-server/core/leases.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "mgmt-server/core/doubt.h"
#include "mgmt-server/core/failover.h"
#include "mgmt-server/core/jobs.h"
#include "mgmt-server/core/work.h"

enum {
	STALL_MS = 2000,
	SLOW_TICK_MS = 1000,
	FORGOTTEN_EPOCHS = 1000, /* more than were given out since any copy */
};

static int save(struct change *change, const struct fleet_desktop *d, struct err *err)
{
	struct catalogue_lease row = { .epoch = d->lease.epoch,
				       .floor = d->epoch_floor,
				       .ttl_ms = d->promised_ms };
	/* Expired is not kept: after a restart it is held again, for a full ttl. */
	enum lease_state state = d->lease.state == LEASE_EXPIRED ? LEASE_HELD : d->lease.state;

	snprintf(row.desktop, sizeof(row.desktop), "%s", d->name);
	snprintf(row.policy, sizeof(row.policy), "%s", lease_policy_name(d->lease.policy));
	snprintf(row.state, sizeof(row.state), "%s", lease_state_name(state));
	snprintf(row.holder, sizeof(row.holder), "%s", d->lease.holder);
	change_touch(change, CHANGE_DESKTOP, d->name);
	return catalogue_lease_put(change->db, &row, err);
}

int leases_new(struct change *change, const char *desktop, enum lease_policy policy,
	       struct err *err)
{
	struct fleet_desktop *d = fleet_desktop_add(change->server->fleet, desktop, policy);

	return d ? save(change, d, err) : err_set(err, ENOMEM, "desktop %s", desktop);
}

int leases_grant(struct change *change, struct fleet_desktop *d, const char *endpoint,
		 struct err *err)
{
	struct lease_input input = { .event = LEASE_EVENT_GRANT,
				     .now_ms = clock_now_ms(),
				     .holder = endpoint };
	int r = change_keep(change, d, err);
	struct lease granted;

	if (r < 0)
		return r;
	if (doubt_left(change->server, input.now_ms) > 0)
		return err_say(
			err, EBUSY,
			"the catalogue came back from an older copy: for another %llu s "
			"endpoints may say which desktops they run",
			(unsigned long long)(doubt_left(change->server, input.now_ms) + 999) /
				1000);
	granted =
		d->lease; /* a refused grant must leave the holder his epoch: a job that failed is committed, too */
	if (granted.epoch < d->epoch_floor)
		granted.epoch = d->epoch_floor;
	if (lease_advance(&granted, &input) != LEASE_ACTION_GRANTED)
		return err_say(err, EBUSY, "desktop %s may still run on %s (lease %s)", d->name,
			       d->lease.holder, lease_state_name(d->lease.state));
	if (d->lease.holder[0]) /* who lost it: its list gets shorter */
		change_touch(change, CHANGE_ENDPOINT, d->lease.holder);
	d->lease = granted;
	d->promised_ms = d->lease.ttl_ms;
	d->told = false;
	d->starting = true;
	r = save(change, d, err);
	if (r == 0)
		r = catalogue_grant_add(change->db, d->name, d->lease.epoch, endpoint,
					clock_wall_ms(), err);
	change_touch(change, CHANGE_ENDPOINT, endpoint);
	return r;
}

int leases_claim(struct change *change, struct fleet_desktop *d, const char *endpoint,
		 uint64_t epoch, struct err *err)
{
	struct lease_input input = { .event = LEASE_EVENT_CLAIM,
				     .now_ms = clock_now_ms(),
				     .holder = endpoint,
				     .epoch = epoch };
	uint64_t told_from_ms = doubt_displaces(change->server, d, endpoint, input.now_ms);
	int r = change_keep(change, d, err);

	if (r == 0 && told_from_ms)
		r = doubt_mark(change->server, "an endpoint proved what was forgotten", err);
	if (r < 0)
		return r;
	if (lease_advance(&d->lease, &input) != LEASE_ACTION_GRANTED)
		return LEASES_STALE;
	d->starting = false;
	if (told_from_ms > d->told_from_ms)
		d->told_from_ms = told_from_ms;
	d->told = false;
	r = save(change, d, err);
	if (r == 0)
		r = catalogue_grant_add(change->db, d->name, epoch, endpoint, clock_wall_ms(), err);
	change_touch(change, CHANGE_ENDPOINT, endpoint);
	return r == -EEXIST ? 0 : r;
}

/* Whoever comes back twice from one copy gave out epochs in between that it does not know: the clock does. */
static uint64_t new_floor(const struct fleet_desktop *d)
{
	uint64_t known = d->lease.epoch > d->epoch_floor ? d->lease.epoch : d->epoch_floor;
	uint64_t floor = known + FORGOTTEN_EPOCHS, seconds = clock_wall_ms() / 1000;

	return floor > seconds ? floor : seconds;
}

int leases_forgotten(struct server *s, struct err *err)
{
	CLEANUP_CHANGE struct change change = { .held = false };
	uint64_t longest = s->config.lease_ttl_ms, now = clock_now_ms();
	size_t i;
	int r = change_begin(&change, s, err);

	for (i = 0; i < fleet_desktop_count(s->fleet); i++) {
		if (fleet_desktop_at(s->fleet, i)->promised_ms > longest)
			longest = fleet_desktop_at(s->fleet, i)->promised_ms;
	}

	for (i = 0; r == 0 && i < fleet_desktop_count(s->fleet); i++) {
		struct fleet_desktop *d = fleet_desktop_at(s->fleet, i);

		r = change_keep(&change, d, err);
		d->epoch_floor = new_floor(d);
		/* Not lost before the doubt is over: a failover would find nobody who may be given it. */
		d->lease.until_ms = now + longest;
		if (r == 0)
			r = save(&change, d, err);
	}
	doubt_begin(s, longest);
	return r < 0 ? r : change_commit(&change, err);
}

int leases_release(struct change *change, struct fleet_desktop *d, const char *endpoint,
		   uint64_t epoch, struct err *err)
{
	struct lease_input input = { .event = LEASE_EVENT_RELEASE,
				     .now_ms = clock_now_ms(),
				     .holder = endpoint,
				     .epoch = epoch };
	int r = change_keep(change, d, err);

	if (r < 0)
		return r;
	if (lease_advance(&d->lease, &input) != LEASE_ACTION_FREED)
		return 0;
	d->starting = false;
	change_touch(change, CHANGE_ENDPOINT, endpoint);
	return save(change, d, err);
}

int leases_revoke(struct change *change, struct fleet_desktop *d, struct err *err)
{
	struct lease_input input = { .event = LEASE_EVENT_REVOKE, .now_ms = clock_now_ms() };
	int r = change_keep(change, d, err);

	if (r < 0)
		return r;
	if (d->lease.holder[0])
		change_touch(change, CHANGE_ENDPOINT, d->lease.holder);
	lease_advance(&d->lease, &input);
	d->starting = false;
	return save(change, d, err);
}

/* ---- Time ---- */

/* Nobody listened for a while: that the endpoints were silent means nothing. */
static void forgive(struct server *s, uint64_t now)
{
	struct lease *l;
	size_t i;

	for (i = 0; i < fleet_desktop_count(s->fleet); i++) {
		l = &fleet_desktop_at(s->fleet, i)->lease;
		if (l->state != LEASE_HELD && l->state != LEASE_EXPIRED)
			continue;
		if (l->until_ms < now + l->ttl_ms) /* a longer promise stays one */
			l->until_ms = now + l->ttl_ms;
	}
}

static void lost(struct server *s, struct fleet_desktop *d, uint64_t now)
{
	struct lease_input input = { .event = LEASE_EVENT_TICK, .now_ms = now };
	CLEANUP_CHANGE struct change change = { .held = false };
	struct err err = { 0 };
	int r;

	r = change_begin(&change, s, &err);
	if (r == 0)
		r = change_keep(&change, d, &err);
	if (r == 0 && lease_advance(&d->lease, &input) != LEASE_ACTION_FAIL_OVER)
		return;
	if (r == 0) {
		d->starting = false;
		r = save(&change, d, &err);
	}
	if (r == 0)
		r = failover_lost(&change, d, &err);
	if (r == 0)
		r = change_commit(&change, &err);
	if (r < 0) /* tried again at the next tick */
		log_error("fail over desktop=%s: %s", d->name, err_text(&err));
}

static void tick_lease(struct server *s, struct fleet_desktop *d, uint64_t now)
{
	struct lease_input input = { .event = LEASE_EVENT_TICK, .now_ms = now };
	struct lease trial = d->lease;

	switch (lease_advance(&trial, &input)) {
	case LEASE_ACTION_SUSPECT:
		d->lease = trial;
		log_warning("lease expired desktop=%s endpoint=%s epoch=%llu", d->name,
			    d->lease.holder, (unsigned long long)d->lease.epoch);
		work_publish_desktop(s, d->name);
		break;
	case LEASE_ACTION_FAIL_OVER:
		lost(s, d, now);
		break;
	default:
		break;
	}
}

static void tick_endpoint(struct server *s, struct fleet_endpoint *e, uint64_t now)
{
	if (e->online && now - e->seen_ms > s->config.lease_ttl_ms) {
		e->online = false;
		log_warning("endpoint is silent endpoint=%s silent_ms=%llu", e->name,
			    (unsigned long long)(now - e->seen_ms));
		work_publish_endpoint(s, e->name);
	}
	if (e->poll && now >= e->poll_end_ms)
		work_poll_end(e);
}

void leases_tick(struct server *s)
{
	CLEANUP(fleet_unlock) struct fleet *held = fleet_hold(s->fleet);
	uint64_t now = clock_now_ms();
	size_t i;

	if (s->tick_ms && now - s->tick_ms > STALL_MS) {
		log_warning(
			"this server did not run for a while, leases begin anew stalled_ms=%llu",
			(unsigned long long)(now - s->tick_ms));
		forgive(s, now);
	}
	s->tick_ms = now;
	doubt_tick(s, now);
	for (i = 0; i < fleet_desktop_count(held); i++)
		tick_lease(s, fleet_desktop_at(held, i), now);
	for (i = 0; i < fleet_endpoint_count(held); i++)
		tick_endpoint(s, fleet_endpoint_at(held, i), now);
	if (now - s->slow_tick_ms >= SLOW_TICK_MS) {
		s->slow_tick_ms = now;
		jobs_tick(s);
		work_tick(s);
	}
}
