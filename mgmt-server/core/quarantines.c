/* quarantines.c - see quarantines.h. */
#include "mgmt-server/core/quarantines.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "mgmt-server/core/notices.h"

static int tell(struct change *change, const struct quarantines_order *order, struct err *err)
{
	struct notices_order notice = { .severity = order->snapshot ? "alarm" : "warning",
					.kind = "quarantine",
					.desktop = order->desktop,
					.snapshot = order->snapshot };
	char text[512];

	if (order->on) {
		snprintf(text, sizeof(text),
			 "desktop %s is quarantined by %s%s%.200s: it runs without its network "
			 "until "
			 "you give it back (godwit desktop release %s)",
			 order->desktop, order->user, order->why[0] ? ", " : "", order->why,
			 order->desktop);
	} else {
		notice.severity = "info";
		snprintf(text, sizeof(text), "desktop %s has its network back: released by %s",
			 order->desktop, order->user);
	}
	return notices_add(change, &notice, text, err);
}

int quarantines_set(struct change *change, const struct quarantines_order *order, struct err *err)
{
	struct fleet_desktop *d = fleet_desktop(change->server->fleet, order->desktop);
	int r;

	if (!d)
		return err_say(err, ENOENT, "there is no desktop %.63s", order->desktop);
	if (d->quarantined == order->on)
		return 0;
	r = change_keep(change, d, err);
	if (r < 0)
		return r;
	d->quarantined = order->on;
	r = catalogue_desktop_quarantine(change->db, d->name, order->on ? clock_wall_ms() : 0, err);
	if (r == 0)
		r = change_audit(change, order->user, order->address,
				 order->on ? "quarantine" : "release", d->name, order->why, err);
	if (r == 0)
		r = tell(change, order, err);
	change_touch(change, CHANGE_DESKTOP, d->name);
	return r;
}

/* Somebody may run it: its disks are not only a snapshot's. */
static bool runs(const struct fleet_desktop *d)
{
	return d->lease.state == LEASE_HELD || d->lease.state == LEASE_EXPIRED;
}

int quarantines_infected(struct change *change, const char *desktop, const char *snapshot,
			 struct err *err)
{
	const struct fleet_desktop *d = fleet_desktop(change->server->fleet, desktop);
	char newest[CATALOGUE_ID_LEN], why[96];
	const struct quarantines_order order = { .desktop = desktop,
						 .on = true,
						 .why = why,
						 .user = "system",
						 .address = "",
						 .snapshot = snapshot };
	int r;

	if (!change->server->config.scan_quarantine || !d || !runs(d))
		return 0;
	r = catalogue_snapshot_latest(change->db, desktop, newest, err);
	if (r < 0 || strcmp(newest, snapshot) != 0)
		return r;
	snprintf(why, sizeof(why), "its newest snapshot %s is infected", snapshot);
	return quarantines_set(change, &order, err);
}
