/* ram_runs.h - which stretches of a process's memory have to be looked at in its own order.
 *
 * Physical memory is scanned in windows that overlap, so a stretch whose pages also follow each other there has been seen. What is left is
 * where they do not: a run is pages that follow each other in a process, with a break in it, and a little of the contiguous
 * memory around each break. A run that is a part of an earlier one (a library that many processes map) is left out.
 * Memory: 8 bytes for each page of the guest. Not thread-safe.
 */
#ifndef GODWIT_SCAN_RAM_RUNS_H
#define GODWIT_SCAN_RAM_RUNS_H

#include <stddef.h>
#include <stdint.h>

#include "common/base.h"
#include "common/err.h"

enum {
	RAM_RUNS_PAGE = 4096,
	RAM_RUNS_EDGE = 16, /* pages: what is kept around a break, and how far windows overlap */
	RAM_RUNS_LONGEST =
		1024, /* pages; a longer run comes in pieces that overlap by RAM_RUNS_EDGE */
};

/* @pages: the physical addresses of @count pages, the first of which is at @virtual. */
typedef int ram_runs_run(void *arg, uint64_t virtual, const uint64_t *pages, size_t count,
			 struct err *err);

struct ram_runs;

/* @size: of the physical address space, bytes. */
int ram_runs_new(struct ram_runs **out, uint64_t size, ram_runs_run *run, void *arg,
		 struct err *err);
void ram_runs_free(struct ram_runs *runs);
DEFINE_CLEANUP(struct ram_runs *, ram_runs_free);

/* The page at @virtual is the one at @physical, in [0, size). In ascending order of one process; a gap ends a run. */
int ram_runs_page(struct ram_runs *runs, uint64_t virtual, uint64_t physical, struct err *err);
/* The process ends. */
int ram_runs_end(struct ram_runs *runs, struct err *err);

#endif
