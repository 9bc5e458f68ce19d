#include "hypervisor/desktop.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/io.h"
#include "common/log.h"
#include "hypervisor/deadline.h"

enum { STATUS_BLOCK = 512 }; /* st_blocks counts these */

int desktop_new(struct desktop **out, struct hypervisor *hypervisor, const char *name,
		struct err *err)
{
	struct desktop *d = calloc(1, sizeof(*d));

	if (!d)
		return err_set(err, ENOMEM, "desktop %s", name);
	d->hypervisor = hypervisor;
	d->refs = 1;
	d->pidfd = -1;
	d->autostart = true;
	d->folder = io_printf("%s/desktops/%s", hypervisor->state, name);
	d->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (!d->folder || d->wake_fd < 0) {
		int code = d->folder ? errno : ENOMEM;

		base_close(d->wake_fd);
		free(d->folder);
		free(d);
		return err_set(err, code, "desktop %s", name);
	}
	snprintf(d->record.desktop, sizeof(d->record.desktop), "%s", name);
	pthread_mutex_init(&d->lock, NULL);
	deadline_init_cond(&d->changed);
	*out = d;
	return 0;
}

struct desktop *desktop_ref(struct desktop *d)
{
	pthread_mutex_lock(&d->lock);
	d->refs++;
	pthread_mutex_unlock(&d->lock);
	return d;
}

void desktop_unref(struct desktop *d)
{
	unsigned left;

	if (!d)
		return;
	pthread_mutex_lock(&d->lock);
	left = --d->refs;
	pthread_mutex_unlock(&d->lock);
	if (left)
		return;
	assert(!d->watching);
	qmp_close(d->qmp);
	base_close(d->pidfd);
	base_close(d->wake_fd);
	pthread_cond_destroy(&d->changed);
	pthread_mutex_destroy(&d->lock);
	free(d->folder);
	free(d);
}

int desktop_claim(struct desktop *d, const char *operation, int wait_ms, struct err *err)
{
	struct timespec deadline = deadline_in(wait_ms);
	int waited = 0, r = 0;

	pthread_mutex_lock(&d->lock);
	while (d->busy && wait_ms > 0 && waited != ETIMEDOUT)
		waited = pthread_cond_timedwait(&d->changed, &d->lock, &deadline);
	if (d->busy)
		r = err_say(err, EBUSY, "desktop %s is busy with %s", d->record.desktop, d->busy);
	else
		d->busy = operation;
	pthread_mutex_unlock(&d->lock);
	return r;
}

void desktop_release(struct desktop *d)
{
	pthread_mutex_lock(&d->lock);
	d->busy = NULL;
	pthread_cond_broadcast(&d->changed);
	pthread_mutex_unlock(&d->lock);
	desktop_wake(d);
}

void desktop_wake(struct desktop *d)
{
	uint64_t one = 1;

	if (write(d->wake_fd, &one, sizeof(one)) < 0)
		assert(errno == EAGAIN); /* it is readable already */
}

int desktop_settle(struct desktop *d, int timeout_ms, struct err *err)
{
	struct timespec deadline = deadline_in(timeout_ms);
	int waited = 0, r = 0;

	pthread_mutex_lock(&d->lock);
	d->refresh = true;
	desktop_wake(d);
	while (!d->facts.gone && waited != ETIMEDOUT &&
	       (d->refresh || d->facts.frozen ||
		desktop_state_wish(&d->facts, d->autostart) != DESKTOP_WISH_NONE))
		waited = pthread_cond_timedwait(&d->changed, &d->lock, &deadline);
	if (d->facts.gone)
		r = err_say(err, ESRCH, "QEMU of desktop %s is gone: %s", d->record.desktop,
			    d->reason);
	else if (waited == ETIMEDOUT)
		r = err_say(err, ETIMEDOUT, "QEMU of desktop %s did not follow within %d ms",
			    d->record.desktop, timeout_ms);
	pthread_mutex_unlock(&d->lock);
	return r;
}

static uint64_t local_bytes(const struct desktop *d, const struct machine_disk *disk)
{
	CLEANUP_FREE char *path = io_printf("%s/%s.qcow2", d->folder, disk->name);
	struct stat st;
	uint64_t bytes;

	if (!path || stat(path, &st) < 0)
		return 0;
	bytes = (uint64_t)st.st_blocks * STATUS_BLOCK;
	return bytes < disk->size ? bytes : disk->size;
}

static json_t *disks_json(const struct desktop *d)
{
	json_t *array = json_array();

	for (size_t i = 0; array && i < d->record.disk_count; i++) {
		const struct machine_disk *disk = &d->record.disks[i];

		json_array_append_new(array,
				      json_pack("{s:s, s:I, s:I, s:b}", "name", disk->name, "size",
						(json_int_t)disk->size, "local_bytes",
						(json_int_t)local_bytes(d, disk), "complete",
						disk->complete));
	}
	return array;
}

json_t *desktop_status(struct desktop *d)
{
	json_t *status;

	pthread_mutex_lock(&d->lock);
	status = json_pack(
		"{s:s, s:I, s:s, s:o, s:s, s:s, s:o, s:b, s:b, s:I, s:o, s:s}", "desktop",
		d->record.desktop, "epoch", (json_int_t)d->record.epoch, "state",
		desktop_state_name(desktop_state_derive(&d->facts)), "machine",
		machine_json(&d->record.machine), "snapshot", d->record.snapshot, "memory",
		d->record.arriving ? "arriving" : "local", "disks", disks_json(d), "capture",
		d->capture_open, "quarantined", d->record.quarantined, "lease_ms",
		(json_int_t)lease_guard_left(&d->lease, clock_now_ms()), "first_output_ms",
		d->record.output_seen ? json_integer((json_int_t)d->record.first_output_ms)
				      : json_null(),
		"reason", d->reason);
	pthread_mutex_unlock(&d->lock);
	return status;
}

void desktop_emit(struct desktop *d, const char *event, json_t *fields)
{
	json_t *root = fields ? fields : json_object();

	if (!root || json_object_set_new(root, "event", json_string(event)) < 0 ||
	    json_object_set_new(root, "desktop", json_string(d->record.desktop)) < 0) {
		log_error("an event is lost: out of memory desktop=%s event=%s", d->record.desktop,
			  event);
		json_decref(root);
		return;
	}
	d->hypervisor->emit(d->hypervisor->emit_arg, root);
}

int desktop_save(struct desktop *d, struct err *err)
{
	return desktop_record_save(&d->record, d->folder, err);
}

int desktop_need_qemu(struct desktop *d, struct err *err)
{
	int r = 0;

	pthread_mutex_lock(&d->lock);
	if (d->facts.gone || !d->qmp)
		r = err_say(err, ESRCH, "desktop %s has no QEMU: %s", d->record.desktop,
			    d->reason[0] ? d->reason : "it has not started yet");
	pthread_mutex_unlock(&d->lock);
	return r;
}
