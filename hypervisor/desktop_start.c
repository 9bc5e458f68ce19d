#include "hypervisor/desktop_start.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/io.h"
#include "common/log.h"
#include "hypervisor/desktop_capture.h"
#include "hypervisor/desktop_watch.h"
#include "hypervisor/disks.h"
#include "hypervisor/guard.h"
#include "hypervisor/quarantine.h"

enum {
	CONNECT_TIMEOUT_MS = 60000, /* QEMU opens its disks first: the NBD server may be slow */
	SETTLE_TIMEOUT_MS = 30000,
	KILL_TIMEOUT_MS = 10000,
	LOG_TAIL = 600,
	DELETE_TRIES = 5,
};

static int empty_folder(const char *folder)
{
	DIR *dir = opendir(folder);
	struct dirent *entry;

	if (!dir)
		return -errno;
	while ((entry = readdir(dir)))
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			unlinkat(dirfd(dir), entry->d_name, 0);
	closedir(dir);
	return 0;
}

int desktop_start_delete_folder(const char *folder, struct err *err)
{
	int r;

	/* A lease that is being renewed just now may put its file back once or twice. */
	for (int i = 0; i < DELETE_TRIES; i++) {
		r = empty_folder(folder);
		if (r == 0 && rmdir(folder) < 0)
			r = -errno;
		if (r != -ENOTEMPTY)
			break;
	}
	return r == 0 || r == -ENOENT ? 0 : err_set(err, -r, "delete %s", folder);
}

/* ---- the pieces of a start, in their order -------------------------------------------------------------------- */

static void complete_machine(struct machine *m, const struct probe *probe)
{
	if (!m->type[0])
		snprintf(m->type, sizeof(m->type), "%.63s", probe->machine_type);
	if (!m->cpu[0])
		snprintf(m->cpu, sizeof(m->cpu), "%s", machine_default_cpu(probe->accelerator));
}

static int save_lease(struct desktop *d, struct err *err)
{
	CLEANUP_FREE char *path = io_printf("%s/lease", d->folder);

	if (!path)
		return err_set(err, ENOMEM, "save the lease");
	return lease_guard_save(&d->lease, path, d->hypervisor->boot_id, err);
}

static int make_folder(struct desktop *d, const struct desktop_start *order, struct err *err)
{
	CLEANUP_FREE char *log = io_printf("%s/%s", d->folder, MACHINE_SERIAL_LOG);
	CLEANUP_FD int log_fd = -1;
	int r;

	if (!log)
		return err_set(err, ENOMEM, "make %s", d->folder);
	if (mkdir(d->folder, 0700) < 0)
		return err_set(err, errno, "make %s", d->folder);
	r = desktop_save(d, err);
	if (r == 0)
		r = save_lease(d, err);
	for (size_t i = 0; r == 0 && i < order->disk_count; i++)
		r = disks_create(&order->disks[i].disk, d->folder, order->disks[i].socket,
				 d->hypervisor->config.qemu_img, err);
	if (r < 0)
		return r;
	/* QEMU would make it, but the watch over it begins before. */
	log_fd = open(log, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	return log_fd < 0 ? err_set(err, errno, "create %s", log) : 0;
}

static int record_child(void *arg, const struct process *child, struct err *err)
{
	struct desktop *d = arg;

	d->record.process = *child;
	memcpy(d->record.boot_id, d->hypervisor->boot_id, sizeof(d->record.boot_id));
	return desktop_save(d, err);
}

static int spawn_qemu(struct desktop *d, bool incoming, struct err *err)
{
	const struct machine_order machine = {
		.desktop = d->record.desktop,
		.machine = &d->record.machine,
		.disks = d->record.disks,
		.disk_count = d->record.disk_count,
		.qemu = d->hypervisor->config.qemu,
		.accelerator = d->hypervisor->probe.accelerator,
		.incoming = incoming,
		.reconnect_s = d->hypervisor->config.reconnect_ms / 1000,
	};
	CLEANUP_FREE char *log = io_printf("%s/qemu.log", d->folder);
	CLEANUP_FD int folder_fd = open(d->folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
	CLEANUP_FD int log_fd =
		log ? open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;
	CLEANUP(machine_command_free) char **argv = NULL;
	struct process_spawn spawn = {
		.folder_fd = folder_fd, .log_fd = log_fd, .record = record_child, .arg = d
	};
	int r;

	if (folder_fd < 0 || log_fd < 0)
		return err_set(err, errno, "start QEMU in %s", d->folder);
	r = machine_command(&machine, &argv, err);
	if (r < 0)
		return r;
	spawn.argv = argv;
	return process_spawn(&spawn, &d->record.process, &d->pidfd, err);
}

/* Why QEMU ended, in its own words, behind @err's text. */
static int add_last_words(const struct desktop *d, int r, struct err *err)
{
	CLEANUP_FREE char *path = io_printf("%s/qemu.log", d->folder);
	CLEANUP_FREE uint8_t *text = NULL;
	const char *tail;
	size_t len;

	if (!path || io_read_file(path, 1 << 20, &text, &len, NULL) < 0 || len == 0)
		return r;
	while (len > 0 && text[len - 1] == '\n')
		text[--len] = '\0';
	tail = (const char *)text + (len > LOG_TAIL ? len - LOG_TAIL : 0);
	return err_wrap(err, r, "QEMU says \"%s\"", tail);
}

static int track_changes(struct desktop *d, struct err *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && d->record.snapshot[0] && i < d->record.disk_count; i++)
		r = disks_add_bitmap(d->qmp, d->record.disks[i].name, d->record.snapshot, err);
	return r;
}

static int expect_memory(struct desktop *d, struct err *err)
{
	json_t *capabilities =
		json_pack("{s:[{s:s, s:b}, {s:s, s:b}]}", "capabilities", "capability",
			  "postcopy-ram", "state", 1, "capability", "events", "state", 1);
	int r = qmp_run(d->qmp, "migrate-set-capabilities", capabilities, NULL, err);

	if (r < 0)
		return r;
	return qmp_run(d->qmp, "migrate-incoming",
		       json_pack("{s:s}", "uri", "unix:" MACHINE_MEMORY_SOCKET), NULL, err);
}

/* Everything up to the guest's first instruction. */
static int bring_up(struct desktop *d, const struct desktop_start *order, struct err *err)
{
	int r = spawn_qemu(d, order->incoming, err);

	if (r < 0)
		return r;
	r = desktop_watch_connect(d, CONNECT_TIMEOUT_MS, err);
	/* It begins with its processors stopped: guarded before it can run. */
	if (r == 0 && d->lease.strict)
		r = guard_start(d->folder, &d->record.process, err);
	if (r == 0)
		r = quarantine_begin(d, err);
	if (r == 0)
		r = track_changes(d, err);
	if (r == 0 && order->incoming)
		r = expect_memory(d, err);
	if (r < 0)
		return add_last_words(d, r, err);
	d->record.started = true;
	return desktop_save(d, err);
}

static void undo(struct desktop *d)
{
	if (d->pidfd >= 0)
		process_kill(d->pidfd, KILL_TIMEOUT_MS, NULL);
	desktop_watch_stop(d);
	hypervisor_remove(d->hypervisor, d);
	desktop_start_delete_folder(d->folder, NULL);
}

static void fill_record(struct desktop *d, const struct desktop_start *order)
{
	struct desktop_record *rec = &d->record;

	rec->epoch = order->epoch;
	rec->machine = order->machine;
	complete_machine(&rec->machine, &d->hypervisor->probe);
	snprintf(rec->snapshot, sizeof(rec->snapshot), "%s", order->snapshot);
	for (size_t i = 0; i < order->disk_count; i++)
		rec->disks[i] = order->disks[i].disk;
	rec->disk_count = order->disk_count;
	rec->arriving = order->incoming;
	rec->quarantined = order->quarantined;
	d->facts.starting = true;
	d->lease.strict = order->strict;
	lease_guard_renew(&d->lease, clock_now_ms(), order->ttl_ms);
}

/* Its name is taken: is it the same run? */
static int refuse(struct hypervisor *hypervisor, const struct desktop_start *order, struct err *err)
{
	CLEANUP(desktop_unref) struct desktop *other = NULL;

	if (hypervisor_find(hypervisor, order->desktop, &other, NULL) < 0 ||
	    other->record.epoch == order->epoch)
		return err_say(err, EEXIST, "desktop %s is here already", order->desktop);
	return err_say(err, ESTALE,
		       "desktop %s is here under epoch %llu, not %llu: discard or orphan it first",
		       order->desktop, (unsigned long long)other->record.epoch,
		       (unsigned long long)order->epoch);
}

int desktop_start(struct hypervisor *hypervisor, const struct desktop_start *order,
		  struct desktop **out, struct err *err)
{
	CLEANUP(desktop_unref) struct desktop *d = NULL;
	int r;

	r = desktop_new(&d, hypervisor, order->desktop, err);
	if (r < 0)
		return r;
	fill_record(d, order);
	d->busy = "start";
	r = hypervisor_add(hypervisor, desktop_ref(d), NULL);
	if (r < 0) {
		desktop_unref(d);
		return refuse(hypervisor, order, err);
	}
	r = make_folder(d, order, err);
	if (r == 0)
		r = bring_up(d, order, err);
	if (r == 0) {
		d->facts.starting = false;
		d->facts.qemu = order->incoming ? DESKTOP_QEMU_INCOMING : DESKTOP_QEMU_STOPPED;
		r = desktop_watch_start(d, err);
	}
	if (r == 0)
		r = desktop_settle(d, SETTLE_TIMEOUT_MS, err);
	if (r < 0) {
		undo(d);
		return err_wrap(err, r, "start desktop %s", order->desktop);
	}
	desktop_release(d);
	*out = TAKE(d);
	return 0;
}

/* ---- after a restart of the hypervisor ------------------------------------------------------------------------ */

/* Its right to run may have ended while no hypervisor ran: before anything that takes time. */
static void fence_first(struct desktop *d)
{
	struct err err = { .code = 0 };

	if (lease_guard_fences(&d->lease, clock_now_ms()) &&
	    qmp_run(d->qmp, "stop", NULL, NULL, &err) < 0)
		log_warning("%s desktop=%s", err_text(&err), d->record.desktop);
}

/* A QEMU that nobody can tell to stop must not run past its lease: better none. The disks are kept. */
static int give_up_qemu(struct desktop *d, int r, struct err *err)
{
	if (!d->lease.strict)
		return r;
	log_error("QEMU cannot be told anything and is ended: %s desktop=%s", err_text(err),
		  d->record.desktop);
	r = process_kill(d->pidfd, KILL_TIMEOUT_MS, err);
	if (r < 0)
		return r;
	base_close(d->pidfd);
	d->pidfd = -1;
	snprintf(d->reason, sizeof(d->reason), "its QEMU did not answer a restarted hypervisor");
	return 0;
}

/* Of another boot the pid means nothing. */
static bool same_boot(const struct desktop *d)
{
	return strcmp(d->record.boot_id, d->hypervisor->boot_id) == 0;
}

static int attach_qemu(struct desktop *d, struct err *err)
{
	int r = PROCESS_GONE;

	if (same_boot(d))
		r = process_attach(&d->record.process, &d->pidfd, err);
	if (r == PROCESS_GONE) {
		snprintf(d->reason, sizeof(d->reason), "its QEMU ended while no hypervisor ran");
		return 0;
	}
	if (r < 0)
		return r;
	r = desktop_watch_connect(d, CONNECT_TIMEOUT_MS, err);
	if (r < 0)
		return give_up_qemu(d, r, err);
	fence_first(d);
	/* A capture that was open has lost its agent's connection. What is left of it the next capture cleans up: a
	 * desktop is taken hold of in any case, or nobody would fence it. */
	if (desktop_capture_clean_up(d, err) < 0)
		log_warning("%s desktop=%s", err_text(err), d->record.desktop);
	return 0;
}

static int load(struct desktop *d, struct err *err)
{
	CLEANUP_FREE char *lease = io_printf("%s/lease", d->folder);
	int r = desktop_record_load(&d->record, d->folder, err);

	if (r < 0 || !d->record.started)
		return r;
	if (!lease)
		return err_set(err, ENOMEM, "load %s", d->folder);
	if (lease_guard_load(&d->lease, lease, d->hypervisor->boot_id, err) < 0) {
		log_warning("%s: the lease counts as over desktop=%s", err_text(err),
			    d->record.desktop);
		d->lease = (struct lease_guard){ .strict = true };
	}
	d->facts.paused = d->record.paused;
	d->link_due = true; /* nobody knows what QEMU was told last */
	return 0;
}

/* `start` was never answered: nobody counts on it. */
static int clear_away(struct desktop *d, struct err *err)
{
	if (same_boot(d) && process_attach(&d->record.process, &d->pidfd, NULL) == 0)
		process_kill(d->pidfd, KILL_TIMEOUT_MS, NULL);
	log_info("an unfinished start is cleared away desktop=%s", d->record.desktop);
	return desktop_start_delete_folder(d->folder, err);
}

int desktop_start_guard(struct hypervisor *hypervisor, const char *name, struct err *err)
{
	CLEANUP(desktop_unref) struct desktop *d = NULL;
	int r = desktop_new(&d, hypervisor, name, err);

	if (r == 0)
		r = load(d, err);
	if (r < 0 || !d->record.started || !d->lease.strict || !same_boot(d))
		return r == -ENOENT ? 0 : r;
	return guard_start(d->folder, &d->record.process, err);
}

int desktop_start_attach(struct hypervisor *hypervisor, const char *name, struct err *err)
{
	CLEANUP(desktop_unref) struct desktop *d = NULL;
	int r = desktop_new(&d, hypervisor, name, err);

	if (r < 0)
		return r;
	r = load(d, err);
	if (r == -ENOENT || (r == 0 && !d->record.started))
		return clear_away(d, err);
	if (r == 0)
		r = attach_qemu(d, err);
	if (r == 0)
		r = desktop_watch_start(d, err);
	if (r < 0)
		return err_wrap(err, r, "take hold of desktop %s", name);
	r = hypervisor_add(hypervisor, desktop_ref(d), err);
	assert(r == 0); /* folders have different names */
	log_info("took hold desktop=%s epoch=%llu qemu=%d", name,
		 (unsigned long long)d->record.epoch,
		 d->pidfd < 0 ? 0 : (int)d->record.process.pid);
	return 0;
}
