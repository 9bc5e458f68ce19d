#include "hypervisor/desktop_capture.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/io.h"
#include "common/log.h"
#include "hypervisor/capture_memory.h"
#include "hypervisor/capture_nodes.h"
#include "hypervisor/collapse.h"
#include "hypervisor/spool.h"

enum {
	CLAIM_WAIT_MS = 5000,
	END_WAIT_MS = 60000, /* an end has to happen, whatever else goes on */
	SETTLE_MS = 30000,
	REFUSED_MS =
		1000, /* for the other replies, when one of a batch was a refusal or the limit is over */
};

struct capture {
	struct desktop *d;
	const struct desktop_capture_order *order;
	struct capture_nodes nodes;
	bool live;    /* the guest runs while its memory is taken */
	bool go_on;   /* the guest ran and has to run again after the instant */
	bool tracked; /* the bitmaps of record.snapshot are good */
	char reason[256];
	struct spool *spool;
	int memfd;
	uint64_t memory_bytes;
};

static struct capture_nodes nodes_of(struct desktop *d)
{
	const char *fleece = d->hypervisor->config.fleece_folder;

	return (struct capture_nodes){ .qmp = d->qmp,
				       .record = &d->record,
				       .folder = d->folder,
				       .fleece_folder = fleece && fleece[0] ? fleece : d->folder,
				       .cbw_ms = d->hypervisor->config.cbw_ms };
}

/* ---- stage: may it be done? ---------------------------------------------------------------------------------- */

/* A block-stream job keeps a disk open, and a plain migration wants to close it. */
static bool filling(struct desktop *d)
{
	bool busy = false;

	pthread_mutex_lock(&d->lock);
	for (size_t i = 0; i < d->record.disk_count; i++)
		busy |= d->record.filling && !d->record.disks[i].complete;
	pthread_mutex_unlock(&d->lock);
	return busy;
}

static int check(struct capture *c, struct err *err)
{
	struct desktop *d = c->d;
	enum desktop_state state;
	bool arriving, open;

	pthread_mutex_lock(&d->lock);
	state = desktop_state_derive(&d->facts);
	arriving = d->record.arriving;
	open = d->capture_open;
	pthread_mutex_unlock(&d->lock);
	if (open)
		return err_say(err, EBUSY, "a capture of desktop %s is open", d->record.desktop);
	if (state == DESKTOP_STATE_STARTING || state == DESKTOP_STATE_INCOMING ||
	    state == DESKTOP_STATE_CRASHED)
		return err_say(err, EINVAL, "desktop %s is %s: its disks cannot be captured now",
			       d->record.desktop, desktop_state_name(state));
	if (!c->order->memory)
		return 0;
	if (state == DESKTOP_STATE_OFF || state == DESKTOP_STATE_POSTCOPY_PAUSED || arriving)
		return err_say(err, EINVAL, "desktop %s %s: its memory cannot be captured",
			       d->record.desktop,
			       state == DESKTOP_STATE_OFF ? "is off"
							  : "has not all of its memory yet");
	if (!c->live && filling(d))
		return err_say(err, EBUSY,
			       "desktop %s: without live capture the memory can be captured when "
			       "every disk is complete",
			       d->record.desktop);
	return capture_memory_affordable(d->record.process.pid, err);
}

/* ---- stage: make the instant short --------------------------------------------------------------------------- */

static int collapse(struct capture *c, struct err *err)
{
	struct collapse_result result;
	struct err why = { .code = 0 };

	(void)err;
	if (!c->d->hypervisor->config.collapse || !c->live)
		return 0;
	if (collapse_process(c->d->record.process.pid, c->d->pidfd, &result, &why) < 0)
		log_info("the pause may be longer: %s desktop=%s", err_text(&why),
			 c->d->record.desktop);
	else
		log_debug("collapsed %u of %u ranges desktop=%s", result.collapsed, result.ranges,
			  c->d->record.desktop);
	return 0;
}

/* ---- stage: everything that can be made ready ----------------------------------------------------------------- */

/* A guest that stands still while its memory is written: a plain migration, which refuses disks with filters. */
static bool stands_still(const struct capture *c)
{
	return c->order->memory && !c->live;
}

static int prepare_disks(struct capture *c, struct err *err)
{
	int r = c->d->capture_left ? desktop_capture_clean_up(c->d, err) : 0;

	if (r == 0)
		r = capture_nodes_tracked(&c->nodes, &c->tracked, c->reason, sizeof(c->reason),
					  err);
	return r < 0 || stands_still(c) ? r : capture_nodes_prepare(&c->nodes, err);
}

/* The reader saw the first page: all of memory is write-protected. Its thread tells QEMU itself: no time to lose. */
static void on_instant(void *arg)
{
	const struct capture *c = arg;

	if (c->live && c->go_on)
		qmp_tell(c->d->qmp, "cont");
}

static int prepare_memory(struct capture *c, struct err *err)
{
	CLEANUP_FD int qemu_end = -1;
	int pair[2], r;

	if (!c->order->memory)
		return 0;
	r = capture_memory_configure(c->d->qmp, c->live, err);
	if (r < 0)
		return r;
	/* With a pipe, a cancelled migration would hang until its reader is dead. */
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return err_set(err, errno, "make a socket for the memory stream");
	qemu_end = pair[1];
	r = spool_start(&c->spool, pair[0], on_instant, c, err);
	if (r < 0)
		return r;
	return qmp_run_fd(c->d->qmp, "getfd", json_pack("{s:s}", "fdname", "memory"), qemu_end,
			  err);
}

/* ---- stage: the instant --------------------------------------------------------------------------------------- */

static int post_instant(struct capture *c, struct qmp_batch *batch, struct err *err)
{
	struct qmp_command commands[MACHINE_DISKS_MAX + 3];
	size_t n = 0;

	commands[n++] = (struct qmp_command){ .name = "stop" };
	for (size_t i = 0; !stands_still(c) && i < c->d->record.disk_count; i++)
		commands[n++] = capture_nodes_switch(&c->nodes, i);
	if (c->order->memory)
		commands[n++] =
			(struct qmp_command){ .name = "migrate",
					      .arguments = json_pack("{s:s}", "uri", "fd:memory") };
	else if (c->go_on)
		commands[n++] = (struct qmp_command){ .name = "cont" };
	return qmp_post(c->d->qmp, commands, n, batch, err);
}

/* Until the reader saw the instant, a command was refused, or the limit is over. Return 0 for "collect and see". */
static int await_instant(struct capture *c, struct qmp_batch *batch, struct err *err)
{
	uint64_t end = clock_now_ms() + c->d->hypervisor->config.instant_ms;
	struct pollfd polls[] = { { .fd = spool_wake_fd(c->spool), .events = POLLIN },
				  { .fd = batch->wake_fd, .events = POLLIN } };

	while (spool_look(c->spool) == 0) {
		uint64_t now = clock_now_ms();

		if (now >= end)
			return err_say(err, ETIMEDOUT,
				       "the guest's memory was not frozen within %llu ms "
				       "([capture] instant_limit)",
				       (unsigned long long)c->d->hypervisor->config.instant_ms);
		poll(polls, ARRAY_LEN(polls), (int)(end - now));
		if (polls[1].revents & POLLIN) {
			/* All replies are in, or one is a refusal: only in the latter case there is nothing to wait for. */
			int r = qmp_collect(c->d->qmp, batch, REFUSED_MS, err);

			if (r < 0)
				return r;
			polls[1].fd = -1;
		}
	}
	if (spool_look(c->spool) == SPOOL_ENDED)
		return err_say(err, EIO, "QEMU ended the memory stream before its first page");
	return 0;
}

static int take_instant(struct capture *c, struct err *err)
{
	struct qmp_batch batch;
	int r, collected;

	r = post_instant(c, &batch, err);
	if (r < 0)
		return r;
	if (c->order->memory)
		r = await_instant(c, &batch, err);
	collected = qmp_collect(c->d->qmp, &batch, r < 0 ? REFUSED_MS : QMP_TIMEOUT_MS,
				r < 0 ? NULL : err);
	return r < 0 ? r : collected;
}

static void freeze(struct capture *c)
{
	struct desktop *d = c->d;

	pthread_mutex_lock(&d->lock);
	d->facts.frozen = true;
	c->go_on = d->facts.qemu == DESKTOP_QEMU_RUNNING && !d->facts.paused && !d->facts.fenced &&
		   !c->order->hold;
	d->stop_us = d->resume_us = 0;
	pthread_mutex_unlock(&d->lock);
}

/* From here on the watch thread sees to it that the guest runs (QEMU may have missed our `cont`). */
static void thaw(struct desktop *d, bool hold)
{
	pthread_mutex_lock(&d->lock);
	d->facts.frozen = false;
	if (hold)
		d->facts.paused = d->capture_hold = true;
	d->refresh = true;
	pthread_cond_broadcast(&d->changed);
	pthread_mutex_unlock(&d->lock);
	desktop_wake(d);
}

/* No capture keeps the guest where it is any more: it goes on unless a person paused it. */
static void let_go(struct desktop *d)
{
	pthread_mutex_lock(&d->lock);
	if (d->capture_hold || d->capture_held)
		d->facts.paused = d->record.paused;
	d->capture_hold = d->capture_held = false;
	pthread_mutex_unlock(&d->lock);
	desktop_wake(d);
}

static int instant(struct capture *c, struct err *err)
{
	int r;

	freeze(c);
	r = take_instant(c, err);
	if (r < 0 || !stands_still(c))
		thaw(c->d, r == 0 && c->order->hold);
	return r;
}

/* ---- stage: what can be read afterwards ------------------------------------------------------------------------ */

static int export_disks(struct capture *c, struct err *err)
{
	return stands_still(c) ? 0 : capture_nodes_export(&c->nodes, c->tracked, err);
}

/* The guest still stands where its memory was taken, so this is the same instant. */
static int freeze_disks_now(struct capture *c, struct err *err)
{
	/* A plain migration leaves the disks inactive; `cont` would activate them, but a held guest gets none. */
	int r = qmp_run(c->d->qmp, "blockdev-set-active", json_pack("{s:b}", "active", 1), NULL,
			err);

	if (r == 0)
		r = capture_nodes_prepare(&c->nodes, err);
	for (size_t i = 0; r == 0 && i < c->d->record.disk_count; i++) {
		struct qmp_command command = capture_nodes_switch(&c->nodes, i);

		r = qmp_run(c->d->qmp, command.name, command.arguments, NULL, err);
	}
	return r < 0 ? r : capture_nodes_export(&c->nodes, c->tracked, err);
}

static int finish_memory(struct capture *c, struct err *err)
{
	int r;

	if (!c->order->memory)
		return 0;
	r = spool_finish(c->spool, (int)c->d->hypervisor->config.memory_ms, &c->memfd,
			 &c->memory_bytes, err);
	if (r == 0)
		r = capture_memory_completed(c->d->qmp, err);
	if (r < 0 || c->live)
		return r;
	r = freeze_disks_now(c, err);
	thaw(c->d, r == 0 && c->order->hold);
	return r < 0 ? r : desktop_settle(c->d, SETTLE_MS, err);
}

/* ---- stage: the pause is over ---------------------------------------------------------------------------------- */

static int confirm(struct capture *c, struct err *err)
{
	if (stands_still(c))
		return 0;
	return desktop_settle(c->d, SETTLE_MS, err);
}

static json_t *disks_reply(const struct capture *c)
{
	const struct desktop *d = c->d;
	CLEANUP_FREE char *socket = io_printf("%s/%s", d->folder, MACHINE_NBD_SOCKET);
	json_t *array = json_array();

	for (size_t i = 0; socket && i < d->record.disk_count; i++) {
		const struct machine_disk *disk = &d->record.disks[i];

		json_array_append_new(array,
				      json_pack("{s:s, s:I, s:s, s:s, s:s}", "name", disk->name,
						"size", (json_int_t)disk->size, "socket", socket,
						"export", disk->name, "bitmap",
						c->tracked ? d->record.snapshot : ""));
	}
	return array;
}

static json_t *reply_of(const struct capture *c)
{
	struct desktop *d = c->d;
	double pause_ms;

	pthread_mutex_lock(&d->lock);
	pause_ms = d->stop_us && d->resume_us > d->stop_us
			   ? (double)(d->resume_us - d->stop_us) / 1000.0
			   : 0;
	pthread_mutex_unlock(&d->lock);
	return json_pack("{s:f, s:s, s:s, s:o, s:b, s:I, s:o}", "pause_ms", pause_ms, "parent",
			 c->tracked ? d->record.snapshot : "", "reason", c->reason, "machine",
			 machine_json(&d->record.machine), "live", c->live, "memory_bytes",
			 (json_int_t)c->memory_bytes, "disks", disks_reply(c));
}

/* ---- the whole ------------------------------------------------------------------------------------------------- */

static const struct {
	const char *name;
	int (*run)(struct capture *c, struct err *err);
} stages[] = {
	{ "check", check },
	{ "collapse the memory", collapse },
	{ "prepare the disks", prepare_disks },
	{ "prepare the memory", prepare_memory },
	{ "freeze", instant },
	{ "go on", confirm },
	{ "export the disks", export_disks },
	{ "take the memory", finish_memory },
};

static int run_stages(struct capture *c, size_t *failed, struct err *err)
{
	for (size_t i = 0; i < ARRAY_LEN(stages); i++) {
		uint64_t begin = clock_now_us();
		int r = stages[i].run(c, err);

		log_debug("capture: %s took %.1f ms desktop=%s", stages[i].name,
			  (double)(clock_now_us() - begin) / 1000.0, c->d->record.desktop);
		if (r < 0) {
			*failed = i;
			return err_wrap(err, r, "capture of %s, %s", c->d->record.desktop,
					stages[i].name);
		}
	}
	return 0;
}

static void open_capture(struct capture *c)
{
	struct desktop *d = c->d;

	pthread_mutex_lock(&d->lock);
	d->capture_open = true;
	d->capture_owner = c->order->owner;
	pthread_mutex_unlock(&d->lock);
}

int desktop_capture_begin(struct desktop *d, const struct desktop_capture_order *order,
			  json_t **reply, int *memfd, struct err *err)
{
	struct capture c = { .d = d, .order = order, .memfd = -1 };
	size_t failed = 0;
	int r;

	r = desktop_need_qemu(d, err);
	if (r == 0)
		r = desktop_claim(d, "a capture", CLAIM_WAIT_MS, err);
	if (r < 0)
		return r;
	c.nodes = nodes_of(d);
	c.live = order->memory && d->hypervisor->config.live && d->hypervisor->probe.live_capture;
	r = run_stages(&c, &failed, err);
	if (r == 0) {
		*reply = reply_of(&c);
		open_capture(&c);
		*memfd = TAKE_FD(c.memfd);
	} else if (failed > 0) {
		struct err worse = { .code = 0 };

		log_warning("%s desktop=%s", err_text(err), d->record.desktop);
		/* While it is cancelled the stream has to be read on, so the spool goes last. */
		if (desktop_capture_clean_up(d, &worse) < 0)
			log_error("capture is not undone: %s desktop=%s", err_text(&worse),
				  d->record.desktop);
		if (order->hold)
			let_go(d);
	}
	spool_free(c.spool);
	base_close(c.memfd);
	desktop_release(d);
	return r;
}

int desktop_capture_clean_up(struct desktop *d, struct err *err)
{
	struct capture_nodes nodes = nodes_of(d);
	int cancelled = 0, r;

	/* A QEMU whose own memory is arriving has a migration that is none of ours, and disks that must wait for it. */
	if (!d->record.arriving) {
		cancelled = capture_memory_cancel(d->qmp, err);
		qmp_run(d->qmp, "blockdev-set-active", json_pack("{s:b}", "active", 1), NULL, NULL);
	}
	thaw(d, false);
	r = capture_nodes_remove(&nodes, cancelled < 0 ? NULL : err);
	if (r == 0)
		r = capture_nodes_roll_back(&nodes, cancelled < 0 ? NULL : err);
	if (r == 0)
		r = cancelled;
	d->capture_left = r < 0;
	return cancelled < 0 ? cancelled : r;
}

/* stay: a guest that this capture held stands on until its desktop leaves, for what it wrote would be lost. */
static void close_capture(struct desktop *d, bool stay)
{
	bool held;

	pthread_mutex_lock(&d->lock);
	d->capture_open = false;
	d->capture_owner = NULL;
	held = d->capture_hold;
	if (stay && held) {
		d->capture_held = true;
		d->capture_hold = false;
	}
	pthread_mutex_unlock(&d->lock);
	if (held && !stay)
		let_go(d);
	else
		desktop_wake(d);
}

static int commit(struct desktop *d, const struct capture_nodes *nodes, const char *snapshot,
		  struct err *err)
{
	int r = capture_nodes_commit(nodes, snapshot, err);

	if (r < 0)
		return r;
	pthread_mutex_lock(&d->lock);
	snprintf(d->record.snapshot, sizeof(d->record.snapshot), "%s", snapshot);
	r = desktop_save(d, err);
	pthread_mutex_unlock(&d->lock);
	return r;
}

static int end(struct desktop *d, const char *snapshot, struct err *err)
{
	struct capture_nodes nodes = nodes_of(d);
	bool open, held;
	int r;

	pthread_mutex_lock(&d->lock);
	open = d->capture_open;
	held = d->capture_held;
	pthread_mutex_unlock(&d->lock);
	/* Its agent heard too late of the good end, and does not go on from there. */
	if (!open && held && !snapshot) {
		let_go(d);
		return 0;
	}
	if (!open)
		return err_say(err, EINVAL, "no capture of desktop %s is open", d->record.desktop);
	if (snapshot && strcmp(snapshot, d->record.snapshot) == 0)
		return err_say(err, EINVAL, "%s is the snapshot before this one", snapshot);
	r = capture_nodes_remove(&nodes, err);
	if (r == 0 && snapshot)
		r = commit(d, &nodes, snapshot, err);
	else if (r == 0)
		r = capture_nodes_roll_back(&nodes, err);
	d->capture_left = r < 0;
	/* Whoever asked takes a failure for "the guest goes on", so it has to. */
	close_capture(d, snapshot && r == 0);
	return r < 0 ? err_wrap(err, r, "end the capture of %s", d->record.desktop) : 0;
}

int desktop_capture_end(struct desktop *d, const char *snapshot, struct err *err)
{
	int r = desktop_claim(d, "the end of a capture", END_WAIT_MS, err);

	if (r < 0)
		return r;
	r = end(d, snapshot, err);
	desktop_release(d);
	return r;
}

void desktop_capture_abandon(struct hypervisor *hypervisor, const void *owner)
{
	for (;;) {
		CLEANUP(desktop_unref) struct desktop *mine = NULL;
		struct err err = { .code = 0 };

		pthread_mutex_lock(&hypervisor->lock);
		for (struct desktop *d = hypervisor->desktops; d && !mine; d = d->next) {
			pthread_mutex_lock(&d->lock);
			if (d->capture_open && d->capture_owner == owner) {
				d->refs++;
				mine = d;
			}
			pthread_mutex_unlock(&d->lock);
		}
		pthread_mutex_unlock(&hypervisor->lock);
		if (!mine)
			return;
		log_warning("a capture ends because its agent went away desktop=%s",
			    mine->record.desktop);
		if (desktop_capture_end(mine, NULL, &err) < 0)
			log_error("%s desktop=%s", err_text(&err), mine->record.desktop);
		pthread_mutex_lock(&mine->lock);
		mine->capture_owner = NULL; /* whatever happened, do not come back to it */
		pthread_mutex_unlock(&mine->lock);
	}
}
