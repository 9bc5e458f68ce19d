#include "hypervisor/requests.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/io.h"
#include "hypervisor/desktop_capture.h"
#include "hypervisor/desktop_ops.h"
#include "hypervisor/desktop_start.h"
#include "hypervisor/fill.h"
#include "hypervisor/orphans.h"
#include "hypervisor/quarantine.h"

enum { FIELDS_MAX = 16, SIZE_MAX_BYTES_LOG2 = 50, SECTOR = 512 };

struct request {
	struct hypervisor *hypervisor;
	const void *client;
	const json_t *line;
	json_t *reply; /* out, a new reference; NULL: {} */
	int fd;        /* out */
};

/* The operation's own fields; id and op are known already, and anything else is an error. */
static int take(const struct request *r, const struct json_field *own, size_t n, struct err *err)
{
	struct json_field fields[FIELDS_MAX] = {
		{ "id", JSON_KIND_ANY, false, &(json_t *){ NULL } },
		{ "op", JSON_KIND_ANY, false, &(json_t *){ NULL } },
	};

	if (n)
		memcpy(fields + 2, own, n * sizeof(*own));
	return json_fields(r->line, fields, n + 2, "request", err);
}

/* Those, and `desktop`, which must be here. */
static int take_desktop(const struct request *r, struct desktop **desktop,
			const struct json_field *own, size_t n, struct err *err)
{
	const char *name = NULL;
	struct json_field fields[FIELDS_MAX] = { { "desktop", JSON_KIND_STRING, false, &name } };
	int result;

	if (n)
		memcpy(fields + 1, own, n * sizeof(*own));
	result = take(r, fields, n + 1, err);
	if (result == 0)
		result = desktop_record_check_name(name, err);
	if (result == 0)
		result = hypervisor_find(r->hypervisor, name, desktop, err);
	return result;
}

/* ---- about the host ------------------------------------------------------------------------------------------- */

static int hello(struct request *r, struct err *err)
{
	const struct hypervisor *hv = r->hypervisor;
	struct statvfs disk;
	struct sysinfo host;
	int result = take(r, NULL, 0, err);

	if (result < 0)
		return result;
	if (statvfs(hv->state, &disk) < 0 || sysinfo(&host) < 0)
		return err_set(err, errno, "look at this host");
	r->reply = json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:b, s:s}", "version",
			     HYPERVISOR_VERSION, "accelerator", hv->probe.accelerator, "note",
			     hv->probe.note, "cpus", (json_int_t)sysconf(_SC_NPROCESSORS_ONLN),
			     "memory_mib", (json_int_t)(host.totalram * host.mem_unit >> 20),
			     "disk_free_bytes", (json_int_t)(disk.f_bavail * disk.f_frsize),
			     "live_capture", hv->config.live && hv->probe.live_capture, "live_note",
			     hv->probe.live_note);
	return 0;
}

static int list(struct request *r, struct err *err)
{
	int result = take(r, NULL, 0, err);

	if (result == 0)
		r->reply = json_pack("{s:o}", "desktops", hypervisor_list(r->hypervisor));
	return result;
}

/* ---- start ---------------------------------------------------------------------------------------------------- */

static int take_disk(struct desktop_start_disk *out, const json_t *object, struct err *err)
{
	const char *name = NULL, *export = NULL;
	uint64_t size = 0;
	const struct json_field fields[] = {
		{ "name", JSON_KIND_STRING, false, &name },
		{ "size", JSON_KIND_UINT, false, &size },
		{ "socket", JSON_KIND_STRING, false, &out->socket },
		{ "export", JSON_KIND_STRING, false, &export },
	};
	int r = json_fields(object, fields, ARRAY_LEN(fields), "a disk", err);

	if (r == 0)
		r = desktop_record_check_disk(name, err);
	if (r < 0)
		return r;
	if (size == 0 || size % SECTOR || size >> SIZE_MAX_BYTES_LOG2)
		return err_say(err, EINVAL,
			       "%s: 'size' must be a multiple of %d bytes, less than 1 PiB", name,
			       SECTOR);
	if (out->socket[0] != '/')
		return err_say(err, EINVAL, "%s: 'socket' must be an absolute path", name);
	if (strlen(export) >= sizeof(out->disk.export))
		return err_say(err, EINVAL, "%s: 'export' is longer than %zu bytes", name,
			       sizeof(out->disk.export) - 1);
	snprintf(out->disk.name, sizeof(out->disk.name), "%s", name);
	snprintf(out->disk.export, sizeof(out->disk.export), "%s", export);
	out->disk.size = size;
	return 0;
}

static int take_disks(struct desktop_start *order, const json_t *disks, struct err *err)
{
	size_t n = json_array_size(disks);

	if (n == 0 || n > MACHINE_DISKS_MAX)
		return err_say(err, EINVAL, "'disks' must have 1 to %d entries", MACHINE_DISKS_MAX);
	for (size_t i = 0; i < n; i++) {
		int r = take_disk(&order->disks[i], json_array_get(disks, i), err);

		for (size_t k = 0; r == 0 && k < i; k++) {
			if (strcmp(order->disks[k].disk.name, order->disks[i].disk.name) == 0)
				r = err_say(err, EINVAL, "'disks' has %s twice",
					    order->disks[i].disk.name);
		}
		if (r < 0)
			return r;
	}
	order->disk_count = n;
	return 0;
}

/* A request may have waited, in a socket or while we were stopped: the end that the agent knows cuts the time short. */
static uint64_t cut_ttl(uint64_t ttl_ms, uint64_t until_ms)
{
	uint64_t now = clock_now_ms(), left = until_ms > now ? until_ms - now : 0;

	return ttl_ms < left ? ttl_ms : left;
}

static int take_lease(struct desktop_start *order, const json_t *lease, struct err *err)
{
	const char *policy = NULL;
	uint64_t until_ms = UINT64_MAX;
	const struct json_field fields[] = {
		{ "policy", JSON_KIND_STRING, false, &policy },
		{ "ttl_ms", JSON_KIND_UINT, false, &order->ttl_ms },
		{ "until_ms", JSON_KIND_UINT, true, &until_ms },
	};
	int r = json_fields(lease, fields, ARRAY_LEN(fields), "lease", err);

	order->ttl_ms = cut_ttl(order->ttl_ms, until_ms);
	return r < 0 ? r : lease_guard_parse_policy(policy, &order->strict, err);
}

static int take_start(const struct request *r, struct desktop_start *order, struct err *err)
{
	json_t *machine = NULL, *disks = NULL, *lease = NULL;
	const struct json_field fields[] = {
		{ "desktop", JSON_KIND_STRING, false, &order->desktop },
		{ "epoch", JSON_KIND_UINT, false, &order->epoch },
		{ "machine", JSON_KIND_OBJECT, false, &machine },
		{ "snapshot", JSON_KIND_STRING, false, &order->snapshot },
		{ "disks", JSON_KIND_ARRAY, false, &disks },
		{ "incoming", JSON_KIND_BOOL, false, &order->incoming },
		{ "lease", JSON_KIND_OBJECT, false, &lease },
		{ "quarantined", JSON_KIND_BOOL, true, &order->quarantined },
	};
	int result = take(r, fields, ARRAY_LEN(fields), err);

	if (result == 0)
		result = desktop_record_check_name(order->desktop, err);
	if (result == 0)
		result = desktop_record_check_snapshot(order->snapshot, err);
	if (result == 0)
		result = machine_parse(&order->machine, machine, err);
	if (result == 0)
		result = take_disks(order, disks, err);
	return result < 0 ? result : take_lease(order, lease, err);
}

static int start(struct request *r, struct err *err)
{
	CLEANUP(desktop_unref) struct desktop *d = NULL;
	struct desktop_start order = { .desktop = NULL };
	int result = take_start(r, &order, err);

	if (result == 0)
		result = desktop_start(r->hypervisor, &order, &d, err);
	if (result < 0)
		return result;
	r->reply = json_pack("{s:o}", "machine", machine_json(&d->record.machine));
	if (r->reply && order.incoming) {
		CLEANUP_FREE char *path = io_printf("%s/%s", d->folder, MACHINE_MEMORY_SOCKET);

		json_object_set_new(r->reply, "memory_socket", json_string(path));
	}
	return 0;
}

/* ---- about one desktop ----------------------------------------------------------------------------------------- */

static int status(struct request *r, struct err *err)
{
	CLEANUP(desktop_unref) struct desktop *d = NULL;
	int result = take_desktop(r, &d, NULL, 0, err);

	if (result == 0)
		r->reply = desktop_status(d);
	return result;
}

static int memory_recover(struct request *r, struct err *err)
{
	CLEANUP(desktop_unref) struct desktop *d = NULL;
	CLEANUP_FREE char *socket = NULL;
	int result = take_desktop(r, &d, NULL, 0, err);

	if (result == 0)
		result = desktop_ops_recover(d, &socket, err);
	if (result == 0)
		r->reply = json_pack("{s:s}", "memory_socket", socket);
	return result;
}

static int fill(struct request *r, struct err *err)
{
	CLEANUP(desktop_unref) struct desktop *d = NULL;
	int result = take_desktop(r, &d, NULL, 0, err);

	return result < 0 ? result : fill_start(d, err);
}

static int lease(struct request *r, struct err *err)
{
	CLEANUP(desktop_unref) struct desktop *d = NULL;
	uint64_t epoch = 0, ttl_ms = 0, until_ms = UINT64_MAX;
	const struct json_field fields[] = {
		{ "epoch", JSON_KIND_UINT, false, &epoch },
		{ "ttl_ms", JSON_KIND_UINT, false, &ttl_ms },
		{ "until_ms", JSON_KIND_UINT, true, &until_ms },
	};
	int result = take_desktop(r, &d, fields, ARRAY_LEN(fields), err);

	return result < 0 ? result : desktop_ops_lease(d, epoch, cut_ttl(ttl_ms, until_ms), err);
}

static int quarantine(struct request *r, struct err *err)
{
	CLEANUP(desktop_unref) struct desktop *d = NULL;
	uint64_t epoch = 0;
	bool on = false;
	const struct json_field fields[] = {
		{ "epoch", JSON_KIND_UINT, false, &epoch },
		{ "on", JSON_KIND_BOOL, false, &on },
	};
	int result = take_desktop(r, &d, fields, ARRAY_LEN(fields), err);

	return result < 0 ? result : quarantine_set(d, epoch, on, err);
}

static int set_paused(struct request *r, bool pause, struct err *err)
{
	CLEANUP(desktop_unref) struct desktop *d = NULL;
	int result = take_desktop(r, &d, NULL, 0, err);

	return result < 0 ? result : desktop_ops_pause(d, pause, err);
}

static int pause_desktop(struct request *r, struct err *err)
{
	return set_paused(r, true, err);
}

static int unpause_desktop(struct request *r, struct err *err)
{
	return set_paused(r, false, err);
}

static int shutdown_desktop(struct request *r, struct err *err)
{
	CLEANUP(desktop_unref) struct desktop *d = NULL;
	uint64_t timeout_ms = 0;
	const struct json_field fields[] = { { "timeout_ms", JSON_KIND_UINT, false, &timeout_ms } };
	int result = take_desktop(r, &d, fields, ARRAY_LEN(fields), err);

	return result < 0 ? result : desktop_ops_shutdown(d, timeout_ms, err);
}

static int capture(struct request *r, struct err *err)
{
	CLEANUP(desktop_unref) struct desktop *d = NULL;
	struct desktop_capture_order order = { .owner = r->client };
	const struct json_field fields[] = {
		{ "memory", JSON_KIND_BOOL, false, &order.memory },
		{ "hold", JSON_KIND_BOOL, false, &order.hold },
	};
	int result = take_desktop(r, &d, fields, ARRAY_LEN(fields), err);

	return result < 0 ? result : desktop_capture_begin(d, &order, &r->reply, &r->fd, err);
}

static int end_capture(struct request *r, struct err *err)
{
	CLEANUP(desktop_unref) struct desktop *d = NULL;
	const char *snapshot = NULL;
	bool ok = false;
	const struct json_field fields[] = {
		{ "ok", JSON_KIND_BOOL, false, &ok },
		{ "snapshot", JSON_KIND_STRING, true, &snapshot },
	};
	int result = take_desktop(r, &d, fields, ARRAY_LEN(fields), err);

	if (result == 0 && ok && (!snapshot || !snapshot[0]))
		result = err_say(err, EINVAL, "'snapshot' must be given when 'ok' is true");
	if (result == 0 && ok)
		result = desktop_record_check_snapshot(snapshot, err);
	return result < 0 ? result : desktop_capture_end(d, ok ? snapshot : NULL, err);
}

static int discard(struct request *r, struct err *err)
{
	CLEANUP(desktop_unref) struct desktop *d = NULL;
	uint64_t epoch = 0;
	const struct json_field fields[] = { { "epoch", JSON_KIND_UINT, false, &epoch } };
	int result = take_desktop(r, &d, fields, ARRAY_LEN(fields), err);

	return result < 0 ? result : desktop_ops_discard(d, epoch, err);
}

static int orphan(struct request *r, struct err *err)
{
	CLEANUP(desktop_unref) struct desktop *d = NULL;
	CLEANUP_FREE char *folder = NULL;
	uint64_t epoch = 0;
	const struct json_field fields[] = { { "epoch", JSON_KIND_UINT, false, &epoch } };
	int result = take_desktop(r, &d, fields, ARRAY_LEN(fields), err);

	if (result == 0)
		result = desktop_ops_orphan(d, epoch, &folder, err);
	if (result == 0)
		r->reply = json_pack("{s:s}", "folder", folder);
	return result;
}

static int list_orphans(struct request *r, struct err *err)
{
	json_t *orphans = NULL;
	int result = take(r, NULL, 0, err);

	if (result == 0)
		result = orphans_list(r->hypervisor->state, &orphans, err);
	if (result == 0)
		r->reply = json_pack("{s:o}", "orphans", orphans);
	return result;
}

static int delete_orphan(struct request *r, struct err *err)
{
	const char *folder = NULL;
	const struct json_field fields[] = { { "folder", JSON_KIND_STRING, false, &folder } };
	int result = take(r, fields, ARRAY_LEN(fields), err);

	return result < 0 ? result : orphans_delete(r->hypervisor->state, folder, err);
}

static const struct {
	const char *op;
	int (*run)(struct request *r, struct err *err);
} ops[] = {
	{ "hello", hello },
	{ "list", list },
	{ "status", status },
	{ "start", start },
	{ "memory_recover", memory_recover },
	{ "fill", fill },
	{ "lease", lease },
	{ "quarantine", quarantine },
	{ "pause", pause_desktop },
	{ "unpause", unpause_desktop },
	{ "shutdown", shutdown_desktop },
	{ "capture", capture },
	{ "capture_end", end_capture },
	{ "discard", discard },
	{ "orphan", orphan },
	{ "orphans", list_orphans },
	{ "orphan_delete", delete_orphan },
};

/* ---- the line ------------------------------------------------------------------------------------------------- */

static int dispatch(struct request *r, struct err *err)
{
	const json_t *id = json_object_get(r->line, "id");
	const char *op = json_string_value(json_object_get(r->line, "op"));

	if (!json_is_integer(id) || json_integer_value(id) < 0)
		return err_say(err, EINVAL, "request: 'id' must be a number from 0 on");
	if (!op)
		return err_say(err, EINVAL, "request: 'op' must be a string");
	for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
		if (strcmp(ops[i].op, op) == 0)
			return ops[i].run(r, err);
	}
	return err_say(err, EOPNOTSUPP, "request: there is no operation '%.40s'", op);
}

static json_t *error_json(const struct err *err)
{
	const char *name = strerrorname_np(err->code);

	return json_pack("{s:s, s:s}", "code", name ? name : "EIO", "text", err_text(err));
}

char *requests_answer(struct hypervisor *hypervisor, const void *client, const char *line, int *fd)
{
	CLEANUP(json_decref) json_t *root = NULL, *answer = json_object();
	struct request r = { .hypervisor = hypervisor, .client = client, .fd = -1 };
	struct err err = { .code = 0 };
	const json_t *id;
	int result;

	*fd = -1;
	if (!answer)
		return NULL;
	result = json_parse(&root, line, strlen(line), "request", &err);
	if (result == 0) {
		r.line = root;
		result = dispatch(&r, &err);
	}
	id = json_object_get(root, "id");
	json_object_set(answer, "id", json_is_integer(id) ? (json_t *)id : json_null());
	if (result < 0)
		json_object_set_new(answer, "error", error_json(&err));
	else
		json_object_set_new(answer, "ok", r.reply ? r.reply : json_object());
	*fd = r.fd;
	return json_text(answer);
}
