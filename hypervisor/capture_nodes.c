#include "hypervisor/capture_nodes.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/io.h"
#include "hypervisor/disks.h"

enum { EXPORT_GONE_MS = 20000, POLL_MS = 5 };

/* ---- names -------------------------------------------------------------------------------------------------- */

enum { NAME_MAX_LEN = 64 };
struct names {
	char fleece[NAME_MAX_LEN], cbw[NAME_MAX_LEN], snapshot[NAME_MAX_LEN], export[NAME_MAX_LEN],
		qom[NAME_MAX_LEN];
};

static struct names names_of(const struct machine_disk *disk)
{
	struct names n;

	snprintf(n.fleece, sizeof(n.fleece), "%s-fleece", disk->name);
	snprintf(n.cbw, sizeof(n.cbw), "%s-cbw", disk->name);
	snprintf(n.snapshot, sizeof(n.snapshot), "%s-snapshot", disk->name);
	snprintf(n.export, sizeof(n.export), "capture-%s", disk->name);
	snprintf(n.qom, sizeof(n.qom), "/machine/peripheral/%s-device/virtio-backend", disk->name);
	return n;
}

/* ---- before the instant -------------------------------------------------------------------------------------- */

/* An empty sparse file that only QEMU has open afterwards: nothing is left of it, however this ends. */
static int add_fleece(const struct capture_nodes *c, const struct machine_disk *disk,
		      struct err *err)
{
	struct names n = names_of(disk);
	CLEANUP_FREE char *path =
		io_printf("%s/%s.%s", c->fleece_folder, c->record->desktop, n.fleece);
	CLEANUP_FD int fd = -1;
	json_t *node;
	int r;

	if (!path)
		return err_set(err, ENOMEM, "make the fleece of %s", disk->name);
	unlink(path);
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, (off_t)disk->size) < 0) {
		r = err_set(err, errno, "make the fleece %s", path);
		unlink(path);
		return r;
	}
	node = json_pack("{s:s, s:s, s:s, s:{s:s, s:s, s:s}}", "driver", "raw", "node-name",
			 n.fleece, "discard", "unmap", "file", "driver", "file", "filename", path,
			 "discard", "unmap");
	r = qmp_run(c->qmp, "blockdev-add", node, NULL, err);
	unlink(path);
	return r;
}

static int add_filter(const struct capture_nodes *c, const struct machine_disk *disk,
		      struct err *err)
{
	struct names n = names_of(disk);
	json_t *node = json_pack("{s:s, s:s, s:s, s:s, s:s, s:I}", "driver", "copy-before-write",
				 "node-name", n.cbw, "file", disk->name, "target", n.fleece,
				 "on-cbw-error", "break-snapshot", "cbw-timeout",
				 (json_int_t)(c->cbw_ms / 1000));

	return qmp_run(c->qmp, "blockdev-add", node, NULL, err);
}

int capture_nodes_prepare(const struct capture_nodes *c, struct err *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < c->record->disk_count; i++) {
		const struct machine_disk *disk = &c->record->disks[i];

		r = add_fleece(c, disk, err);
		if (r == 0)
			r = add_filter(c, disk, err);
		if (r == 0)
			r = disks_add_bitmap(c->qmp, disk->name, CAPTURE_NODES_NEXT, err);
	}
	if (r < 0)
		return r;
	return qmp_run(c->qmp, "nbd-server-start",
		       json_pack("{s:{s:s, s:{s:s}}}", "addr", "type", "unix", "data", "path",
				 MACHINE_NBD_SOCKET),
		       NULL, err);
}

struct qmp_command capture_nodes_switch(const struct capture_nodes *c, size_t i)
{
	struct names n = names_of(&c->record->disks[i]);

	return (struct qmp_command){ .name = "qom-set",
				     .arguments = json_pack("{s:s, s:s, s:s}", "path", n.qom,
							    "property", "drive", "value", n.cbw) };
}

/* ---- after the instant --------------------------------------------------------------------------------------- */

static json_t *action(const char *type, json_t *data)
{
	return json_pack("{s:s, s:o}", "type", type, "data", data);
}

static json_t *bitmap_action(const char *type, const struct machine_disk *disk, const char *bitmap)
{
	return action(type, json_pack("{s:s, s:s}", "node", disk->name, "name", bitmap));
}

static json_t *merge_action(const struct machine_disk *disk, const char *target)
{
	return action("block-dirty-bitmap-merge",
		      json_pack("{s:s, s:s, s:[s]}", "node", disk->name, "target", target,
				"bitmaps", CAPTURE_NODES_NEXT));
}

/* Steals @actions; an empty list is nothing to do. */
static int transact(const struct capture_nodes *c, json_t *actions, struct err *err)
{
	if (json_array_size(actions) == 0) {
		json_decref(actions);
		return 0;
	}
	return qmp_run(c->qmp, "transaction", json_pack("{s:o}", "actions", actions), NULL, err);
}

static int export_disk(const struct capture_nodes *c, const struct machine_disk *disk, bool tracked,
		       struct err *err)
{
	struct names n = names_of(disk);
	json_t *export;
	int r;

	/* Refused before the filter is in use: so only now. */
	r = qmp_run(c->qmp, "blockdev-add",
		    json_pack("{s:s, s:s, s:s}", "driver", "snapshot-access", "node-name",
			      n.snapshot, "file", n.cbw),
		    NULL, err);
	if (r < 0)
		return r;
	export = json_pack("{s:s, s:s, s:s, s:s, s:b}", "type", "nbd", "id", n.export, "node-name",
			   n.snapshot, "name", disk->name, "writable", 0);
	if (export && tracked)
		json_object_set_new(
			export, "bitmaps",
			json_pack("[{s:s, s:s}]", "node", disk->name, "name", c->record->snapshot));
	return qmp_run(c->qmp, "block-export-add", export, NULL, err);
}

int capture_nodes_export(const struct capture_nodes *c, bool tracked, struct err *err)
{
	json_t *actions = json_array();
	int r;

	for (size_t i = 0; tracked && i < c->record->disk_count; i++)
		json_array_append_new(actions,
				      bitmap_action("block-dirty-bitmap-disable",
						    &c->record->disks[i], c->record->snapshot));
	r = transact(c, actions, err);
	for (size_t i = 0; r == 0 && i < c->record->disk_count; i++)
		r = export_disk(c, &c->record->disks[i], tracked, err);
	return r;
}

/* ---- the end ------------------------------------------------------------------------------------------------- */

static int count_exports(const struct capture_nodes *c, size_t *count, struct err *err)
{
	CLEANUP(json_decref) json_t *exports = NULL;
	int r = qmp_run(c->qmp, "query-block-exports", NULL, &exports, err);

	*count = json_array_size(exports);
	return r;
}

/* All exports are ours. A reader is cut off; the export is gone a moment after the command. */
static int remove_exports(const struct capture_nodes *c, struct err *err)
{
	uint64_t end = clock_now_ms() + EXPORT_GONE_MS;
	size_t left;
	int r;

	for (size_t i = 0; i < c->record->disk_count; i++) {
		struct names n = names_of(&c->record->disks[i]);

		r = qmp_run(c->qmp, "block-export-del",
			    json_pack("{s:s, s:s}", "id", n.export, "mode", "hard"), NULL, err);
		if (r < 0 && r != -EREMOTEIO) /* refused: there is none */
			return r;
	}
	while ((r = count_exports(c, &left, err)) == 0 && left > 0) {
		if (clock_now_ms() > end)
			return err_say(err, ETIMEDOUT, "QEMU keeps an export open");
		clock_sleep_ms(POLL_MS);
	}
	return r;
}

static int remove_node(const struct capture_nodes *c, const char *name, struct err *err)
{
	return qmp_run(c->qmp, "blockdev-del", json_pack("{s:s}", "node-name", name), NULL, err);
}

/* Give the guest its disk without the filter. QEMU 10 dies when told to replace a node by itself, hence the question. */
static int take_filter_out(const struct capture_nodes *c, const struct names *n, const char *disk,
			   struct err *err)
{
	CLEANUP(json_decref) json_t *drive = NULL;
	const char *name;
	int r = qmp_run(c->qmp, "qom-get",
			json_pack("{s:s, s:s}", "path", n->qom, "property", "drive"), &drive, err);

	if (r < 0)
		return r;
	name = json_string_value(drive);
	if (!name || strcmp(name, n->cbw) != 0)
		return 0;
	return qmp_run(
		c->qmp, "qom-set",
		json_pack("{s:s, s:s, s:s}", "path", n->qom, "property", "drive", "value", disk),
		NULL, err);
}

static int remove_disk(const struct capture_nodes *c, const struct machine_disk *disk,
		       struct err *err)
{
	struct names n = names_of(disk);
	struct disks_node snapshot = { .found = false }, cbw = snapshot, fleece = snapshot;
	int r;

	r = disks_look(c->qmp, n.snapshot, NULL, &snapshot, err);
	if (r == 0)
		r = disks_look(c->qmp, n.cbw, NULL, &cbw, err);
	if (r == 0)
		r = disks_look(c->qmp, n.fleece, NULL, &fleece, err);
	if (r == 0 && snapshot.found)
		r = remove_node(c, n.snapshot, err);
	if (r == 0 && cbw.found) {
		r = take_filter_out(c, &n, disk->name, err);
		if (r == 0)
			r = remove_node(c, n.cbw, err);
	}
	if (r == 0 && fleece.found)
		r = remove_node(c, n.fleece, err);
	return r;
}

int capture_nodes_remove(const struct capture_nodes *c, struct err *err)
{
	int r = remove_exports(c, err);

	for (size_t i = 0; r == 0 && i < c->record->disk_count; i++)
		r = remove_disk(c, &c->record->disks[i], err);
	if (r < 0)
		return r;
	r = qmp_run(c->qmp, "nbd-server-stop", NULL, NULL, NULL);
	return r == -EREMOTEIO ? 0 : r; /* refused: it does not run */
}

int capture_nodes_commit(const struct capture_nodes *c, const char *id, struct err *err)
{
	json_t *actions = json_array();

	for (size_t i = 0; i < c->record->disk_count; i++) {
		const struct machine_disk *disk = &c->record->disks[i];
		struct disks_node node;
		int r = disks_look(c->qmp, disk->name, c->record->snapshot, &node, err);

		if (r < 0) {
			json_decref(actions);
			return r;
		}
		json_array_append_new(
			actions, action("block-dirty-bitmap-add",
					json_pack("{s:s, s:s, s:i}", "node", disk->name, "name", id,
						  "granularity", DISKS_GRANULARITY)));
		json_array_append_new(actions, merge_action(disk, id));
		json_array_append_new(actions, bitmap_action("block-dirty-bitmap-remove", disk,
							     CAPTURE_NODES_NEXT));
		if (node.has_bitmap)
			json_array_append_new(actions, bitmap_action("block-dirty-bitmap-remove",
								     disk, c->record->snapshot));
	}
	return transact(c, actions, err);
}

int capture_nodes_roll_back(const struct capture_nodes *c, struct err *err)
{
	json_t *actions = json_array();

	for (size_t i = 0; i < c->record->disk_count; i++) {
		const struct machine_disk *disk = &c->record->disks[i];
		struct disks_node next, old;
		int r = disks_look(c->qmp, disk->name, CAPTURE_NODES_NEXT, &next, err);

		if (r == 0)
			r = disks_look(c->qmp, disk->name, c->record->snapshot, &old, err);
		if (r < 0) {
			json_decref(actions);
			return r;
		}
		if (!next.has_bitmap)
			continue;
		if (old.has_bitmap) {
			json_array_append_new(actions, bitmap_action("block-dirty-bitmap-enable",
								     disk, c->record->snapshot));
			json_array_append_new(actions, merge_action(disk, c->record->snapshot));
		}
		json_array_append_new(actions, bitmap_action("block-dirty-bitmap-remove", disk,
							     CAPTURE_NODES_NEXT));
	}
	return transact(c, actions, err);
}

int capture_nodes_tracked(const struct capture_nodes *c, bool *tracked, char *reason, size_t len,
			  struct err *err)
{
	const char *base = c->record->snapshot;

	reason[0] = '\0';
	*tracked = base[0] != '\0';
	if (!*tracked)
		snprintf(reason, len,
			 "this desktop was not started from a snapshot and has none yet");
	for (size_t i = 0; *tracked && i < c->record->disk_count; i++) {
		const char *disk = c->record->disks[i].name;
		struct disks_node node;
		int r = disks_look(c->qmp, disk, base, &node, err);

		if (r < 0)
			return r;
		*tracked = node.has_bitmap && node.bitmap_usable;
		if (!*tracked)
			snprintf(reason, len, "change tracking of %s since %s was lost", disk,
				 base);
	}
	return 0;
}
