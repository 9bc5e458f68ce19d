/* store_retention.h - which snapshots of a desktop stay? A pure function of their times and a policy.
 *
 * For each period the newest snapshot of each of the last N periods that have any stays; hours, days, ISO weeks,
 * months and years are those of UTC. What is pinned stays. What no rule keeps goes.
 *
 * Clocks jump. What is dated in the future stays and takes no other's place under a rule; what is dated before its own parent,
 * so maybe is the newest of all, stays as long as that parent does.
 */
#ifndef GODWIT_SNAPSHOT_STORE_RETENTION_H
#define GODWIT_SNAPSHOT_STORE_RETENTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum store_retention_rule {
	STORE_RETENTION_LAST,
	STORE_RETENTION_HOURLY,
	STORE_RETENTION_DAILY,
	STORE_RETENTION_WEEKLY,
	STORE_RETENTION_MONTHLY,
	STORE_RETENTION_YEARLY,
	STORE_RETENTION_RULES
};

extern const char *const store_retention_names[STORE_RETENTION_RULES]; /* "last", "hourly" … */

struct store_retention_policy {
	uint64_t keep[STORE_RETENTION_RULES]; /* 0: that rule keeps nothing */
	uint64_t now_wall_ms;
	uint64_t no_delete_ms; /* younger ones stay; 0: no window */
};

enum { STORE_RETENTION_REASON_MAX = 128 };

struct store_retention_item {
	uint64_t created_wall_ms; /* in */
	bool pinned;              /* in */
	bool misdated;            /* in: dated before its own parent */
	bool keep;                /* out */
	char reason
		[STORE_RETENTION_REASON_MAX]; /* out: "last 2 of 3, daily 1 of 7" or "no rule keeps it" */
};

/* items: oldest first, as store_list gives them. */
void store_retention_decide(const struct store_retention_policy *policy,
			    struct store_retention_item *items, size_t n);

#endif
