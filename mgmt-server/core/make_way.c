/* make_way.c - see make_way.h. */
#include "mgmt-server/core/make_way.h"

#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "mgmt-server/core/hunts.h"
#include "mgmt-server/core/jobs.h"
#include "mgmt-server/core/scans.h"

enum { WORTH_MS = 1000 }; /* for less nobody is stopped */

uint64_t make_way_left(const struct make_way *w, uint64_t now)
{
	uint64_t forgotten = w->since_ms ? 0 : (now - w->ended_ms) / MAKE_WAY_FORGET;
	uint64_t stood = w->since_ms ? w->stood_ms + now - w->since_ms : w->stood_ms;

	stood -= forgotten < stood ? forgotten : stood;
	return stood < MAKE_WAY_MAX_MS ? MAKE_WAY_MAX_MS - stood : 0;
}

/* How many there are. */
static size_t stand(struct server *s, bool still)
{
	return (s->scans ? scans_stand(s->scans, still) : 0) +
	       (s->hunts ? hunts_stand(s->hunts, still) : 0);
}

void make_way_begin(struct server *s)
{
	struct make_way *w = &s->make_way;
	uint64_t now = clock_now_ms(), left = make_way_left(w, now);

	if (w->since_ms || left < WORTH_MS)
		return;
	w->stood_ms = MAKE_WAY_MAX_MS - left;
	w->since_ms = now;
	if (stand(s, true) > 0)
		log_info("scans stand still, a desktop comes back");
}

bool make_way_stands(const struct server *s)
{
	return s->make_way.since_ms != 0;
}

static int comes_back(void *arg, const struct catalogue_job *job, struct err *err)
{
	bool *waited_for = arg;

	(void)err;
	if (strcmp(job->step, "run") != 0 || json_object_get(job->result, "first_output_ms"))
		return 0;
	*waited_for = true;
	return DB_STOP;
}

void make_way_tick(struct server *s)
{
	struct catalogue_job_filter filter = { .active = true };
	struct make_way *w = &s->make_way;
	uint64_t now = clock_now_ms();
	bool waited_for = false;
	struct db_conn *c;

	if (!w->since_ms)
		return;
	if (make_way_left(w, now) > 0) {
		c = db_read(s->db);
		catalogue_job_each(c, &filter, comes_back, &waited_for, NULL);
		db_read_end(c);
	}
	if (waited_for)
		return;
	if (stand(s, false) > 0)
		log_info("scans go on stood_ms=%llu", (unsigned long long)(now - w->since_ms));
	w->stood_ms += now - w->since_ms;
	w->ended_ms = now;
	w->since_ms = 0;
}
