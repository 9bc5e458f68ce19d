/* lease_guard.h - the end of the right to run, kept where a restarted hypervisor finds it.
 *
 * The deadline is a CLOCK_BOOTTIME instant: it goes on while a laptop sleeps and never jumps. It lives in a one-line file
 * of the desktop's folder that is overwritten in place by one short write(2); after a power cut the boot id differs, and a
 * deadline of another boot counts as over. Source: docs/protocol.md section 1, "States"; DESIGN section 8.
 */
#ifndef GODWIT_HYPERVISOR_LEASE_GUARD_H
#define GODWIT_HYPERVISOR_LEASE_GUARD_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"

struct lease_guard {
	bool strict; /* the desktop is paused at the end; otherwise the deadline is only shown */
	uint64_t deadline_ms; /* clock_now_ms() */
};

/* Milliseconds left at @now_ms; 0: over. */
uint64_t lease_guard_left(const struct lease_guard *guard, uint64_t now_ms);
/* Must the desktop stand still? */
bool lease_guard_fences(const struct lease_guard *guard, uint64_t now_ms);
/* The deadline that @ttl_ms from @now_ms gives; never beyond the end of time. */
void lease_guard_renew(struct lease_guard *guard, uint64_t now_ms, uint64_t ttl_ms);

int lease_guard_save(const struct lease_guard *guard, const char *path, const char *boot_id,
		     struct err *err);
/* Return 0, or -errno; -EBADMSG for a file that is no lease. */
int lease_guard_load(struct lease_guard *guard, const char *path, const char *boot_id,
		     struct err *err);

int lease_guard_parse_policy(const char *policy, bool *strict, struct err *err);
const char *lease_guard_policy(const struct lease_guard *guard);

#endif
