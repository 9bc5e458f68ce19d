#include "hypervisor/orphans.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/io.h"
#include "common/log.h"
#include "hypervisor/desktop_record.h"
#include "hypervisor/desktop_start.h"

static json_t *disks_json(const struct desktop_record *record)
{
	json_t *disks = json_array();

	for (size_t i = 0; disks && i < record->disk_count; i++) {
		CLEANUP_FREE char *file = io_printf("%s.qcow2", record->disks[i].name);

		json_array_append_new(
			disks, json_pack("{s:s, s:I, s:s, s:b}", "name", record->disks[i].name,
					 "size", (json_int_t)record->disks[i].size, "file",
					 file ? file : "", "complete", record->disks[i].complete));
	}
	return disks;
}

static void list_one(const char *folder, json_t *list)
{
	struct desktop_record record;
	struct err err = { .code = 0 };

	if (desktop_record_load(&record, folder, &err) < 0) {
		log_warning("orphan cannot be read: %s", err_text(&err));
		return;
	}
	json_array_append_new(list, json_pack("{s:s, s:I, s:s, s:s, s:o, s:o}", "desktop",
					      record.desktop, "epoch", (json_int_t)record.epoch,
					      "folder", folder, "snapshot", record.snapshot,
					      "machine", machine_json(&record.machine), "disks",
					      disks_json(&record)));
}

typedef int visit(void *arg, const char *folder, struct err *err);

static int each(const char *state, visit *fn, void *arg, struct err *err)
{
	CLEANUP_FREE char *orphans = io_printf("%s/orphans", state);
	struct dirent *entry;
	DIR *dir;
	int r = 0;

	if (!orphans)
		return err_set(err, ENOMEM, "look for orphans");
	dir = opendir(orphans);
	if (!dir)
		return errno == ENOENT ? 0 : err_set(err, errno, "open %s", orphans);
	while (r == 0 && (entry = readdir(dir))) {
		CLEANUP_FREE char *folder = io_printf("%s/%s", orphans, entry->d_name);

		if (entry->d_name[0] == '.')
			continue;
		r = folder ? fn(arg, folder, err) : err_set(err, ENOMEM, "look for orphans");
	}
	closedir(dir);
	return r;
}

static int visit_list(void *arg, const char *folder, struct err *err)
{
	(void)err;
	list_one(folder, arg);
	return 0;
}

int orphans_list(const char *state, json_t **out, struct err *err)
{
	CLEANUP(json_decref) json_t *list = json_array();
	int r;

	if (!list)
		return err_set(err, ENOMEM, "list orphans");
	r = each(state, visit_list, list, err);
	if (r == 0)
		*out = TAKE(list);
	return r;
}

struct deletion {
	const char *folder;
	bool found;
};

static int visit_delete(void *arg, const char *folder, struct err *err)
{
	struct deletion *d = arg;

	if (strcmp(folder, d->folder) != 0)
		return 0;
	d->found = true;
	return desktop_start_delete_folder(folder, err);
}

int orphans_delete(const char *state, const char *folder, struct err *err)
{
	struct deletion d = { .folder = folder };
	int r = each(state, visit_delete, &d, err);

	if (r == 0 && !d.found)
		r = err_say(err, ENOENT, "there is no orphan %.200s", folder);
	if (r == 0)
		log_info("orphan deleted folder=%s", folder);
	return r;
}
