/* placement.h - which endpoint takes a desktop: fits RAM and disk, then the least loaded. A pure function. */
#ifndef GODWIT_MIGRATE_PLACEMENT_H
#define GODWIT_MIGRATE_PLACEMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct placement_endpoint {
	const char *name;
	bool online;
	uint64_t memory_total_mib,
		memory_used_mib; /* used: the sum over desktops it holds leases for */
	uint64_t disk_free_bytes;
	unsigned cpus, vcpus_used;
};

struct placement_need {
	uint64_t memory_mib, disk_bytes;
	unsigned vcpus;
	const char *avoid; /* endpoint that just failed; NULL: none */
};

enum { PLACEMENT_NONE = -1 };
/**
 * placement_choose(endpoints, n, need, why, why_len):
 * why  char[why_len]: when nothing fits, one line that says for each endpoint why not
 *
 * Return the index, or PLACEMENT_NONE.
 */
int placement_choose(const struct placement_endpoint *endpoints, size_t n,
		     const struct placement_need *need, char *why, size_t why_len);

#endif
