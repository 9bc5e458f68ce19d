/* collapse.h - makes a guest's memory consist of huge pages again, from outside.
 *
 * A full capture splits huge pages, and write-protecting small ones takes several times as long: this is the guest's pause
 * in the next capture. Only ranges that are mostly there are merged, so a guest never grows noticeably by it. Best effort:
 * a kernel before 6.7, or an unprivileged hypervisor, captures with a longer pause.
 * Source: process_madvise(2), MADV_COLLAPSE; Linux Documentation/admin-guide/mm/pagemap.rst, PAGEMAP_SCAN.
 */
#ifndef GODWIT_HYPERVISOR_COLLAPSE_H
#define GODWIT_HYPERVISOR_COLLAPSE_H

#include <sys/types.h>

#include "common/err.h"

struct collapse_result {
	unsigned ranges;    /* of 2 MiB that are mostly there and in small pages */
	unsigned collapsed; /* of those */
};

/* Merge the big anonymous mappings of @pid, of which @pidfd is a descriptor. Return 0 or -errno. */
int collapse_process(pid_t pid, int pidfd, struct collapse_result *result, struct err *err);

#endif
