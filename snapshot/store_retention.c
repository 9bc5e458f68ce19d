#include "snapshot/store_retention.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

const char *const store_retention_names[STORE_RETENTION_RULES] = {
	[STORE_RETENTION_LAST] = "last",       [STORE_RETENTION_HOURLY] = "hourly",
	[STORE_RETENTION_DAILY] = "daily",     [STORE_RETENTION_WEEKLY] = "weekly",
	[STORE_RETENTION_MONTHLY] = "monthly", [STORE_RETENTION_YEARLY] = "yearly",
};

enum {
	HOUR_S = 3600,
	DAY_S = 86400,
	EPOCH_WEEKDAY = 3 /* 1 January 1970 was the Thursday of a week from Monday */
};

/* The number of the period that a time is in: equal for two times in the same one, and growing. */
static uint64_t period(enum store_retention_rule rule, uint64_t wall_ms)
{
	time_t seconds = (time_t)(wall_ms / 1000);
	uint64_t days = (uint64_t)seconds / DAY_S;
	struct tm tm;

	switch (rule) {
	case STORE_RETENTION_HOURLY:
		return (uint64_t)seconds / HOUR_S;
	case STORE_RETENTION_DAILY:
		return days;
	case STORE_RETENTION_WEEKLY:
		return (days + EPOCH_WEEKDAY) / 7;
	case STORE_RETENTION_MONTHLY:
	case STORE_RETENTION_YEARLY:
		gmtime_r(&seconds, &tm);
		return rule == STORE_RETENTION_YEARLY
			       ? (uint64_t)tm.tm_year
			       : (uint64_t)tm.tm_year * 12 + (uint64_t)tm.tm_mon;
	case STORE_RETENTION_LAST:
	case STORE_RETENTION_RULES:
		break;
	}
	return 0;
}

static void keep(struct store_retention_item *item, const char *reason)
{
	size_t len = strlen(item->reason);

	item->keep = true;
	snprintf(item->reason + len, sizeof(item->reason) - len, "%s%s", len ? ", " : "", reason);
}

static void apply(const struct store_retention_policy *policy, enum store_retention_rule rule,
		  struct store_retention_item *items, size_t n)
{
	uint64_t left = policy->keep[rule], last_period = UINT64_MAX;

	for (size_t i = n; i-- > 0 && left;) {
		uint64_t p =
			rule == STORE_RETENTION_LAST ? i : period(rule, items[i].created_wall_ms);
		char reason[64];

		if (items[i].created_wall_ms > policy->now_wall_ms || p == last_period)
			continue;
		last_period = p;
		left--;
		snprintf(reason, sizeof(reason), "%s %llu of %llu", store_retention_names[rule],
			 (unsigned long long)(policy->keep[rule] - left),
			 (unsigned long long)policy->keep[rule]);
		keep(&items[i], reason);
	}
}

void store_retention_decide(const struct store_retention_policy *policy,
			    struct store_retention_item *items, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		items[i].keep = false;
		items[i].reason[0] = '\0';
		if (items[i].pinned)
			keep(&items[i], "pinned");
		if (items[i].misdated)
			keep(&items[i], "dated before its parent");
		/* A time in the future says that a clock jumped: nothing is decided on that. */
		if (items[i].created_wall_ms > policy->now_wall_ms)
			keep(&items[i], "from the future");
		else if (policy->no_delete_ms &&
			 policy->now_wall_ms - items[i].created_wall_ms <= policy->no_delete_ms)
			keep(&items[i], "in the no-delete window");
	}
	for (int rule = 0; rule < STORE_RETENTION_RULES; rule++)
		apply(policy, (enum store_retention_rule)rule, items, n);
	for (size_t i = 0; i < n; i++)
		if (!items[i].keep)
			snprintf(items[i].reason, sizeof(items[i].reason), "no rule keeps it");
}
