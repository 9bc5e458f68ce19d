#include "mgmt-server/core/doubt.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/hex.h"
#include "common/io.h"
#include "common/log.h"

static char *file_path(const struct server *s)
{
	return io_printf("%s/catalogue.doubt", s->state);
}

int doubt_load(struct server *s, struct err *err)
{
	CLEANUP_FREE char *path = file_path(s);
	CLEANUP_FREE uint8_t *why = NULL;
	size_t len;
	int r = path ? 0 : err_set(err, ENOMEM, "load the doubt");

	if (r == 0)
		r = io_read_file(path, sizeof(s->recovered), &why, &len, err);
	if (r == -ENOENT) {
		*err = (struct err){ 0 };
		return 0;
	}
	if (r < 0)
		return r;
	s->doubt_marked = true;
	snprintf(s->recovered, sizeof(s->recovered),
		 "The server was restarted before it had heard what runs where: %.*s", (int)len,
		 (const char *)why);
	return 0;
}

int doubt_mark(struct server *s, const char *why, struct err *err)
{
	CLEANUP_FREE char *path = file_path(s);
	int r;

	if (s->doubt_marked)
		return 0;
	r = path ? io_replace_file(path, why, strlen(why), 0600, err)
		 : err_set(err, ENOMEM, "note the doubt");
	if (r == 0)
		s->doubt_marked = true;
	return r;
}

void doubt_begin(struct server *s, uint64_t longest_ms)
{
	hex_random(s->doubt, (sizeof(s->doubt) - 1) / 2);
	s->doubt_until_ms = clock_now_ms() + longest_ms + s->config.lease_margin_ms;
}

uint64_t doubt_left(const struct server *s, uint64_t now_ms)
{
	return now_ms < s->doubt_until_ms ? s->doubt_until_ms - now_ms : 0;
}

bool doubt_tells(const struct server *s, const struct fleet_desktop *d, bool in_force,
		 uint64_t now_ms)
{
	if (d->lease.policy != LEASE_STRICT)
		return true; /* it runs without being told */
	return doubt_left(s, now_ms) > 0 ? in_force : now_ms >= d->told_from_ms;
}

uint64_t doubt_displaces(const struct server *s, const struct fleet_desktop *d,
			 const char *endpoint, uint64_t now_ms)
{
	const struct lease *l = &d->lease;

	if (l->policy != LEASE_STRICT || strcmp(l->holder, endpoint) == 0 ||
	    (l->state != LEASE_HELD && l->state != LEASE_EXPIRED))
		return 0;
	/* In the doubt whoever was not told stands still, or will before it ends. */
	if (doubt_left(s, now_ms) > 0 && !d->told)
		return 0;
	return (l->until_ms > now_ms ? l->until_ms : now_ms) + l->margin_ms;
}

void doubt_tick(struct server *s, uint64_t now_ms)
{
	CLEANUP_FREE char *path = NULL;
	size_t i;

	if (!s->doubt_marked || doubt_left(s, now_ms) > 0)
		return;
	for (i = 0; i < fleet_desktop_count(s->fleet); i++) {
		if (fleet_desktop_at(s->fleet, i)->told_from_ms > now_ms)
			return;
	}
	/* One that stays makes the next start doubt needlessly: nothing else. */
	path = file_path(s);
	if (!path || unlink(path) < 0)
		log_warning("the doubt is over, but %s is still there", path ? path : "its file");
	else
		log_info("what runs where is known: every lease from before has been heard of or "
			 "is over");
	s->doubt_marked = false;
}
