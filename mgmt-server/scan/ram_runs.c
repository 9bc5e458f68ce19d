#include "mgmt-server/scan/ram_runs.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* A stretch longer than this has an inside that no break is near. */
enum { STRETCH = 2 * RAM_RUNS_EDGE };

struct place {        /* where a page was first reported */
	uint32_t run; /* 0: nowhere */
	uint32_t index;
};

struct ram_runs {
	ram_runs_run *run;
	void *arg;
	struct place *places; /* one for each page of the guest */
	uint32_t reported;
	uint64_t begin; /* virtual address of pages[0] */
	uint64_t pages[RAM_RUNS_LONGEST];
	size_t count, breaks;
	size_t stretch; /* of the last pages, how many follow each other physically */
};

int ram_runs_new(struct ram_runs **out, uint64_t size, ram_runs_run *run, void *arg,
		 struct err *err)
{
	struct ram_runs *s = calloc(1, sizeof(*s));

	if (s)
		s->places = calloc(size / RAM_RUNS_PAGE + 1, sizeof(*s->places));
	if (!s || !s->places) {
		free(s);
		return err_set(err, ENOMEM, "put processes' memory together");
	}
	s->run = run;
	s->arg = arg;
	*out = s;
	return 0;
}

void ram_runs_free(struct ram_runs *s)
{
	if (!s)
		return;
	free(s->places);
	free(s);
}

static struct place *place_of(const struct ram_runs *s, uint64_t physical)
{
	return &s->places[physical / RAM_RUNS_PAGE];
}

static bool was_reported(const struct ram_runs *s, size_t count)
{
	struct place first = *place_of(s, s->pages[0]);

	for (size_t i = 0; i < count; i++) {
		const struct place *p = place_of(s, s->pages[i]);

		if (!p->run || p->run != first.run || p->index != first.index + i)
			return false;
	}
	return true;
}

static int report(struct ram_runs *s, size_t count, struct err *err)
{
	if (was_reported(s, count))
		return 0;
	s->reported++;
	for (size_t i = 0; i < count; i++) {
		struct place *p = place_of(s, s->pages[i]);

		if (!p->run)
			*p = (struct place){ .run = s->reported, .index = (uint32_t)i };
	}
	return s->run(s->arg, s->begin, s->pages, count, err);
}

/* Go on with the last @keep pages only. */
static void keep_last(struct ram_runs *s, size_t keep)
{
	size_t gone = s->count - keep;

	memmove(s->pages, s->pages + gone, keep * sizeof(s->pages[0]));
	s->begin += gone * RAM_RUNS_PAGE;
	s->count = keep;
	s->breaks = 0;
	s->stretch = keep ? 1 : 0;
	for (size_t i = 1; i < keep; i++) {
		bool follows = s->pages[i] == s->pages[i - 1] + RAM_RUNS_PAGE;

		s->breaks += !follows;
		s->stretch = follows ? s->stretch + 1 : 1;
	}
}

static int end_run(struct ram_runs *s, size_t count, struct err *err)
{
	return s->breaks ? report(s, count, err) : 0;
}

int ram_runs_end(struct ram_runs *s, struct err *err)
{
	int r = end_run(s, s->count, err);

	keep_last(s, 0);
	return r;
}

int ram_runs_page(struct ram_runs *s, uint64_t virtual, uint64_t physical, struct err *err)
{
	bool follows;
	int r = 0;

	if (s->count && virtual != s->begin + s->count * RAM_RUNS_PAGE)
		r = ram_runs_end(s, err);
	if (r == 0 && s->count == RAM_RUNS_LONGEST) {
		r = end_run(s, s->count, err);
		keep_last(s, RAM_RUNS_EDGE);
	}
	if (r < 0)
		return r;
	if (!s->count)
		s->begin = virtual;
	follows = s->count && physical == s->pages[s->count - 1] + RAM_RUNS_PAGE;
	s->breaks += s->count && !follows;
	s->stretch = follows ? s->stretch + 1 : 1;
	s->pages[s->count++] = physical;
	if (s->stretch <= STRETCH)
		return 0;
	r = end_run(s, s->count - STRETCH - 1 + RAM_RUNS_EDGE, err);
	keep_last(s, RAM_RUNS_EDGE);
	return r;
}
