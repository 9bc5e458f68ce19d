#include "client-agent/orphan.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "client-agent/hypervisor_status.h"
#include "client-agent/memory_server.h"
#include "common/clock.h"
#include "common/io.h"
#include "common/log.h"
#include "snapshot/nbd_input.h"
#include "snapshot/store_client.h"

extern char **environ;

enum {
	LOOK_EVERY_MS = 5000,
	RETRY_MS = 60 * 1000, /* after a failure: it will hardly be gone in seconds */
	NBD_START_MS = 60 * 1000,
	MAP_MAX = 256 << 20,
	PUT_THREADS = 8,
};

struct orphan_disk {
	const char *name, *file; /* borrowed */
	uint64_t size;
	bool complete;
};

/* One orphan as the hypervisor lists it; strings are borrowed from the list. */
struct orphan {
	struct agent *agent;
	const char *desktop, *folder, *snapshot;
	uint64_t epoch;
	json_t *machine;
	size_t disk_count;
	struct orphan_disk disks[HYPERVISOR_DISKS_MAX];

	struct store_client_session *session;
	struct chunk_source source;
	struct manifest base, manifest;
	bool have_base;
	struct volume_put_stats stats;
};

int orphan_begin(struct agent *agent, const char *desktop, uint64_t epoch, struct err *err)
{
	int r;

	memory_server_end(agent->memory, desktop, epoch);
	r = hypervisor_client_epoch_op(agent->hypervisor, "orphan", desktop, epoch, NULL, err);
	if (r == -ENOENT)
		return 0; /* it was put aside before, or never was here */
	if (r == 0)
		log_warning("desktop stopped, its disks are put aside desktop=%s epoch=%ju",
			    desktop, (uintmax_t)epoch);
	return r;
}

/* ---- The overlay -------------------------------------------------------------------------------------------------- */

static int spawn(const char *const *argv, int out_fd, pid_t *pid, struct err *err)
{
	posix_spawn_file_actions_t files;
	int r;

	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
	if (out_fd >= 0)
		posix_spawn_file_actions_adddup2(&files, out_fd, 1);
	r = posix_spawnp(pid, argv[0], &files, NULL, (char *const *)argv, environ);
	posix_spawn_file_actions_destroy(&files);
	return r ? err_set(err, r, "start %s", argv[0]) : 0;
}

/* All that a program writes to a pipe, as JSON. Children are reaped by the kernel: the end of the pipe is their end. */
static int read_map(const char *path, json_t **out, struct err *err)
{
	const char *argv[] = { "qemu-img", "map", "--output=json", "-f", "qcow2", path, NULL };
	CLEANUP_FREE char *text = malloc(MAP_MAX);
	int pipe_fds[2];
	size_t len = 0;
	ssize_t n = 0;
	pid_t pid;
	int r;

	if (!text)
		return err_set(err, ENOMEM, "read the map of %s", path);
	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return err_set(err, errno, "read the map of %s", path);
	r = spawn(argv, pipe_fds[1], &pid, err);
	close(pipe_fds[1]);
	while (r == 0 && len < MAP_MAX && (n = read(pipe_fds[0], text + len, MAP_MAX - len)) != 0) {
		if (n < 0 && errno != EINTR)
			r = err_set(err, errno, "read the map of %s", path);
		len += n > 0 ? (size_t)n : 0;
	}
	close(pipe_fds[0]);
	return r < 0 ? r : json_parse(out, text, len, "the answer of qemu-img map", err);
}

int orphan_extents(const json_t *map, uint64_t size, struct volume_extent **out, size_t *count,
		   struct err *err)
{
	CLEANUP_FREE struct volume_extent *list = NULL;
	const json_t *entry;
	size_t i, n = 0;

	if (!json_is_array(map))
		return err_say(err, EBADMSG, "qemu-img map did not print an array");
	list = calloc(json_array_size(map) + 1, sizeof(*list));
	if (!list)
		return err_set(err, ENOMEM, "read a disk's map");
	json_array_foreach (map, i, entry) {
		json_int_t start = json_integer_value(json_object_get(entry, "start"));
		json_int_t length = json_integer_value(json_object_get(entry, "length"));

		if (start < 0 || length <= 0 || (uint64_t)start > size ||
		    (uint64_t)length > size - (uint64_t)start)
			return err_say(err, EBADMSG,
				       "extent %zu of qemu-img map is beyond the disk", i);
		if (!json_is_boolean(json_object_get(entry, "present")))
			return err_say(err, EBADMSG, "extent %zu of qemu-img map has no 'present'",
				       i);
		if (json_is_true(json_object_get(entry, "present")))
			list[n++] = (struct volume_extent){ (uint64_t)start, (uint64_t)length };
	}
	*out = TAKE(list);
	*count = n;
	return 0;
}

/* qemu-nbd ends by itself when its last client goes away, so also when we die. */
static int open_overlay(const char *path, const char *socket, struct nbd_input **out, pid_t *pid,
			struct err *err)
{
	const char *argv[] = { "qemu-nbd", "--read-only", "--shared=8", "--format=qcow2",
			       "--socket", socket,        path,         NULL };
	uint64_t end = clock_now_ms() + NBD_START_MS;
	int r;

	unlink(socket);
	r = spawn(argv, -1, pid, err);
	while (r == 0) {
		if (access(socket, F_OK) == 0) {
			r = nbd_input_open(out,
					   &(struct nbd_input_options){ .socket_path = socket,
									.export_name = "" },
					   err);
			if (r == 0)
				return 0;
		}
		if (clock_now_ms() >= end || kill(*pid, 0) < 0)
			return r < 0 ? r : err_say(err, EIO, "qemu-nbd cannot serve %s", path);
		r = 0;
		clock_sleep_ms(20);
	}
	return r;
}

/* ---- One disk ------------------------------------------------------------------------------------------------------- */

static int put_overlay(struct orphan *o, const struct orphan_disk *disk, struct nbd_input *nbd,
		       const json_t *map, struct err *err)
{
	const struct volume *parent = o->have_base ? manifest_volume(&o->base, disk->name) : NULL;
	struct volume *volume = &o->manifest.volumes[o->manifest.volume_count];
	CLEANUP_FREE struct volume_extent *changed = NULL;
	struct volume_input input = nbd_input_volume(nbd);
	struct volume_put order = {
		.input = &input,
		.sink = store_client_session_sink(o->session),
		.codec = CHUNK_CODEC_ZSTD,
		.parent_source = o->source,
		.threads = PUT_THREADS,
	};
	int r;

	if (parent && parent->size == disk->size && parent->grid == CHUNK_GRID_DISK)
		order.parent = parent;
	if (!order.parent && !disk->complete)
		return err_say(
			err, ENOENT,
			"%s holds only what differs from snapshot %s, which the server has not",
			disk->name, o->snapshot);
	if (order.parent) {
		r = orphan_extents(map, disk->size, &changed, &order.changed_count, err);
		if (r < 0)
			return r;
		order.changed = changed;
	}
	*volume = (struct volume){ .kind = VOLUME_DISK, .grid = CHUNK_GRID_DISK };
	snprintf(volume->name, sizeof(volume->name), "%s", disk->name);
	o->manifest.volume_count++;
	return volume_put(&order, volume, &o->stats, err);
}

static int put_disk(struct orphan *o, const struct orphan_disk *disk, struct err *err)
{
	CLEANUP_FREE char *path = io_printf("%s/%s", o->folder, disk->file);
	CLEANUP_FREE char *socket = io_printf("%s/orphan.sock", o->agent->state_dir);
	CLEANUP(nbd_input_close) struct nbd_input *nbd = NULL;
	CLEANUP(json_decref) json_t *map = NULL;
	pid_t pid = -1;
	int r;

	if (!path || !socket)
		return err_set(err, ENOMEM, "read an orphan");
	r = read_map(path, &map, err);
	if (r == 0)
		r = open_overlay(path, socket, &nbd, &pid, err);
	if (r == 0)
		r = put_overlay(o, disk, nbd, map, err);
	unlink(socket);
	return r < 0 ? err_wrap(err, r, "%s", path) : 0;
}

/* ---- The upload ------------------------------------------------------------------------------------------------------ */

static int describe(struct orphan *o, struct err *err)
{
	struct manifest *m = &o->manifest;

	snprintf(m->desktop, sizeof(m->desktop), "%s", o->desktop);
	if (o->have_base)
		memcpy(m->parent, o->base.id, sizeof(m->parent));
	m->created_wall_ms = clock_wall_ms();
	m->kind = MANIFEST_COLD;
	m->epoch = o->epoch;
	m->branch = true;
	m->machine = json_deep_copy(o->machine);
	return m->machine ? 0 : err_set(err, ENOMEM, "describe an orphan");
}

static int upload(struct orphan *o, struct err *err)
{
	struct http_client *http = o->agent->http;
	size_t i;
	int r;

	r = store_client_session_open(&o->session,
				      &(struct store_client_open){ .http = http,
								   .prefix = AGENT_PREFIX,
								   .desktop = o->desktop,
								   .epoch = o->epoch },
				      err);
	if (r == 0)
		r = store_client_source_new(&o->source, http, AGENT_PREFIX, o->desktop, NULL, err);
	if (r == 0 && o->snapshot[0]) {
		r = store_client_manifest(http, AGENT_PREFIX, o->desktop, o->snapshot, &o->base,
					  err);
		o->have_base = r == 0;
		r = r == -ENOENT ? 0 : r;
	}
	if (r == 0)
		r = describe(o, err);
	for (i = 0; r == 0 && i < o->disk_count; i++)
		r = put_disk(o, &o->disks[i], err);
	return r < 0 ? r : store_client_session_commit(o->session, &o->manifest, err);
}

static int save(struct orphan *o, struct err *err)
{
	CLEANUP(json_decref) json_t *args = json_pack("{s:s}", "folder", o->folder);
	int r;

	if (!args)
		return err_set(err, ENOMEM, "save an orphan");
	manifest_init(&o->base);
	manifest_init(&o->manifest);
	r = upload(o, err);
	if (r == 0)
		log_info("orphan saved as a branch desktop=%s epoch=%ju snapshot=%s new_bytes=%ju",
			 o->desktop, (uintmax_t)o->epoch, o->manifest.id,
			 (uintmax_t)o->stats.new_bytes);
	store_client_session_free(o->session);
	store_client_source_free(&o->source);
	manifest_deinit(&o->base);
	manifest_deinit(&o->manifest);
	if (r < 0)
		return r;
	return hypervisor_client_call(
		o->agent->hypervisor,
		&(struct hypervisor_call){ .op = "orphan_delete", .args = args }, err);
}

/* ---- The list -------------------------------------------------------------------------------------------------------- */

static int take_disk(struct orphan *o, const json_t *object, struct err *err)
{
	struct orphan_disk *disk = &o->disks[o->disk_count];
	const struct json_field fields[] = {
		{ "name", JSON_KIND_STRING, false, &disk->name },
		{ "size", JSON_KIND_UINT, false, &disk->size },
		{ "file", JSON_KIND_STRING, false, &disk->file },
		{ "complete", JSON_KIND_BOOL, false, &disk->complete },
	};
	int r = json_fields(object, fields, ARRAY_LEN(fields), "an orphan's disk", err);

	if (r == 0 && (strlen(disk->name) > VOLUME_NAME_MAX || strchr(disk->file, '/')))
		r = err_say(err, EBADMSG, "an orphan's disk has a bad name");
	o->disk_count++;
	return r;
}

static int take(struct orphan *o, const json_t *object, struct err *err)
{
	json_t *disks = NULL;
	const struct json_field fields[] = {
		{ "desktop", JSON_KIND_STRING, false, &o->desktop },
		{ "epoch", JSON_KIND_UINT, false, &o->epoch },
		{ "folder", JSON_KIND_STRING, false, &o->folder },
		{ "snapshot", JSON_KIND_STRING, false, &o->snapshot },
		{ "machine", JSON_KIND_OBJECT, false, &o->machine },
		{ "disks", JSON_KIND_ARRAY, false, &disks },
	};
	const json_t *disk;
	size_t i;
	int r;

	r = json_fields(object, fields, ARRAY_LEN(fields), "an orphan", err);
	if (r == 0 &&
	    (!manifest_desktop_valid(o->desktop) || json_array_size(disks) > HYPERVISOR_DISKS_MAX))
		r = err_say(err, EBADMSG, "an orphan has a bad name or too many disks");
	json_array_foreach (disks, i, disk) {
		if (r == 0)
			r = take_disk(o, disk, err);
	}
	return r;
}

/* Return how many could not be saved, or -errno. */
static int save_all(struct agent *agent, struct err *err)
{
	CLEANUP(json_decref) json_t *reply = NULL;
	json_t *list = NULL;
	const struct json_field fields[] = { { "orphans", JSON_KIND_ARRAY, false, &list } };
	const json_t *object;
	int r, failed = 0;
	size_t i;

	r = hypervisor_client_call(
		agent->hypervisor,
		&(struct hypervisor_call){ .op = "orphans", .again = true, .reply = &reply }, err);
	if (r == 0)
		r = json_fields(reply, fields, ARRAY_LEN(fields), "the list of orphans", err);
	if (r < 0)
		return r;
	json_array_foreach (list, i, object) {
		struct orphan o = { .agent = agent };
		struct err why = { 0 };

		r = take(&o, object, &why);
		if (r == 0)
			r = save(&o, &why);
		if (r < 0) {
			log_warning("an orphan is not saved yet and stays: %s", err_text(&why));
			failed++;
		}
	}
	return failed;
}

static void *run(void *arg)
{
	struct agent *agent = arg;

	while (!agent->stop) {
		struct err err = { 0 };
		int r = save_all(agent, &err);
		uint64_t next = clock_now_ms() + (r > 0 ? RETRY_MS : LOOK_EVERY_MS);

		if (r < 0)
			log_debug("%s", err_text(&err));
		while (!agent->stop && clock_now_ms() < next)
			clock_sleep_ms(100);
	}
	return NULL;
}

int orphan_start(struct agent *agent, struct err *err)
{
	pthread_attr_t attr;
	pthread_t thread;
	int r;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	r = pthread_create(&thread, &attr, run, agent);
	pthread_attr_destroy(&attr);
	return r ? err_set(err, r, "start a thread for orphans") : 0;
}
