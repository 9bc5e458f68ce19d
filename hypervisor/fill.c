#include "hypervisor/fill.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/io.h"
#include "common/log.h"
#include "hypervisor/disks.h"

enum { COMPLAIN_MS = 30000 };

static bool all_complete(const struct desktop_record *record)
{
	for (size_t i = 0; i < record->disk_count; i++) {
		if (!record->disks[i].complete)
			return false;
	}
	return true;
}

int fill_start(struct desktop *d, struct err *err)
{
	int r = desktop_need_qemu(d, err);

	if (r < 0)
		return r;
	pthread_mutex_lock(&d->lock);
	if (!d->record.filling) {
		d->record.filling = true;
		r = desktop_save(d, err);
	}
	pthread_mutex_unlock(&d->lock);
	desktop_wake(d);
	return r;
}

/* The job of @disk among query-block-jobs' answer, borrowed; NULL: there is none. */
static const json_t *find_job(const json_t *jobs, const char *id)
{
	const json_t *job;
	size_t i;

	json_array_foreach (jobs, i, job) {
		const char *name = json_string_value(json_object_get(job, "device"));

		if (name && strcmp(name, id) == 0)
			return job;
	}
	return NULL;
}

/* A server that is away would fill the log too. */
static void complain(struct desktop *d, const char *text)
{
	uint64_t now = clock_now_ms();

	if (d->fill_complained_ms && now - d->fill_complained_ms < COMPLAIN_MS)
		return;
	d->fill_complained_ms = now;
	log_warning("filling waits: %s desktop=%s", text, d->record.desktop);
}

static void follow_job(struct desktop *d, const char *disk, const char *id, const json_t *job)
{
	const char *io_status = json_string_value(json_object_get(job, "io-status"));
	json_int_t done = json_integer_value(json_object_get(job, "offset"));
	json_int_t total = json_integer_value(json_object_get(job, "len"));

	if (io_status && strcmp(io_status, "ok") != 0) {
		complain(d, "the snapshot server does not answer");
		qmp_run(d->qmp, "block-job-resume", json_pack("{s:s}", "device", id), NULL, NULL);
	}
	desktop_emit(d, "fill",
		     json_pack("{s:s, s:I, s:I}", "disk", disk, "done", done, "total", total));
}

static int start_job(struct desktop *d, const char *disk, const char *id, struct err *err)
{
	return qmp_run(d->qmp, "block-stream",
		       json_pack("{s:s, s:s, s:s, s:I}", "job-id", id, "device", disk, "on-error",
				 "stop", "speed", (json_int_t)d->hypervisor->config.fill_speed),
		       NULL, err);
}

/* Nothing reads the backing any more: drop it, and write down that this disk stands alone. */
static int finish(struct desktop *d, struct machine_disk *disk, struct err *err)
{
	CLEANUP_FREE char *backing = io_printf("%s-backing", disk->name);
	int r;

	if (!backing)
		return err_set(err, ENOMEM, "finish %s", disk->name);
	r = qmp_run(d->qmp, "blockdev-del", json_pack("{s:s}", "node-name", backing), NULL, err);
	if (r < 0)
		return r;
	pthread_mutex_lock(&d->lock);
	disk->complete = true;
	r = desktop_save(d, err);
	pthread_mutex_unlock(&d->lock);
	log_info("disk is complete desktop=%s disk=%s", d->record.desktop, disk->name);
	return r;
}

static int tick_disk(struct desktop *d, struct machine_disk *disk, const json_t *jobs,
		     struct err *err)
{
	CLEANUP_FREE char *id = io_printf("fill-%s", disk->name);
	struct disks_node node;
	const json_t *job;
	int r;

	if (!id)
		return err_set(err, ENOMEM, "fill %s", disk->name);
	job = find_job(jobs, id);
	if (job) {
		follow_job(d, disk->name, id, job);
		return 0;
	}
	r = disks_look(d->qmp, disk->name, NULL, &node, err);
	if (r < 0)
		return r;
	if (!node.has_backing)
		return finish(d, disk, err);
	/* The job puts a filter above the disk, a capture too: one after the other. */
	return d->capture_open ? 0 : start_job(d, disk->name, id, err);
}

static int tick(struct desktop *d, struct err *err)
{
	CLEANUP(json_decref) json_t *jobs = NULL;
	int r = qmp_run(d->qmp, "query-block-jobs", NULL, &jobs, err);

	for (size_t i = 0; r == 0 && i < d->record.disk_count; i++) {
		if (!d->record.disks[i].complete)
			r = tick_disk(d, &d->record.disks[i], jobs, err);
	}
	return r;
}

void fill_tick(struct desktop *d)
{
	struct err err = { .code = 0 };
	bool wanted, filled;

	pthread_mutex_lock(&d->lock);
	wanted = d->record.filling && !d->facts.frozen && d->facts.qemu != DESKTOP_QEMU_INCOMING &&
		 !all_complete(&d->record);
	pthread_mutex_unlock(&d->lock);
	if (!wanted || desktop_claim(d, "fill", 0, NULL) < 0)
		return;
	if (tick(d, &err) < 0)
		complain(d, err_text(&err));
	pthread_mutex_lock(&d->lock);
	filled = all_complete(&d->record);
	pthread_mutex_unlock(&d->lock);
	desktop_release(d);
	if (filled)
		desktop_emit(d, "filled", NULL);
}
