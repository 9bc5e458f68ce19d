#include "hypervisor/quarantine.h"

#include <errno.h>

#include "common/log.h"

static int set_link(struct desktop *d, bool up, struct err *err)
{
	return qmp_run(d->qmp, "set_link",
		       json_pack("{s:s, s:b}", "name", MACHINE_NETDEV, "up", up), NULL, err);
}

int quarantine_begin(struct desktop *d, struct err *err)
{
	if (!d->record.quarantined || !d->record.machine.network)
		return 0;
	return set_link(d, false, err);
}

int quarantine_set(struct desktop *d, uint64_t epoch, bool on, struct err *err)
{
	bool before;
	int r = 0;

	pthread_mutex_lock(&d->lock);
	before = d->record.quarantined;
	if (d->record.epoch != epoch)
		r = err_say(err, ESTALE, "desktop %s is here under epoch %llu, not %llu",
			    d->record.desktop, (unsigned long long)d->record.epoch,
			    (unsigned long long)epoch);
	if (r == 0 && before != on) {
		d->record.quarantined = on;
		r = desktop_save(d, err);
		if (r < 0)
			d->record.quarantined = before;
	}
	if (r == 0)
		d->link_due = true;
	pthread_mutex_unlock(&d->lock);
	desktop_wake(d);
	return r;
}

void quarantine_obey(struct desktop *d)
{
	struct err err = { .code = 0 };
	bool due, off;
	int r = 0;

	pthread_mutex_lock(&d->lock);
	due = d->link_due && !d->facts.gone && !d->facts.frozen;
	off = d->record.quarantined;
	if (due)
		d->link_due = false; /* a request from now on asks for another round */
	pthread_mutex_unlock(&d->lock);
	if (!due || !d->record.machine.network)
		return;
	r = set_link(d, !off, &err);
	if (r == 0) {
		log_info("its network cable is %s desktop=%s", off ? "out" : "in",
			 d->record.desktop);
		return;
	}
	log_warning("%s desktop=%s", err_text(&err), d->record.desktop);
	pthread_mutex_lock(&d->lock);
	d->link_due = true; /* the next tick tries again */
	pthread_mutex_unlock(&d->lock);
}
