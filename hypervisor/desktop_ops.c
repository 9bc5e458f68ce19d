#include "hypervisor/desktop_ops.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/clock.h"
#include "common/io.h"
#include "common/log.h"
#include "hypervisor/deadline.h"
#include "hypervisor/desktop_start.h"
#include "hypervisor/desktop_watch.h"

enum {
	SETTLE_MS = 30000,
	KILL_MS = 30000,
	CLAIM_MS = 60000,      /* an operation that lost its QEMU ends soon */
	POWER_PRESS_MS = 5000, /* a guest that still boots ignores the button: press again */
	SHUTDOWN_MAX_MS = 24 * 3600 * 1000,
	ORPHANS_MAX = 1000,
};

/* With the lock held. */
static int check_epoch(const struct desktop *d, uint64_t epoch, struct err *err)
{
	if (d->record.epoch == epoch)
		return 0;
	return err_say(err, ESTALE, "desktop %s is here under epoch %llu, not %llu",
		       d->record.desktop, (unsigned long long)d->record.epoch,
		       (unsigned long long)epoch);
}

int desktop_ops_lease(struct desktop *d, uint64_t epoch, uint64_t ttl_ms, struct err *err)
{
	CLEANUP_FREE char *path = io_printf("%s/lease", d->folder);
	int r;

	if (!path)
		return err_set(err, ENOMEM, "renew the lease");
	pthread_mutex_lock(&d->lock);
	r = check_epoch(d, epoch, err);
	if (r == 0) {
		lease_guard_renew(&d->lease, clock_now_ms(), ttl_ms);
		r = lease_guard_save(&d->lease, path, d->hypervisor->boot_id, err);
	}
	pthread_mutex_unlock(&d->lock);
	desktop_wake(d);
	return r;
}

int desktop_ops_pause(struct desktop *d, bool pause, struct err *err)
{
	int r = desktop_need_qemu(d, err);

	if (r < 0)
		return r;
	pthread_mutex_lock(&d->lock);
	d->facts.paused = pause;
	if (!pause)
		d->capture_held = false;
	if (d->record.paused != pause) {
		d->record.paused = pause;
		r = desktop_save(d, err);
	}
	pthread_mutex_unlock(&d->lock);
	desktop_wake(d);
	return r < 0 ? r : desktop_settle(d, SETTLE_MS, err);
}

/* Return 0 when it is off, -ESRCH when QEMU is gone, 1 when the time was over first. */
static int await_off(struct desktop *d, int ms, struct err *err)
{
	struct timespec deadline = deadline_in(ms);
	int waited = 0, r = 1;

	pthread_mutex_lock(&d->lock);
	while (!d->facts.gone && d->facts.qemu != DESKTOP_QEMU_SHUTDOWN && waited != ETIMEDOUT)
		waited = pthread_cond_timedwait(&d->changed, &d->lock, &deadline);
	if (d->facts.gone)
		r = err_say(err, ESRCH, "QEMU of desktop %s is gone: %s", d->record.desktop,
			    d->reason);
	else if (d->facts.qemu == DESKTOP_QEMU_SHUTDOWN)
		r = 0;
	pthread_mutex_unlock(&d->lock);
	return r;
}

int desktop_ops_shutdown(struct desktop *d, uint64_t timeout_ms, struct err *err)
{
	uint64_t end =
		clock_now_ms() + (timeout_ms < SHUTDOWN_MAX_MS ? timeout_ms : SHUTDOWN_MAX_MS);
	int r = desktop_need_qemu(d, err);

	while (r == 0) {
		uint64_t now = clock_now_ms();
		uint64_t wait = now < end ? end - now : 0;

		r = await_off(d, 0, err);
		if (r <= 0)
			return r;
		if (wait == 0)
			return err_say(err, ETIMEDOUT,
				       "the guest of desktop %s did not power off within %llu ms",
				       d->record.desktop, (unsigned long long)timeout_ms);
		r = qmp_run(d->qmp, "system_powerdown", NULL, NULL, err);
		if (r < 0)
			return r;
		r = await_off(d, (int)(wait < POWER_PRESS_MS ? wait : POWER_PRESS_MS), err);
		if (r <= 0)
			return r;
		r = 0;
	}
	return r;
}

int desktop_ops_recover(struct desktop *d, char **socket, struct err *err)
{
	CLEANUP_FREE char *path = io_printf("%s/%s", d->folder, MACHINE_MEMORY_SOCKET);
	bool paused;
	int r = desktop_need_qemu(d, err);

	if (r < 0)
		return r;
	if (!path)
		return err_set(err, ENOMEM, "recover the memory of %s", d->record.desktop);
	pthread_mutex_lock(&d->lock);
	paused = d->facts.postcopy_paused;
	pthread_mutex_unlock(&d->lock);
	if (!paused)
		return err_say(err, EINVAL,
			       "desktop %s does not wait for a new source of its memory",
			       d->record.desktop);
	r = qmp_run(d->qmp, "migrate-recover",
		    json_pack("{s:s}", "uri", "unix:" MACHINE_MEMORY_SOCKET), NULL, err);
	if (r == 0)
		*socket = TAKE(path);
	return r;
}

/* ---- the end of a desktop ------------------------------------------------------------------------------------- */

/* From here on nobody else touches it: QEMU is dead, every operation that used it has failed, its thread has ended. */
static int take_down(struct desktop *d, uint64_t epoch, struct err *err)
{
	int r;

	pthread_mutex_lock(&d->lock);
	r = check_epoch(d, epoch, err);
	pthread_mutex_unlock(&d->lock);
	if (r == 0 && d->pidfd >= 0)
		r = process_kill(d->pidfd, KILL_MS, err);
	if (r == 0)
		r = desktop_claim(d, "its end", CLAIM_MS, err);
	if (r == 0)
		desktop_watch_stop(d);
	return r;
}

static int fail_end(struct desktop *d, int r, struct err *err)
{
	desktop_release(d);
	return err_wrap(err, r, "desktop %s has no QEMU any more, but", d->record.desktop);
}

int desktop_ops_discard(struct desktop *d, uint64_t epoch, struct err *err)
{
	int r = take_down(d, epoch, err);

	if (r < 0)
		return r;
	r = desktop_start_delete_folder(d->folder, err);
	if (r < 0)
		return fail_end(d, r, err);
	hypervisor_remove(d->hypervisor, d);
	log_info("discarded desktop=%s epoch=%llu", d->record.desktop, (unsigned long long)epoch);
	return 0;
}

static int move_away(const struct desktop *d, uint64_t epoch, char **folder, struct err *err)
{
	CLEANUP_FREE char *orphans = io_printf("%s/orphans", d->hypervisor->state);
	int r = orphans ? io_make_folders(orphans, 0750, err)
			: err_set(err, ENOMEM, "orphan %s", d->record.desktop);

	for (int i = 0; r == 0 && i < ORPHANS_MAX; i++) {
		CLEANUP_FREE char *to = io_printf("%s/%s-epoch%llu-%d", orphans, d->record.desktop,
						  (unsigned long long)epoch, i);

		if (!to)
			return err_set(err, ENOMEM, "orphan %s", d->record.desktop);
		if (rename(d->folder, to) == 0) {
			*folder = TAKE(to);
			return io_sync_folder(orphans, err);
		}
		if (errno != EEXIST && errno != ENOTEMPTY)
			return err_set(err, errno, "move %s to %s", d->folder, to);
	}
	return r < 0 ? r
		     : err_say(err, EMFILE, "%s holds too many orphans of %s", orphans,
			       d->record.desktop);
}

int desktop_ops_orphan(struct desktop *d, uint64_t epoch, char **folder, struct err *err)
{
	int r = take_down(d, epoch, err);

	if (r < 0)
		return r;
	r = move_away(d, epoch, folder, err);
	if (r < 0)
		return fail_end(d, r, err);
	hypervisor_remove(d->hypervisor, d);
	log_info("orphaned desktop=%s epoch=%llu folder=%s", d->record.desktop,
		 (unsigned long long)epoch, *folder);
	return 0;
}
