/* The table row by row, every combination against the promises, and a simulated world in which messages take their time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "common/base.h"
#include "migrate/lease.h"

enum { TTL = 1000, MARGIN = 300 };

/* ---- Row by row ----------------------------------------------------------------------------------------------- */

enum who {
	MINE,
	OTHER,
	OLD,
	NEWER
}; /* the holder; somebody else; the holder under an epoch that is over; somebody else under a later one */
enum when { BEFORE, MARGIN_RUNS, AFTER };

static struct lease lease_in(enum lease_state state, enum lease_policy policy)
{
	struct lease l = { .state = state,
			   .policy = policy,
			   .epoch = 7,
			   .until_ms = 5000,
			   .ttl_ms = TTL,
			   .margin_ms = MARGIN };

	if (state != LEASE_FREE)
		strcpy(l.holder, "a");
	return l;
}

static struct lease_input input_of(enum lease_event event, enum who who, enum when when)
{
	static const uint64_t at[] = { [BEFORE] = 4999, [MARGIN_RUNS] = 5299, [AFTER] = 5300 };

	return (struct lease_input){ .event = event,
				     .now_ms = at[when],
				     .holder = who == OTHER || who == NEWER ? "b" : "a",
				     .epoch = who == OLD     ? 6
					      : who == NEWER ? 9
							     : 7 };
}

#define S LEASE_STRICT
#define O LEASE_OFFLINE_OK
static const struct {
	enum lease_policy policy;
	enum lease_state state;
	enum lease_event event;
	enum who who;
	enum when when;
	enum lease_action action;
	enum lease_state next;
	uint64_t epoch, until;
} rows[] = {
	{ S, LEASE_FREE, LEASE_EVENT_GRANT, MINE, BEFORE, LEASE_ACTION_GRANTED, LEASE_HELD, 8,
	  5999 },
	{ S, LEASE_FREE, LEASE_EVENT_RENEW, MINE, BEFORE, LEASE_ACTION_STALE, LEASE_FREE, 7, 5000 },
	{ S, LEASE_FREE, LEASE_EVENT_RELEASE, MINE, BEFORE, LEASE_ACTION_STALE, LEASE_FREE, 7,
	  5000 },
	{ S, LEASE_FREE, LEASE_EVENT_TICK, MINE, AFTER, LEASE_ACTION_NONE, LEASE_FREE, 7, 5000 },
	{ S, LEASE_FREE, LEASE_EVENT_REVOKE, MINE, AFTER, LEASE_ACTION_NONE, LEASE_FREE, 7, 5000 },
	{ S, LEASE_HELD, LEASE_EVENT_GRANT, OTHER, AFTER, LEASE_ACTION_REFUSED, LEASE_HELD, 7,
	  5000 },
	{ S, LEASE_HELD, LEASE_EVENT_GRANT, MINE, BEFORE, LEASE_ACTION_REFUSED, LEASE_HELD, 7,
	  5000 },
	{ S, LEASE_HELD, LEASE_EVENT_RENEW, MINE, BEFORE, LEASE_ACTION_RENEWED, LEASE_HELD, 7,
	  5999 },
	{ S, LEASE_HELD, LEASE_EVENT_RENEW, OTHER, BEFORE, LEASE_ACTION_STALE, LEASE_HELD, 7,
	  5000 },
	{ S, LEASE_HELD, LEASE_EVENT_RENEW, OLD, BEFORE, LEASE_ACTION_STALE, LEASE_HELD, 7, 5000 },
	{ S, LEASE_HELD, LEASE_EVENT_RELEASE, MINE, BEFORE, LEASE_ACTION_FREED, LEASE_FREE, 7,
	  5000 },
	{ S, LEASE_HELD, LEASE_EVENT_RELEASE, OTHER, BEFORE, LEASE_ACTION_STALE, LEASE_HELD, 7,
	  5000 },
	{ S, LEASE_HELD, LEASE_EVENT_RELEASE, OLD, BEFORE, LEASE_ACTION_STALE, LEASE_HELD, 7,
	  5000 },
	{ S, LEASE_HELD, LEASE_EVENT_TICK, MINE, BEFORE, LEASE_ACTION_NONE, LEASE_HELD, 7, 5000 },
	{ S, LEASE_HELD, LEASE_EVENT_TICK, MINE, MARGIN_RUNS, LEASE_ACTION_SUSPECT, LEASE_EXPIRED,
	  7, 5000 },
	{ S, LEASE_HELD, LEASE_EVENT_TICK, MINE, AFTER, LEASE_ACTION_SUSPECT, LEASE_EXPIRED, 7,
	  5000 },
	{ S, LEASE_HELD, LEASE_EVENT_REVOKE, MINE, BEFORE, LEASE_ACTION_SUSPECT, LEASE_EXPIRED, 8,
	  5000 },
	{ O, LEASE_HELD, LEASE_EVENT_REVOKE, MINE, BEFORE, LEASE_ACTION_FREED, LEASE_FREE, 7,
	  5000 },
	{ S, LEASE_EXPIRED, LEASE_EVENT_GRANT, OTHER, AFTER, LEASE_ACTION_REFUSED, LEASE_EXPIRED, 7,
	  5000 },
	{ S, LEASE_EXPIRED, LEASE_EVENT_RENEW, MINE, AFTER, LEASE_ACTION_RENEWED, LEASE_HELD, 7,
	  6300 },
	{ S, LEASE_EXPIRED, LEASE_EVENT_RENEW, OLD, AFTER, LEASE_ACTION_STALE, LEASE_EXPIRED, 7,
	  5000 },
	{ S, LEASE_EXPIRED, LEASE_EVENT_RELEASE, MINE, AFTER, LEASE_ACTION_FREED, LEASE_FREE, 7,
	  5000 },
	{ S, LEASE_EXPIRED, LEASE_EVENT_RELEASE, OTHER, AFTER, LEASE_ACTION_STALE, LEASE_EXPIRED, 7,
	  5000 },
	{ S, LEASE_EXPIRED, LEASE_EVENT_TICK, MINE, MARGIN_RUNS, LEASE_ACTION_NONE, LEASE_EXPIRED,
	  7, 5000 },
	{ S, LEASE_EXPIRED, LEASE_EVENT_TICK, MINE, AFTER, LEASE_ACTION_FAIL_OVER, LEASE_LOST, 7,
	  5000 },
	{ O, LEASE_EXPIRED, LEASE_EVENT_TICK, MINE, AFTER, LEASE_ACTION_NONE, LEASE_EXPIRED, 7,
	  5000 },
	{ S, LEASE_EXPIRED, LEASE_EVENT_REVOKE, MINE, AFTER, LEASE_ACTION_SUSPECT, LEASE_EXPIRED, 8,
	  5000 },
	{ O, LEASE_EXPIRED, LEASE_EVENT_REVOKE, MINE, AFTER, LEASE_ACTION_FREED, LEASE_FREE, 7,
	  5000 },
	{ S, LEASE_LOST, LEASE_EVENT_GRANT, OTHER, AFTER, LEASE_ACTION_GRANTED, LEASE_HELD, 8,
	  6300 },
	{ S, LEASE_LOST, LEASE_EVENT_RENEW, MINE, AFTER, LEASE_ACTION_STALE, LEASE_LOST, 7, 5000 },
	{ S, LEASE_LOST, LEASE_EVENT_RELEASE, MINE, AFTER, LEASE_ACTION_STALE, LEASE_LOST, 7,
	  5000 },
	{ S, LEASE_LOST, LEASE_EVENT_TICK, MINE, AFTER, LEASE_ACTION_NONE, LEASE_LOST, 7, 5000 },
	{ S, LEASE_LOST, LEASE_EVENT_REVOKE, MINE, AFTER, LEASE_ACTION_FREED, LEASE_FREE, 7, 5000 },
	{ S, LEASE_FREE, LEASE_EVENT_CLAIM, NEWER, BEFORE, LEASE_ACTION_GRANTED, LEASE_HELD, 9,
	  5999 },
	{ S, LEASE_FREE, LEASE_EVENT_CLAIM, OTHER, AFTER, LEASE_ACTION_STALE, LEASE_FREE, 7, 5000 },
	{ S, LEASE_FREE, LEASE_EVENT_CLAIM, OLD, AFTER, LEASE_ACTION_STALE, LEASE_FREE, 7, 5000 },
	{ S, LEASE_HELD, LEASE_EVENT_CLAIM, NEWER, BEFORE, LEASE_ACTION_GRANTED, LEASE_HELD, 9,
	  5999 },
	{ S, LEASE_HELD, LEASE_EVENT_CLAIM, OTHER, AFTER, LEASE_ACTION_STALE, LEASE_HELD, 7, 5000 },
	{ S, LEASE_HELD, LEASE_EVENT_CLAIM, OLD, AFTER, LEASE_ACTION_STALE, LEASE_HELD, 7, 5000 },
	{ S, LEASE_EXPIRED, LEASE_EVENT_CLAIM, NEWER, BEFORE, LEASE_ACTION_GRANTED, LEASE_HELD, 9,
	  5999 },
	{ S, LEASE_EXPIRED, LEASE_EVENT_CLAIM, OTHER, AFTER, LEASE_ACTION_STALE, LEASE_EXPIRED, 7,
	  5000 },
	{ S, LEASE_EXPIRED, LEASE_EVENT_CLAIM, OLD, AFTER, LEASE_ACTION_STALE, LEASE_EXPIRED, 7,
	  5000 },
	{ S, LEASE_LOST, LEASE_EVENT_CLAIM, NEWER, BEFORE, LEASE_ACTION_GRANTED, LEASE_HELD, 9,
	  5999 },
	{ S, LEASE_LOST, LEASE_EVENT_CLAIM, OTHER, AFTER, LEASE_ACTION_STALE, LEASE_LOST, 7, 5000 },
	{ S, LEASE_LOST, LEASE_EVENT_CLAIM, OLD, AFTER, LEASE_ACTION_STALE, LEASE_LOST, 7, 5000 },
};
#undef S
#undef O

static void test_lease_rows(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct lease l = lease_in(rows[i].state, rows[i].policy);
		struct lease_input in = input_of(rows[i].event, rows[i].who, rows[i].when);
		enum lease_action got = lease_advance(&l, &in);

		if (got != rows[i].action || l.state != rows[i].next || l.epoch != rows[i].epoch ||
		    l.until_ms != rows[i].until || !lease_check(&l))
			fail_msg("row %zu: action %d, state %s, epoch %llu, until %llu", i,
				 (int)got, lease_state_name(l.state), (unsigned long long)l.epoch,
				 (unsigned long long)l.until_ms);
	}
}

/* ---- Every combination against the promises -------------------------------------------------------------------- */

static void keeps_promises(const struct lease *before, const struct lease_input *in,
			   enum lease_action action, const struct lease *after)
{
	bool mine = before->state != LEASE_FREE && in->epoch == before->epoch &&
		    strcmp(in->holder, before->holder) == 0;
	bool may_run = before->state == LEASE_HELD || before->state == LEASE_EXPIRED;

	assert_true(lease_check(after));
	assert_true(after->epoch >= before->epoch);
	if (after->epoch == before->epoch)
		assert_true(after->until_ms >= before->until_ms);
	if (action == LEASE_ACTION_GRANTED) {
		assert_false(may_run);
		assert_true(after->epoch > before->epoch);
		assert_string_equal(after->holder, in->holder);
	}
	if (action == LEASE_ACTION_RENEWED || action == LEASE_ACTION_FREED)
		assert_true(mine || in->event == LEASE_EVENT_REVOKE);
	if (in->event == LEASE_EVENT_RENEW)
		assert_int_equal(action == LEASE_ACTION_RENEWED, mine && may_run);
	/* Strict: until the margin is over, only its holder can end a lease early. */
	if (before->policy == LEASE_STRICT && may_run && in->now_ms < before->until_ms + MARGIN &&
	    in->event != LEASE_EVENT_RELEASE)
		assert_true(after->state == LEASE_HELD || after->state == LEASE_EXPIRED);
	if (action == LEASE_ACTION_FAIL_OVER)
		assert_true(before->policy == LEASE_STRICT &&
			    in->now_ms >= before->until_ms + MARGIN);
	/* What did not succeed changed nothing. */
	if (action == LEASE_ACTION_STALE || action == LEASE_ACTION_REFUSED ||
	    action == LEASE_ACTION_NONE)
		assert_memory_equal(before, after, sizeof(*before));
}

static void test_lease_every_combination(void **state)
{
	unsigned n = 0;

	(void)state;
	for (unsigned i = 0; i < 4 * 5 * 2 * 3 * 3; i++) {
		struct lease before = lease_in(i % 4, i / 20 % 2), after = before;
		struct lease_input in = input_of(i / 4 % 5, i / 40 % 3, i / 120);

		keeps_promises(&before, &in, lease_advance(&after, &in), &after);
		n++;
	}
	assert_int_equal(n, 360);
}

static void test_lease_edges(void **state)
{
	struct lease l = lease_in(LEASE_HELD, LEASE_STRICT);
	struct lease_input in = {
		.event = LEASE_EVENT_RENEW, .now_ms = UINT64_MAX - 5, .holder = "a", .epoch = 7
	};

	(void)state;
	/* The end of time is no wrap-around. */
	assert_int_equal(lease_advance(&l, &in), LEASE_ACTION_RENEWED);
	assert_true(l.until_ms == UINT64_MAX);
	/* A shorter time to live does not take back what was promised. */
	l = lease_in(LEASE_HELD, LEASE_STRICT);
	l.ttl_ms = 10;
	in.now_ms = 4000;
	assert_int_equal(lease_advance(&l, &in), LEASE_ACTION_RENEWED);
	assert_int_equal(l.until_ms, 5000);

	/* Broken leases are seen. */
	l.holder[0] = '\0';
	assert_false(lease_check(&l));
	l = lease_in(LEASE_FREE, LEASE_STRICT);
	strcpy(l.holder, "a");
	assert_false(lease_check(&l));
	l = lease_in(LEASE_HELD, LEASE_STRICT);
	l.epoch = 0;
	assert_false(lease_check(&l));
	l = lease_in(LEASE_HELD, LEASE_STRICT);
	memset(l.holder, 'x', sizeof(l.holder));
	assert_false(lease_check(&l));
}

static void test_lease_names(void **state)
{
	enum lease_policy policy;
	enum lease_state s;

	(void)state;
	for (unsigned i = 0; i <= LEASE_LOST; i++) {
		assert_int_equal(lease_state_parse(lease_state_name(i), &s), 0);
		assert_int_equal(s, i);
	}
	for (unsigned i = 0; i <= LEASE_OFFLINE_OK; i++) {
		assert_int_equal(lease_policy_parse(lease_policy_name(i), &policy), 0);
		assert_int_equal(policy, i);
	}
	assert_true(lease_state_parse("", &s) < 0);
	assert_true(lease_policy_parse("Strict", &policy) < 0);
}

/* ---- A world with delays --------------------------------------------------------------------------------------- */

/* Two endpoints, a server and messages that are late, lost, doubled and out of order. Endpoints have slow or fast clocks
 * and need a moment to pause a desktop. Rules that are known to be wrong can be switched on: then the walk must find
 * two runners, or it proves nothing. */
enum rules { RIGHT, COUNTS_FROM_RECEIPT, RUNS_ON_GRANT, NO_MARGIN };
enum {
	STEP = 5,
	BEAT = 250,
	STOP_TAKES = 120,
	DRIFT_PER_MILLE = 40,
	MESSAGES = 64,
	WALK_MS = 30000
};
enum kind { NOTHING, GRANT, RENEW, RENEWED, STALE, RELEASE };

struct message {
	enum kind kind;
	unsigned endpoint;
	uint64_t epoch, sent_ms; /* sent_ms: by the endpoint's clock, echoed */
	uint64_t arrives_ms;
};

struct endpoint {
	uint64_t epoch; /* newest that it heard of; 0: none */
	bool has, running;
	uint64_t granted_ms, end_ms, beat_ms; /* its clock */
	uint64_t clock, drift;                /* drift: per mille of real time */
};

struct world {
	enum rules rules;
	uint64_t seed, now;
	struct lease lease;
	struct endpoint endpoints[2];
	struct message messages[MESSAGES];
	uint64_t cut_until[2]
			  [2]; /* a link's directions fail one by one: [endpoint][to the server] */
	unsigned grants, failovers, renewals, stale, max_runners;
};

static uint64_t dice(struct world *w, uint64_t n)
{
	w->seed ^= w->seed << 13;
	w->seed ^= w->seed >> 7;
	w->seed ^= w->seed << 17;
	return w->seed % n;
}

static void send_message(struct world *w, struct message m)
{
	uint64_t delay = dice(w, 10) ? dice(w, 40) : dice(w, 4 * TTL);

	uint64_t *cut = &w->cut_until[m.endpoint][m.kind == RENEW || m.kind == RELEASE];

	if (dice(w, 150) == 0)
		*cut = w->now + dice(w, 6 * TTL);
	if (dice(w, 12) == 0 || w->now < *cut)
		return;
	for (unsigned copies = dice(w, 20) ? 1 : 2, i = 0; copies && i < MESSAGES; i++) {
		if (w->messages[i].kind != NOTHING)
			continue;
		w->messages[i] = m;
		w->messages[i].arrives_ms = w->now + delay * copies;
		copies--;
	}
}

static enum lease_action tell(struct world *w, enum lease_event event, unsigned endpoint,
			      uint64_t epoch)
{
	static const char *const names[] = { "a", "b" };
	struct lease before = w->lease;
	struct lease_input in = {
		.event = event, .now_ms = w->now, .holder = names[endpoint], .epoch = epoch
	};
	enum lease_action action = lease_advance(&w->lease, &in);

	if (w->rules != NO_MARGIN)
		keeps_promises(&before, &in, action, &w->lease);
	if (action == LEASE_ACTION_GRANTED) {
		w->grants++;
		send_message(w, (struct message){ GRANT, endpoint, w->lease.epoch, 0, 0 });
	}
	w->failovers += action == LEASE_ACTION_FAIL_OVER;
	w->renewals += action == LEASE_ACTION_RENEWED;
	return action;
}

static void server_gets(struct world *w, const struct message *m)
{
	enum lease_event event = m->kind == RENEW ? LEASE_EVENT_RENEW : LEASE_EVENT_RELEASE;
	enum lease_action action = tell(w, event, m->endpoint, m->epoch);

	if (action == LEASE_ACTION_RENEWED)
		send_message(w, (struct message){ RENEWED, m->endpoint, m->epoch, m->sent_ms, 0 });
	if (action == LEASE_ACTION_STALE) {
		w->stale++;
		send_message(w, (struct message){ STALE, m->endpoint, m->epoch, 0, 0 });
	}
}

static void endpoint_gets(struct world *w, const struct message *m)
{
	struct endpoint *e = &w->endpoints[m->endpoint];

	if (m->kind == GRANT && m->epoch > e->epoch) {
		*e = (struct endpoint){ .epoch = m->epoch,
					.has = true,
					.granted_ms = e->clock,
					.clock = e->clock,
					.drift = e->drift };
		if (w->rules == RUNS_ON_GRANT) {
			e->running = true;
			e->end_ms = e->clock + TTL;
		}
	} else if (m->epoch != e->epoch || !e->has) {
		return;
	} else if (m->kind == STALE) {
		e->has = e->running = false;
	} else if (m->kind == RENEWED && m->sent_ms >= e->granted_ms) {
		uint64_t from = w->rules == COUNTS_FROM_RECEIPT ? e->clock : m->sent_ms;

		if (from + TTL > e->end_ms)
			e->end_ms = from + TTL;
		if (e->clock < e->end_ms)
			e->running = true;
	}
}

static void endpoint_lives(struct world *w, unsigned i)
{
	struct endpoint *e = &w->endpoints[i];

	/* STOP_TAKES: it notices the end late, and pausing takes a moment. */
	if (e->running && e->clock >= e->end_ms + STOP_TAKES)
		e->running = false;
	if (e->has && e->clock >= e->beat_ms) {
		e->beat_ms = e->clock + BEAT;
		send_message(w, (struct message){ RENEW, i, e->epoch, e->clock, 0 });
	}
	if (e->has && dice(w, 3000) == 0) { /* a person stops the desktop */
		e->has = e->running = false;
		send_message(w, (struct message){ RELEASE, i, e->epoch, 0, 0 });
	}
	if (dice(w, 4000) == 0) /* power cut */
		*e = (struct endpoint){ .epoch = e->epoch, .clock = e->clock, .drift = e->drift };
}

static void step(struct world *w)
{
	unsigned runners = 0;

	w->now += STEP;
	for (unsigned i = 0; i < 2; i++) {
		w->endpoints[i].clock = 1000 + w->now * w->endpoints[i].drift / 1000;
		endpoint_lives(w, i);
	}
	for (unsigned i = 0; i < MESSAGES; i++) {
		struct message m = w->messages[i];

		if (m.kind == NOTHING || m.arrives_ms > w->now)
			continue;
		w->messages[i].kind = NOTHING;
		if (m.kind == RENEW || m.kind == RELEASE)
			server_gets(w, &m);
		else
			endpoint_gets(w, &m);
	}
	if (dice(w, 10) == 0 && tell(w, LEASE_EVENT_TICK, 0, 0) == LEASE_ACTION_FAIL_OVER)
		tell(w, LEASE_EVENT_GRANT, (unsigned)dice(w, 2), 0);
	if (dice(w, 3000) == 0)
		tell(w, LEASE_EVENT_REVOKE, 0, 0);
	if (dice(w, 50) == 0) /* refused as long as somebody may run it */
		tell(w, LEASE_EVENT_GRANT, (unsigned)dice(w, 2), 0);

	for (unsigned i = 0; i < 2; i++)
		runners += w->endpoints[i].running;
	if (runners > w->max_runners)
		w->max_runners = runners;
}

static void walk(struct world *w, enum rules rules, uint64_t seed)
{
	*w = (struct world){ .rules = rules, .seed = seed * 0x9E3779B97F4A7C15ull + 1 };
	w->lease = (struct lease){ .policy = LEASE_STRICT,
				   .ttl_ms = TTL,
				   .margin_ms = rules == NO_MARGIN ? 0 : MARGIN };
	for (unsigned i = 0; i < 2; i++)
		w->endpoints[i].drift = 1000 - DRIFT_PER_MILLE + dice(w, 2 * DRIFT_PER_MILLE + 1);
	while (w->now < WALK_MS)
		step(w);
}

static void test_lease_never_two_runners(void **state)
{
	unsigned grants = 0, failovers = 0, renewals = 0, stale = 0;
	struct world w;

	(void)state;
	for (uint64_t seed = 1; seed <= 3000; seed++) {
		walk(&w, RIGHT, seed);
		if (w.max_runners > 1)
			fail_msg("two runners with seed %llu", (unsigned long long)seed);
		grants += w.grants;
		failovers += w.failovers;
		renewals += w.renewals;
		stale += w.stale;
	}
	/* It was no world in which nothing happens. */
	assert_true(grants > 3000 && failovers > 3000 && renewals > 30000 && stale > 3000);
}

static void test_lease_walk_finds_wrong_rules(void **state)
{
	struct world w;

	(void)state;
	for (enum rules rules = COUNTS_FROM_RECEIPT; rules <= NO_MARGIN; rules++) {
		uint64_t seed = 1;

		do
			walk(&w, rules, seed++);
		while (w.max_runners < 2 && seed <= 3000);
		if (w.max_runners < 2)
			fail_msg("rule %d is wrong, and the walk did not notice", (int)rules);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lease_rows),
		cmocka_unit_test(test_lease_every_combination),
		cmocka_unit_test(test_lease_edges),
		cmocka_unit_test(test_lease_names),
		cmocka_unit_test(test_lease_never_two_runners),
		cmocka_unit_test(test_lease_walk_finds_wrong_rules),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
