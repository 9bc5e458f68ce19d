#include "hypervisor/desktop_watch.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/io.h"
#include "common/log.h"
#include "common/unix_socket.h"
#include "hypervisor/fill.h"
#include "hypervisor/quarantine.h"

enum {
	TICK_MS = 1000,      /* fill progress, lost wake-ups */
	IO_RETRY_MS = 10000, /* how often a stopped disk operation is tried again */
	CONNECT_POLL_MS = 10,
};

/* ---- what QEMU says (its reader thread: note it, wake, return) ------------------------------------------------ */

static void on_stop(struct desktop *d, const json_t *data, uint64_t time_us)
{
	(void)data;
	d->stop_us = time_us;
}

static void on_resume(struct desktop *d, const json_t *data, uint64_t time_us)
{
	(void)data;
	d->resume_us = time_us;
}

static void on_io_error(struct desktop *d, const json_t *data, uint64_t time_us)
{
	const char *action = json_string_value(json_object_get(data, "action"));
	const char *operation = json_string_value(json_object_get(data, "operation"));
	const char *node = json_string_value(json_object_get(data, "node-name"));
	const char *text = json_string_value(json_object_get(data, "reason"));

	(void)time_us;
	if (!action || strcmp(action, "stop") != 0)
		return;
	d->io_errors++;
	snprintf(d->reason, sizeof(d->reason), "%s of %s failed: %.160s",
		 operation ? operation : "an operation", node && node[0] ? node : "a disk",
		 text ? text : "unknown");
}

static void on_export_deleted(struct desktop *d, const json_t *data, uint64_t time_us)
{
	(void)data;
	(void)time_us;
	d->exports_deleted++;
}

static const struct {
	const char *event;
	void (*note)(struct desktop *d, const json_t *data, uint64_t time_us);
} notes[] = {
	{ "STOP", on_stop },
	{ "RESUME", on_resume },
	{ "BLOCK_IO_ERROR", on_io_error },
	{ "BLOCK_EXPORT_DELETED", on_export_deleted },
};

static void on_event(void *arg, const char *name, const json_t *data, uint64_t time_us)
{
	struct desktop *d = arg;

	pthread_mutex_lock(&d->lock);
	for (size_t i = 0; i < ARRAY_LEN(notes); i++) {
		if (strcmp(notes[i].event, name) == 0)
			notes[i].note(d, data, time_us);
	}
	d->refresh = true;
	pthread_cond_broadcast(&d->changed);
	pthread_mutex_unlock(&d->lock);
	desktop_wake(d);
}

static void on_closed(void *arg)
{
	desktop_wake(arg);
}

int desktop_watch_connect(struct desktop *d, int timeout_ms, struct err *err)
{
	const struct qmp_handlers handlers = { .event = on_event, .closed = on_closed, .arg = d };
	CLEANUP_FREE char *path = io_printf("%s/%s", d->folder, MACHINE_QMP_SOCKET);
	uint64_t end = clock_now_ms() + (uint64_t)timeout_ms;
	struct pollfd ended = { .fd = d->pidfd, .events = POLLIN };
	int fd;

	if (!path)
		return err_set(err, ENOMEM, "connect to QEMU");
	/* QEMU makes the socket some time after it was started. */
	while ((fd = unix_socket_connect(path, err)) < 0) {
		if (poll(&ended, 1, 0) > 0)
			return err_say(err, ESRCH, "QEMU ended at once");
		if ((fd != -ENOENT && fd != -ECONNREFUSED) || clock_now_ms() >= end)
			return fd;
		clock_sleep_ms(CONNECT_POLL_MS);
	}
	return qmp_open(&d->qmp, fd, &handlers, err);
}

/* ---- asking QEMU --------------------------------------------------------------------------------------------- */

static int ask_text(struct desktop *d, const char *command, const char *key, char *out, size_t len)
{
	CLEANUP(json_decref) json_t *reply = NULL;
	const char *text;
	int r = qmp_run(d->qmp, command, NULL, &reply, NULL);

	if (r < 0)
		return r;
	text = json_string_value(json_object_get(reply, key));
	snprintf(out, len, "%s", text ? text : "");
	return 0;
}

/* Its memory has arrived: postcopy off, or a capture of this QEMU would be refused. */
static void end_arrival(struct desktop *d)
{
	json_t *off = json_pack("{s:[{s:s, s:b}]}", "capabilities", "capability", "postcopy-ram",
				"state", 0);
	struct err err = { .code = 0 };
	int r = qmp_run(d->qmp, "migrate-set-capabilities", off, NULL, &err);

	if (r < 0)
		log_warning("%s desktop=%s", err_text(&err), d->record.desktop);
	pthread_mutex_lock(&d->lock);
	d->record.arriving = false;
	d->facts.postcopy_paused = false;
	r = desktop_save(d, &err);
	pthread_mutex_unlock(&d->lock);
	if (r < 0)
		log_error("%s desktop=%s", err_text(&err), d->record.desktop);
	log_info("memory is complete desktop=%s", d->record.desktop);
	desktop_emit(d, "memory", json_pack("{s:s}", "memory", "local"));
}

static void follow_arrival(struct desktop *d)
{
	char status[64];

	if (ask_text(d, "query-migrate", "status", status, sizeof(status)) < 0)
		return;
	if (strcmp(status, "completed") == 0) {
		end_arrival(d);
		return;
	}
	pthread_mutex_lock(&d->lock);
	d->facts.postcopy_paused = strcmp(status, "postcopy-paused") == 0;
	pthread_mutex_unlock(&d->lock);
}

/* Ask unless a capture holds the guest: its commands must not wait behind ours. */
static void refresh(struct desktop *d)
{
	enum desktop_qemu before;
	unsigned io_errors;
	bool arriving, ask;
	char status[64];
	int r;

	pthread_mutex_lock(&d->lock);
	/* Also without a reason, once a second: QEMU's own way back from a capture may come after the event. */
	ask = !d->facts.frozen && !d->facts.gone;
	if (ask)
		d->refresh = false;
	arriving = d->record.arriving;
	io_errors = d->io_errors;
	pthread_mutex_unlock(&d->lock);
	if (!ask)
		return;
	if (arriving)
		follow_arrival(d);
	r = ask_text(d, "query-status", "status", status, sizeof(status));
	pthread_mutex_lock(&d->lock);
	before = d->facts.qemu;
	if (r == 0 && !d->facts.frozen)
		d->facts.qemu = desktop_state_parse_qemu(status);
	/* The memory stream brought the link as it was when it was taken. */
	if (before == DESKTOP_QEMU_INCOMING && d->facts.qemu != DESKTOP_QEMU_INCOMING)
		d->link_due = true;
	if (r == 0 && d->facts.qemu == DESKTOP_QEMU_BROKEN)
		snprintf(d->reason, sizeof(d->reason), "QEMU says %.60s: it cannot go on", status);
	else if (r == 0 && d->facts.qemu == DESKTOP_QEMU_RUNNING && d->io_errors == io_errors)
		d->reason[0] = '\0';
	pthread_cond_broadcast(&d->changed);
	pthread_mutex_unlock(&d->lock);
}

/* ---- telling QEMU -------------------------------------------------------------------------------------------- */

static void obey(struct desktop *d)
{
	enum desktop_wish wish;
	struct err err = { .code = 0 };
	int r;

	pthread_mutex_lock(&d->lock);
	d->facts.fenced = lease_guard_fences(&d->lease, clock_now_ms());
	wish = d->refresh ? DESKTOP_WISH_NONE : desktop_state_wish(&d->facts, d->autostart);
	pthread_mutex_unlock(&d->lock);
	if (wish == DESKTOP_WISH_NONE)
		return;
	r = qmp_run(d->qmp, wish == DESKTOP_WISH_STOP ? "stop" : "cont", NULL, NULL, &err);
	if (r < 0)
		log_warning("%s desktop=%s", err_text(&err), d->record.desktop);
	pthread_mutex_lock(&d->lock);
	if (r == 0)
		d->autostart = wish == DESKTOP_WISH_CONT;
	d->refresh = true;
	pthread_mutex_unlock(&d->lock);
	/* After a refusal the next tick tries again, not at once. */
	if (r == 0)
		desktop_wake(d);
}

/* What nothing brings back is ended, so that `crashed` always means that there is no QEMU. */
static void end_broken(struct desktop *d)
{
	bool broken;

	pthread_mutex_lock(&d->lock);
	broken = d->facts.qemu == DESKTOP_QEMU_BROKEN;
	pthread_mutex_unlock(&d->lock);
	if (broken)
		process_kill(d->pidfd, QMP_TIMEOUT_MS, NULL);
}

/* A disk operation failed and the guest stands: `cont` makes QEMU try it again. */
static void retry_io(struct desktop *d, uint64_t *last_ms)
{
	bool now;

	pthread_mutex_lock(&d->lock);
	now = desktop_state_derive(&d->facts) == DESKTOP_STATE_IO_ERROR && !d->facts.paused &&
	      !d->facts.frozen && clock_now_ms() - *last_ms >= IO_RETRY_MS;
	pthread_mutex_unlock(&d->lock);
	if (!now)
		return;
	*last_ms = clock_now_ms();
	qmp_run(d->qmp, "cont", NULL, NULL, NULL);
}

/* ---- telling the agent --------------------------------------------------------------------------------------- */

static void show(struct desktop *d)
{
	enum desktop_state state;
	char reason[DESKTOP_REASON_MAX + 1];
	bool news;

	pthread_mutex_lock(&d->lock);
	state = desktop_state_derive(&d->facts);
	news = state != d->shown && !d->closing;
	d->shown = state;
	memcpy(reason, d->reason, sizeof(reason));
	pthread_cond_broadcast(&d->changed);
	pthread_mutex_unlock(&d->lock);
	if (!news)
		return;
	log_info("desktop is %s%s%s desktop=%s epoch=%llu", desktop_state_name(state),
		 reason[0] ? ": " : "", reason, d->record.desktop,
		 (unsigned long long)d->record.epoch);
	desktop_emit(d, "state",
		     json_pack("{s:I, s:s, s:s}", "epoch", (json_int_t)d->record.epoch, "state",
			       desktop_state_name(state), "reason", reason));
}

static uint64_t log_length(const struct desktop *d)
{
	CLEANUP_FREE char *path = io_printf("%s/%s", d->folder, MACHINE_SERIAL_LOG);
	struct stat st;

	return path && stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
}

/* The first byte on the serial console after the guest first ran. */
static void watch_output(struct desktop *d)
{
	uint64_t length = log_length(d), now = clock_now_ms(), ms = 0;
	bool first = false;

	pthread_mutex_lock(&d->lock);
	if (!d->resumed_ms && d->resume_us)
		d->resumed_ms = now;
	if (d->resumed_ms && !d->record.output_seen && length > 0) {
		first = true;
		ms = now - d->resumed_ms;
		d->record.output_seen = true;
		d->record.first_output_ms = ms;
		desktop_save(
			d, NULL); /* lost after a crash: then it is unknown, which status can say */
	}
	pthread_mutex_unlock(&d->lock);
	if (first)
		desktop_emit(d, "first_output", json_pack("{s:I}", "ms", (json_int_t)ms));
}

/* ---- the thread ---------------------------------------------------------------------------------------------- */

static void on_gone(struct desktop *d)
{
	char ending[PROCESS_ENDING_LEN];
	bool broken;

	process_ending(d->pidfd, ending);
	process_kill(d->pidfd, QMP_TIMEOUT_MS, NULL); /* it is dead: this reaps it */
	pthread_mutex_lock(&d->lock);
	d->facts.gone = true;
	if (!d->reason[0])
		snprintf(d->reason, sizeof(d->reason),
			 "QEMU ended%s; its last words are in %s/qemu.log", ending, d->folder);
	broken = d->capture_open && !d->closing;
	d->capture_open = false;
	pthread_cond_broadcast(&d->changed);
	pthread_mutex_unlock(&d->lock);
	if (broken)
		desktop_emit(d, "capture_broken", json_pack("{s:s}", "text", "QEMU ended"));
}

static int next_timeout(struct desktop *d)
{
	uint64_t left;

	pthread_mutex_lock(&d->lock);
	left = lease_guard_left(&d->lease, clock_now_ms());
	if (!d->lease.strict || left == 0 || left > TICK_MS)
		left = TICK_MS;
	pthread_mutex_unlock(&d->lock);
	return (int)left;
}

static void drain(int fd)
{
	char buf[4096];

	while (read(fd, buf, sizeof(buf)) > 0)
		;
}

static int watch_log(struct desktop *d)
{
	CLEANUP_FREE char *path = io_printf("%s/%s", d->folder, MACHINE_SERIAL_LOG);
	int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);

	if (fd >= 0 && path)
		inotify_add_watch(fd, path, IN_MODIFY);
	return fd;
}

static void *watch(void *arg)
{
	struct desktop *d = arg;
	CLEANUP_FD int log_fd = watch_log(d);
	struct pollfd polls[] = { { .fd = d->wake_fd, .events = POLLIN },
				  { .fd = d->pidfd, .events = POLLIN },
				  { .fd = log_fd, .events = POLLIN } };
	uint64_t retried_ms = 0, ticked_ms = 0;
	bool closing = false;

	while (!closing) {
		poll(polls, ARRAY_LEN(polls), next_timeout(d));
		drain(d->wake_fd);
		if (polls[1].revents & POLLIN) {
			on_gone(d);
			polls[1].fd = -1; /* poll(2) ignores it from now on */
		}
		refresh(d);
		quarantine_obey(d);
		obey(d);
		show(d);
		if (polls[1].fd >= 0) {
			end_broken(d);
			retry_io(d, &retried_ms);
			watch_output(d);
		}
		if (polls[2].revents & POLLIN && d->record.output_seen)
			polls[2].fd = -1; /* a chatty guest would wake us for each line */
		else
			drain(log_fd);
		if (polls[1].fd >= 0 && clock_now_ms() - ticked_ms >= TICK_MS) {
			ticked_ms = clock_now_ms();
			fill_tick(d);
		}
		pthread_mutex_lock(&d->lock);
		closing = d->closing;
		pthread_mutex_unlock(&d->lock);
	}
	return NULL;
}

int desktop_watch_start(struct desktop *d, struct err *err)
{
	int r;

	d->facts.gone = d->pidfd < 0;
	d->refresh = true;
	d->shown = DESKTOP_STATE_STARTING;
	r = pthread_create(&d->watch, NULL, watch, d);
	if (r != 0)
		return err_set(err, r, "start the watch over desktop %s", d->record.desktop);
	d->watching = true;
	return 0;
}

void desktop_watch_stop(struct desktop *d)
{
	if (!d->watching)
		return;
	pthread_mutex_lock(&d->lock);
	d->closing = true;
	pthread_mutex_unlock(&d->lock);
	desktop_wake(d);
	pthread_join(d->watch, NULL);
	d->watching = false;
}
