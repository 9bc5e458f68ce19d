/* lease.c - the transition table and the few things a transition does to a lease.
 *
 * Rows are tried from the top; the first whose state, event and guard fit is taken. Why some look as they do:
 *  - An expired lease may be renewed as long as nobody else was given the right: the endpoint paused, and goes on.
 *  - LOST is the point of no return: the failover job may be choosing its target already.
 *  - A strict desktop can be revoked, but nobody else is granted it before its holder has certainly stopped: the epoch
 *    moves at once, so that no renewal succeeds any more, and the lease runs out as usual.
 */
#include "migrate/lease.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "common/base.h"

enum guard {
	ALWAYS,
	MINE,        /* the caller's name and epoch are the lease's */
	PAST_END,    /* now is at or behind until_ms */
	PAST_MARGIN, /* strict, and now is at or behind until_ms + margin_ms */
	STRICT,
	NEWER, /* the caller's epoch is beyond the lease's */
};

enum effect {
	KEEP = 0,
	BEGIN = 1 << 0,   /* next epoch, new holder */
	EXTEND = 1 << 1,  /* the lease ends ttl_ms from now, never earlier than promised before */
	CLEAR = 1 << 2,   /* no holder */
	OUTDATE = 1 << 3, /* next epoch, so that the holder's is over */
	BELIEVE = 1 << 4, /* the caller's epoch and name */
};

static const struct {
	enum lease_state state;
	enum lease_event event;
	enum guard guard;
	enum lease_state next;
	enum lease_action action;
	unsigned effects;
} transitions[] = {
	{ LEASE_FREE, LEASE_EVENT_GRANT, ALWAYS, LEASE_HELD, LEASE_ACTION_GRANTED, BEGIN | EXTEND },
	{ LEASE_FREE, LEASE_EVENT_RENEW, ALWAYS, LEASE_FREE, LEASE_ACTION_STALE, KEEP },
	{ LEASE_FREE, LEASE_EVENT_RELEASE, ALWAYS, LEASE_FREE, LEASE_ACTION_STALE, KEEP },
	{ LEASE_FREE, LEASE_EVENT_TICK, ALWAYS, LEASE_FREE, LEASE_ACTION_NONE, KEEP },
	{ LEASE_FREE, LEASE_EVENT_REVOKE, ALWAYS, LEASE_FREE, LEASE_ACTION_NONE, KEEP },
	{ LEASE_FREE, LEASE_EVENT_CLAIM, NEWER, LEASE_HELD, LEASE_ACTION_GRANTED,
	  BELIEVE | EXTEND },
	{ LEASE_FREE, LEASE_EVENT_CLAIM, ALWAYS, LEASE_FREE, LEASE_ACTION_STALE, KEEP },

	{ LEASE_HELD, LEASE_EVENT_GRANT, ALWAYS, LEASE_HELD, LEASE_ACTION_REFUSED, KEEP },
	{ LEASE_HELD, LEASE_EVENT_RENEW, MINE, LEASE_HELD, LEASE_ACTION_RENEWED, EXTEND },
	{ LEASE_HELD, LEASE_EVENT_RENEW, ALWAYS, LEASE_HELD, LEASE_ACTION_STALE, KEEP },
	{ LEASE_HELD, LEASE_EVENT_RELEASE, MINE, LEASE_FREE, LEASE_ACTION_FREED, CLEAR },
	{ LEASE_HELD, LEASE_EVENT_RELEASE, ALWAYS, LEASE_HELD, LEASE_ACTION_STALE, KEEP },
	{ LEASE_HELD, LEASE_EVENT_TICK, PAST_END, LEASE_EXPIRED, LEASE_ACTION_SUSPECT, KEEP },
	{ LEASE_HELD, LEASE_EVENT_TICK, ALWAYS, LEASE_HELD, LEASE_ACTION_NONE, KEEP },
	{ LEASE_HELD, LEASE_EVENT_REVOKE, STRICT, LEASE_EXPIRED, LEASE_ACTION_SUSPECT, OUTDATE },
	{ LEASE_HELD, LEASE_EVENT_REVOKE, ALWAYS, LEASE_FREE, LEASE_ACTION_FREED, CLEAR },
	{ LEASE_HELD, LEASE_EVENT_CLAIM, NEWER, LEASE_HELD, LEASE_ACTION_GRANTED,
	  BELIEVE | EXTEND },
	{ LEASE_HELD, LEASE_EVENT_CLAIM, ALWAYS, LEASE_HELD, LEASE_ACTION_STALE, KEEP },

	{ LEASE_EXPIRED, LEASE_EVENT_GRANT, ALWAYS, LEASE_EXPIRED, LEASE_ACTION_REFUSED, KEEP },
	{ LEASE_EXPIRED, LEASE_EVENT_RENEW, MINE, LEASE_HELD, LEASE_ACTION_RENEWED, EXTEND },
	{ LEASE_EXPIRED, LEASE_EVENT_RENEW, ALWAYS, LEASE_EXPIRED, LEASE_ACTION_STALE, KEEP },
	{ LEASE_EXPIRED, LEASE_EVENT_RELEASE, MINE, LEASE_FREE, LEASE_ACTION_FREED, CLEAR },
	{ LEASE_EXPIRED, LEASE_EVENT_RELEASE, ALWAYS, LEASE_EXPIRED, LEASE_ACTION_STALE, KEEP },
	{ LEASE_EXPIRED, LEASE_EVENT_TICK, PAST_MARGIN, LEASE_LOST, LEASE_ACTION_FAIL_OVER, KEEP },
	{ LEASE_EXPIRED, LEASE_EVENT_TICK, ALWAYS, LEASE_EXPIRED, LEASE_ACTION_NONE, KEEP },
	{ LEASE_EXPIRED, LEASE_EVENT_REVOKE, STRICT, LEASE_EXPIRED, LEASE_ACTION_SUSPECT, OUTDATE },
	{ LEASE_EXPIRED, LEASE_EVENT_REVOKE, ALWAYS, LEASE_FREE, LEASE_ACTION_FREED, CLEAR },
	{ LEASE_EXPIRED, LEASE_EVENT_CLAIM, NEWER, LEASE_HELD, LEASE_ACTION_GRANTED,
	  BELIEVE | EXTEND },
	{ LEASE_EXPIRED, LEASE_EVENT_CLAIM, ALWAYS, LEASE_EXPIRED, LEASE_ACTION_STALE, KEEP },

	{ LEASE_LOST, LEASE_EVENT_GRANT, ALWAYS, LEASE_HELD, LEASE_ACTION_GRANTED, BEGIN | EXTEND },
	{ LEASE_LOST, LEASE_EVENT_RENEW, ALWAYS, LEASE_LOST, LEASE_ACTION_STALE, KEEP },
	{ LEASE_LOST, LEASE_EVENT_RELEASE, ALWAYS, LEASE_LOST, LEASE_ACTION_STALE, KEEP },
	{ LEASE_LOST, LEASE_EVENT_TICK, ALWAYS, LEASE_LOST, LEASE_ACTION_NONE, KEEP },
	{ LEASE_LOST, LEASE_EVENT_REVOKE, ALWAYS, LEASE_FREE, LEASE_ACTION_FREED, CLEAR },
	{ LEASE_LOST, LEASE_EVENT_CLAIM, NEWER, LEASE_HELD, LEASE_ACTION_GRANTED,
	  BELIEVE | EXTEND },
	{ LEASE_LOST, LEASE_EVENT_CLAIM, ALWAYS, LEASE_LOST, LEASE_ACTION_STALE, KEEP },
};

static uint64_t later(uint64_t at_ms, uint64_t by_ms)
{
	return at_ms > UINT64_MAX - by_ms ? UINT64_MAX : at_ms + by_ms;
}

static bool holds(enum guard guard, const struct lease *l, const struct lease_input *in)
{
	switch (guard) {
	case ALWAYS:
		return true;
	case MINE:
		return in->epoch == l->epoch && strcmp(in->holder, l->holder) == 0;
	case PAST_END:
		return in->now_ms >= l->until_ms;
	case PAST_MARGIN:
		return l->policy == LEASE_STRICT && in->now_ms >= later(l->until_ms, l->margin_ms);
	case STRICT:
		return l->policy == LEASE_STRICT;
	case NEWER:
		return in->epoch > l->epoch;
	}
	return false;
}

static void apply(struct lease *l, const struct lease_input *in, unsigned effects)
{
	if (effects & (BEGIN | BELIEVE)) {
		l->epoch = effects & BELIEVE ? in->epoch : l->epoch + 1;
		l->until_ms = 0;
		memcpy(l->holder, in->holder, strlen(in->holder) + 1);
	}
	if (effects & EXTEND && later(in->now_ms, l->ttl_ms) > l->until_ms)
		l->until_ms = later(in->now_ms, l->ttl_ms);
	if (effects & CLEAR)
		l->holder[0] = '\0';
	if (effects & OUTDATE)
		l->epoch++;
}

enum lease_action lease_advance(struct lease *lease, const struct lease_input *input)
{
	assert(lease_check(lease));
	assert(input->holder || input->event == LEASE_EVENT_TICK ||
	       input->event == LEASE_EVENT_REVOKE);
	assert((input->event != LEASE_EVENT_GRANT && input->event != LEASE_EVENT_CLAIM) ||
	       (input->holder[0] && strlen(input->holder) <= LEASE_HOLDER_MAX));

	for (size_t i = 0; i < ARRAY_LEN(transitions); i++) {
		if (transitions[i].state != lease->state || transitions[i].event != input->event ||
		    !holds(transitions[i].guard, lease, input))
			continue;
		apply(lease, input, transitions[i].effects);
		lease->state = transitions[i].next;
		assert(lease_check(lease));
		return transitions[i].action;
	}
	assert(false); /* every state and event has a row */
	return LEASE_ACTION_REFUSED;
}

bool lease_check(const struct lease *lease)
{
	bool held = lease->state != LEASE_FREE;

	return lease->state <= LEASE_LOST && lease->policy <= LEASE_OFFLINE_OK &&
	       memchr(lease->holder, '\0', sizeof(lease->holder)) &&
	       (lease->holder[0] != '\0') == held && (!held || lease->epoch > 0);
}

/* ---- Names ---------------------------------------------------------------------------------------------------- */

static const char *const state_names[] = {
	[LEASE_FREE] = "free",
	[LEASE_HELD] = "held",
	[LEASE_EXPIRED] = "expired",
	[LEASE_LOST] = "lost",
};
static const char *const policy_names[] = {
	[LEASE_STRICT] = "strict",
	[LEASE_OFFLINE_OK] = "offline-ok",
};

static int find(const char *const *names, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++) {
		if (strcmp(names[i], name) == 0)
			return (int)i;
	}
	return -EINVAL;
}

const char *lease_state_name(enum lease_state state)
{
	return state_names[state];
}

int lease_state_parse(const char *name, enum lease_state *state)
{
	int i = find(state_names, ARRAY_LEN(state_names), name);

	if (i < 0)
		return i;
	*state = (enum lease_state)i;
	return 0;
}

const char *lease_policy_name(enum lease_policy policy)
{
	return policy_names[policy];
}

int lease_policy_parse(const char *name, enum lease_policy *policy)
{
	int i = find(policy_names, ARRAY_LEN(policy_names), name);

	if (i < 0)
		return i;
	*policy = (enum lease_policy)i;
	return 0;
}
