#include "client-agent/hypervisor_status.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { DESKTOPS_MAX = 4096 };

static int copy_text(char *to, size_t room, const char *from, const char *what, struct err *err)
{
	size_t len = strlen(from);

	if (len >= room)
		return err_say(err, EBADMSG, "%s: '%.40s…' is too long", what, from);
	memcpy(to, from, len + 1);
	return 0;
}

static int parse_disk(const json_t *object, struct hypervisor_disk *out, struct err *err)
{
	const char *name = NULL;
	const struct json_field fields[] = {
		{ "name", JSON_KIND_STRING, false, &name },
		{ "size", JSON_KIND_UINT, false, &out->size },
		{ "local_bytes", JSON_KIND_UINT, false, &out->local_bytes },
		{ "complete", JSON_KIND_BOOL, false, &out->complete },
	};
	int r = json_fields(object, fields, ARRAY_LEN(fields), "a disk's status", err);

	return r < 0 ? r : copy_text(out->name, sizeof(out->name), name, "a disk's name", err);
}

int hypervisor_status_parse(const json_t *object, struct hypervisor_status *out, struct err *err)
{
	const char *desktop = NULL, *state = NULL, *snapshot = NULL, *memory = NULL, *reason = NULL;
	json_t *disks = NULL, *first_output = NULL, *machine = NULL, *lease = NULL;
	const struct json_field fields[] = {
		{ "desktop", JSON_KIND_STRING, false, &desktop },
		{ "epoch", JSON_KIND_UINT, false, &out->epoch },
		{ "state", JSON_KIND_STRING, false, &state },
		{ "reason", JSON_KIND_STRING, true, &reason },
		{ "machine", JSON_KIND_ANY, true, &machine },
		{ "snapshot", JSON_KIND_STRING, false, &snapshot },
		{ "memory", JSON_KIND_STRING, false, &memory },
		{ "disks", JSON_KIND_ARRAY, false, &disks },
		{ "capture", JSON_KIND_BOOL, false, &out->capture },
		{ "quarantined", JSON_KIND_BOOL, true, &out->quarantined },
		{ "lease_ms", JSON_KIND_ANY, true, &lease },
		{ "first_output_ms", JSON_KIND_ANY, true, &first_output },
	};
	const json_t *disk;
	size_t i;
	int r;

	*out = (struct hypervisor_status){ 0 };
	r = json_fields(object, fields, ARRAY_LEN(fields), "a desktop's status", err);
	if (r == 0)
		r = copy_text(out->desktop, sizeof(out->desktop), desktop, "a desktop's name", err);
	if (r == 0)
		r = copy_text(out->state, sizeof(out->state), state, "a state", err);
	if (r == 0)
		r = copy_text(out->snapshot, sizeof(out->snapshot), snapshot, "a snapshot", err);
	if (r < 0)
		return r;
	if (!manifest_desktop_valid(out->desktop))
		return err_say(err, EBADMSG, "'%s' is no name for a desktop", out->desktop);
	out->memory_arriving = strcmp(memory, "arriving") == 0;
	if (json_is_integer(lease) && json_integer_value(lease) > 0)
		out->lease_ms = (uint64_t)json_integer_value(lease);
	out->has_first_output = json_is_number(first_output);
	if (out->has_first_output && json_number_value(first_output) > 0)
		out->first_output_ms = (uint64_t)json_number_value(first_output);
	if (json_array_size(disks) > HYPERVISOR_DISKS_MAX)
		return err_say(err, EBADMSG, "desktop %s has %zu disks, more than %d", desktop,
			       json_array_size(disks), HYPERVISOR_DISKS_MAX);
	json_array_foreach (disks, i, disk) {
		r = parse_disk(disk, &out->disks[out->disk_count++], err);
		if (r < 0)
			return r;
	}
	return 0;
}

bool hypervisor_status_is(const struct hypervisor_status *status, const char *state)
{
	return strcmp(status->state, state) == 0;
}

bool hypervisor_status_disks_local(const struct hypervisor_status *status)
{
	size_t i;

	for (i = 0; i < status->disk_count; i++) {
		if (!status->disks[i].complete)
			return false;
	}
	return true;
}

bool hypervisor_status_local(const struct hypervisor_status *status)
{
	return !status->memory_arriving && hypervisor_status_disks_local(status);
}

int hypervisor_status_get(struct hypervisor_client *client, const char *desktop,
			  struct hypervisor_status *out, struct err *err)
{
	CLEANUP(json_decref) json_t *reply = NULL;
	int r;

	r = hypervisor_client_call(
		client,
		&(struct hypervisor_call){
			.op = "status", .desktop = desktop, .again = true, .reply = &reply },
		err);
	return r < 0 ? r : hypervisor_status_parse(reply, out, err);
}

int hypervisor_status_list(struct hypervisor_client *client, struct hypervisor_status **out,
			   size_t *count, struct err *err)
{
	CLEANUP(json_decref) json_t *reply = NULL;
	CLEANUP_FREE struct hypervisor_status *list = NULL;
	json_t *desktops = NULL;
	const struct json_field fields[] = { { "desktops", JSON_KIND_ARRAY, false, &desktops } };
	const json_t *desktop;
	size_t i, n;
	int r;

	r = hypervisor_client_call(
		client, &(struct hypervisor_call){ .op = "list", .again = true, .reply = &reply },
		err);
	if (r == 0)
		r = json_fields(reply, fields, ARRAY_LEN(fields), "the list of desktops", err);
	if (r < 0)
		return r;
	n = json_array_size(desktops);
	if (n > DESKTOPS_MAX)
		return err_say(err, EBADMSG, "the hypervisor lists %zu desktops", n);
	list = calloc(n + 1, sizeof(*list));
	if (!list)
		return err_set(err, ENOMEM, "list desktops");
	json_array_foreach (desktops, i, desktop) {
		r = hypervisor_status_parse(desktop, &list[i], err);
		if (r < 0)
			return r;
	}
	*out = TAKE(list);
	*count = n;
	return 0;
}

int hypervisor_status_hello(struct hypervisor_client *client, struct hypervisor_hello *out,
			    struct err *err)
{
	CLEANUP(json_decref) json_t *reply = NULL;
	const char *version = NULL, *accelerator = NULL, *note = NULL, *live_note = NULL;
	const struct json_field fields[] = {
		{ "version", JSON_KIND_STRING, false, &version },
		{ "accelerator", JSON_KIND_STRING, false, &accelerator },
		{ "note", JSON_KIND_STRING, false, &note },
		{ "cpus", JSON_KIND_UINT, false, &out->cpus },
		{ "memory_mib", JSON_KIND_UINT, false, &out->memory_mib },
		{ "disk_free_bytes", JSON_KIND_UINT, false, &out->disk_free_bytes },
		{ "live_capture", JSON_KIND_BOOL, false, &out->live_capture },
		{ "live_note", JSON_KIND_STRING, true, &live_note },
	};
	int r;

	r = hypervisor_client_call(
		client, &(struct hypervisor_call){ .op = "hello", .again = true, .reply = &reply },
		err);
	if (r == 0)
		r = json_fields(reply, fields, ARRAY_LEN(fields), "the hypervisor's hello", err);
	if (r == 0)
		r = copy_text(out->version, sizeof(out->version), version, "a version", err);
	if (r == 0)
		r = copy_text(out->accelerator, sizeof(out->accelerator), accelerator,
			      "an accelerator", err);
	return r;
}
