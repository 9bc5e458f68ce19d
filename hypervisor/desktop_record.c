#include "hypervisor/desktop_record.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/io.h"

enum { VERSION = 1, FILE_MAX_BYTES = 64 * 1024 };

#define LOWER_DIGITS "abcdefghijklmnopqrstuvwxyz0123456789"

int desktop_record_check_name(const char *name, struct err *err)
{
	size_t n = strspn(name, LOWER_DIGITS "-");

	if (n == 0 || name[n] || n > DESKTOP_RECORD_NAME_MAX || name[0] == '-')
		return err_say(
			err, EINVAL,
			"'desktop' must be 1 to %d of a-z, 0-9 and '-', not beginning with '-'",
			DESKTOP_RECORD_NAME_MAX);
	return 0;
}

int desktop_record_check_snapshot(const char *id, struct err *err)
{
	size_t n = strspn(id, LOWER_DIGITS "ABCDEFGHIJKLMNOPQRSTUVWXYZ._-");

	if (id[n] || n > DESKTOP_RECORD_SNAPSHOT_MAX)
		return err_say(
			err, EINVAL,
			"'snapshot' must be letters, digits, '-', '_' and '.', at most %d of them",
			DESKTOP_RECORD_SNAPSHOT_MAX);
	return 0;
}

int desktop_record_check_disk(const char *name, struct err *err)
{
	if (strlen(name) != 5 || strncmp(name, "disk", 4) != 0 || name[4] < '0' ||
	    name[4] >= '0' + MACHINE_DISKS_MAX)
		return err_say(err, EINVAL, "a disk's 'name' must be disk0 to disk%d, not '%.40s'",
			       MACHINE_DISKS_MAX - 1, name);
	return 0;
}

static json_t *disks_json(const struct desktop_record *record)
{
	json_t *array = json_array();

	for (size_t i = 0; array && i < record->disk_count; i++) {
		const struct machine_disk *d = &record->disks[i];

		json_array_append_new(array, json_pack("{s:s, s:I, s:s, s:b}", "name", d->name,
						       "size", (json_int_t)d->size, "export",
						       d->export, "complete", d->complete));
	}
	return array;
}

int desktop_record_save(const struct desktop_record *r, const char *folder, struct err *err)
{
	CLEANUP_FREE char *path = io_printf("%s/desktop.json", folder);
	CLEANUP(json_decref)
	json_t *root = json_pack(
		"{s:i, s:s, s:I, s:o, s:s, s:o, s:i, s:I, s:s, s:b, s:b, s:b, s:b, s:b, s:b, s:I}",
		"version", VERSION, "desktop", r->desktop, "epoch", (json_int_t)r->epoch, "machine",
		machine_json(&r->machine), "snapshot", r->snapshot, "disks", disks_json(r), "pid",
		(int)r->process.pid, "start_time", (json_int_t)r->process.start_time, "boot_id",
		r->boot_id, "started", r->started, "arriving", r->arriving, "filling", r->filling,
		"paused", r->paused, "quarantined", r->quarantined, "output_seen", r->output_seen,
		"first_output_ms", (json_int_t)r->first_output_ms);
	CLEANUP_FREE char *text = root ? json_text(root) : NULL;

	if (!path || !text)
		return err_set(err, ENOMEM, "save the record of desktop %s", r->desktop);
	return io_replace_file(path, text, strlen(text), 0600, err);
}

static int load_disk(struct machine_disk *out, const json_t *object, const char *path,
		     struct err *err)
{
	const char *name = NULL, *export = NULL;
	struct machine_disk d = { .size = 0 };
	const struct json_field fields[] = {
		{ "name", JSON_KIND_STRING, false, &name },
		{ "size", JSON_KIND_UINT, false, &d.size },
		{ "export", JSON_KIND_STRING, false, &export },
		{ "complete", JSON_KIND_BOOL, false, &d.complete },
	};
	int r = json_fields(object, fields, ARRAY_LEN(fields), path, err);

	if (r == 0)
		r = desktop_record_check_disk(name, err);
	if (r < 0)
		return r;
	snprintf(d.name, sizeof(d.name), "%s", name);
	snprintf(d.export, sizeof(d.export), "%s", export);
	*out = d;
	return 0;
}

static int load_disks(struct desktop_record *record, const json_t *disks, const char *path,
		      struct err *err)
{
	if (json_array_size(disks) > MACHINE_DISKS_MAX)
		return err_say(err, EINVAL, "%s: more than %d disks", path, MACHINE_DISKS_MAX);
	for (size_t i = 0; i < json_array_size(disks); i++) {
		int r = load_disk(&record->disks[i], json_array_get(disks, i), path, err);

		if (r < 0)
			return r;
	}
	record->disk_count = json_array_size(disks);
	return 0;
}

/* Texts that were borrowed from the JSON, checked, into the record's arrays. */
static int take_texts(struct desktop_record *record, const char *desktop, const char *snapshot,
		      const char *boot_id, struct err *err)
{
	int r = desktop_record_check_name(desktop, err);

	if (r == 0)
		r = desktop_record_check_snapshot(snapshot, err);
	if (r < 0)
		return r;
	snprintf(record->desktop, sizeof(record->desktop), "%s", desktop);
	snprintf(record->snapshot, sizeof(record->snapshot), "%s", snapshot);
	snprintf(record->boot_id, sizeof(record->boot_id), "%s", boot_id);
	return 0;
}

int desktop_record_load(struct desktop_record *out, const char *folder, struct err *err)
{
	CLEANUP_FREE char *path = io_printf("%s/desktop.json", folder);
	CLEANUP(json_decref) json_t *root = NULL;
	struct desktop_record rec = { .epoch = 0 };
	const char *desktop = NULL, *snapshot = NULL, *boot_id = NULL;
	json_t *machine = NULL, *disks = NULL;
	uint64_t version = 0, pid = 0;
	const struct json_field fields[] = {
		{ "version", JSON_KIND_UINT, false, &version },
		{ "desktop", JSON_KIND_STRING, false, &desktop },
		{ "epoch", JSON_KIND_UINT, false, &rec.epoch },
		{ "machine", JSON_KIND_OBJECT, false, &machine },
		{ "snapshot", JSON_KIND_STRING, false, &snapshot },
		{ "disks", JSON_KIND_ARRAY, false, &disks },
		{ "pid", JSON_KIND_UINT, false, &pid },
		{ "start_time", JSON_KIND_UINT, false, &rec.process.start_time },
		{ "boot_id", JSON_KIND_STRING, false, &boot_id },
		{ "started", JSON_KIND_BOOL, false, &rec.started },
		{ "arriving", JSON_KIND_BOOL, false, &rec.arriving },
		{ "filling", JSON_KIND_BOOL, false, &rec.filling },
		{ "paused", JSON_KIND_BOOL, false, &rec.paused },
		{ "quarantined", JSON_KIND_BOOL, true, &rec.quarantined }, /* older ones lack it */
		{ "output_seen", JSON_KIND_BOOL, false, &rec.output_seen },
		{ "first_output_ms", JSON_KIND_UINT, false, &rec.first_output_ms },
	};
	int r;

	if (!path)
		return err_set(err, ENOMEM, "load the record in %s", folder);
	r = json_parse_file(&root, path, FILE_MAX_BYTES, err);
	if (r == 0)
		r = json_fields(root, fields, ARRAY_LEN(fields), path, err);
	if (r == 0 && version != VERSION)
		r = err_say(err, EINVAL, "%s has version %llu; this hypervisor knows %d", path,
			    (unsigned long long)version, VERSION);
	if (r == 0)
		r = machine_parse(&rec.machine, machine, err);
	if (r == 0)
		r = load_disks(&rec, disks, path, err);
	if (r == 0)
		r = take_texts(&rec, desktop, snapshot, boot_id, err);
	if (r < 0)
		return r;
	rec.process.pid = (pid_t)pid;
	*out = rec;
	return 0;
}
