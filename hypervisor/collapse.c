#include "hypervisor/collapse.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "common/base.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

enum {
	HUGE_SHIFT = 21,
	PAGE = 4096,
	MAPPING_MIN = 64 << 20, /* smaller ones are not the guest's memory */
	PAGES_MIN = 256,        /* half of a huge page */
	REGIONS = 4096,
};

/* linux/fs.h of a 6.7 kernel; older headers have none of it. */
struct page_region {
	uint64_t start, end, categories;
};
struct pm_scan_arg {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
#define SCAN _IOWR('f', 16, struct pm_scan_arg)
enum { IS_PRESENT = 1 << 3, IS_PFNZERO = 1 << 5, IS_HUGE = 1 << 6 };

struct mapping {
	uint64_t start, end;
};

/* Does a line of /proc/PID/maps name a big, private, anonymous, writable and not executable mapping? */
static int parse_mapping(const char *line, struct mapping *out)
{
	unsigned long long start, end, inode;
	char mode[8];

	if (sscanf(line, "%llx-%llx %7s %*s %*s %llu", &start, &end, mode, &inode) != 4)
		return 0;
	if (inode != 0 || strcmp(mode, "rw-p") != 0 || end - start < MAPPING_MIN)
		return 0;
	out->start = (start + (1ull << HUGE_SHIFT) - 1) >> HUGE_SHIFT << HUGE_SHIFT;
	out->end = end >> HUGE_SHIFT << HUGE_SHIFT;
	return out->start < out->end;
}

/* Count the small pages that are there, by 2 MiB range. */
static int count_pages(int pagemap, const struct mapping *m, struct page_region *regions,
		       uint16_t *counts, struct err *err)
{
	uint64_t at = m->start;

	while (at < m->end) {
		struct pm_scan_arg scan = { .size = sizeof(scan),
					    .start = at,
					    .end = m->end,
					    .vec = (uintptr_t)regions,
					    .vec_len = REGIONS,
					    .category_inverted = IS_PFNZERO | IS_HUGE,
					    .category_mask = IS_PRESENT | IS_PFNZERO | IS_HUGE,
					    .return_mask = IS_PRESENT };
		int n = ioctl(pagemap, SCAN, &scan);

		if (n < 0)
			return err_set(err, errno, "scan the guest's pages");
		for (int i = 0; i < n; i++) {
			for (uint64_t page = regions[i].start; page < regions[i].end; page += PAGE)
				counts[(page - m->start) >> HUGE_SHIFT]++;
		}
		if (scan.walk_end <= at)
			break;
		at = scan.walk_end;
	}
	return 0;
}

static int collapse_mapping(int pagemap, int pidfd, const struct mapping *m,
			    struct collapse_result *result, struct err *err)
{
	size_t ranges = (m->end - m->start) >> HUGE_SHIFT;
	CLEANUP_FREE uint16_t *counts = calloc(ranges, sizeof(*counts));
	CLEANUP_FREE struct page_region *regions = malloc(REGIONS * sizeof(*regions));
	int r;

	if (!counts || !regions)
		return err_set(err, ENOMEM, "collapse the guest's memory");
	r = count_pages(pagemap, m, regions, counts, err);
	for (size_t i = 0; r == 0 && i < ranges; i++) {
		struct iovec range = { .iov_base = (void *)(uintptr_t)(m->start +
								       ((uint64_t)i << HUGE_SHIFT)),
				       .iov_len = 1ul << HUGE_SHIFT };

		if (counts[i] < PAGES_MIN)
			continue;
		result->ranges++;
		if (syscall(SYS_process_madvise, pidfd, &range, 1, MADV_COLLAPSE, 0) >= 0)
			result->collapsed++;
		else if (errno == EPERM || errno == EINVAL || errno == ENOSYS)
			return err_set(err, errno, "collapse the guest's memory");
	}
	return r;
}

static void close_file(FILE *file)
{
	fclose(file);
}
DEFINE_CLEANUP(FILE *, close_file);

int collapse_process(pid_t pid, int pidfd, struct collapse_result *result, struct err *err)
{
	CLEANUP(close_file) FILE *maps = NULL;
	CLEANUP_FD int pagemap = -1;
	char path[64], line[512];
	struct mapping m;
	int r = 0;

	*result = (struct collapse_result){ .ranges = 0 };
	snprintf(path, sizeof(path), "/proc/%d/pagemap", (int)pid);
	pagemap = open(path, O_RDONLY | O_CLOEXEC);
	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	maps = fopen(path, "re");
	if (pagemap < 0 || !maps)
		return err_set(err, errno, "open %s", path);
	while (r == 0 && fgets(line, sizeof(line), maps)) {
		if (parse_mapping(line, &m))
			r = collapse_mapping(pagemap, pidfd, &m, result, err);
	}
	return r;
}
