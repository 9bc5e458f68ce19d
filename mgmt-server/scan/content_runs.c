#include "mgmt-server/scan/content_runs.h"

#include <errno.h>
#include <stdlib.h>

#include "common/le.h"

enum { SECTOR = 512 };

void content_runs_deinit(struct content_runs *runs)
{
	free(runs->items);
	*runs = (struct content_runs){ 0 };
}

void content_runs_clear(struct content_runs *runs)
{
	runs->count = 0;
}

uint64_t content_runs_end(const struct content_runs *runs)
{
	const struct content_run *last;

	if (!runs->count)
		return 0;
	last = &runs->items[runs->count - 1];
	return last->offset + last->length;
}

int content_runs_add(struct content_runs *runs, const struct content_run *run)
{
	if (run->offset < content_runs_end(runs) || runs->count == CONTENT_RUNS_MAX)
		return CONTENT_RUNS_AGAIN;
	if (runs->count == runs->capacity) {
		size_t capacity = runs->capacity ? runs->capacity * 2 : 64;
		struct content_run *more =
			reallocarray(runs->items, capacity, sizeof(*runs->items));

		if (!more)
			return -ENOMEM;
		runs->items = more;
		runs->capacity = capacity;
	}
	runs->items[runs->count++] = *run;
	return 0;
}

void content_run_encode(const struct content_run *run, uint8_t wire[CONTENT_RUN_LEN])
{
	le_put64(wire, run->offset);
	le_put64(wire + 8, run->at);
	le_put64(wire + 16, run->length);
}

int content_run_decode(struct content_run *run, const uint8_t wire[CONTENT_RUN_LEN])
{
	*run = (struct content_run){ .offset = le_get64(wire),
				     .at = le_get64(wire + 8),
				     .length = le_get64(wire + 16) };
	return !run->length || run->length > UINT64_MAX - run->offset ||
			       run->length > UINT64_MAX - run->at
		       ? -EBADMSG
		       : 0;
}

uint64_t content_run_cost(uint64_t length)
{
	return length > UINT64_MAX - SECTOR ? UINT64_MAX : (length + SECTOR - 1) / SECTOR * SECTOR;
}
