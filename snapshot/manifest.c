#include "snapshot/manifest.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/clock.h"
#include "common/hex.h"
#include "snapshot/volume_tree.h"

enum { VERSION = 1, SIZE_BITS = 56 }; /* larger volumes than 2^56 bytes are refused */

static const char *const kind_names[] = { [MANIFEST_IMPORT] = "import",
					  [MANIFEST_COLD] = "cold",
					  [MANIFEST_LIVE] = "live",
					  [MANIFEST_MENDED] = "mended" };
static const char *const volume_kind_names[] = {
	[VOLUME_DISK] = "disk", [VOLUME_RAM] = "ram", [VOLUME_BLOB] = "blob"
};

void manifest_init(struct manifest *m)
{
	memset(m, 0, sizeof(*m));
	memcpy(m->domain, "default", sizeof("default"));
}

void manifest_deinit(struct manifest *m)
{
	json_decref(m->machine);
	m->machine = NULL;
}

void manifest_new_id(uint64_t wall_ms, char id[MANIFEST_ID_LEN])
{
	time_t seconds = (time_t)(wall_ms / 1000);
	char digits[9];
	struct tm tm;

	hex_random(digits, 4);
	gmtime_r(&seconds, &tm);
	/* %u and a remainder, so that no clock can make it longer than the eight digits of a date. */
	snprintf(id, MANIFEST_ID_LEN, "%04u%02u%02u-%02u%02u%02u-%s",
		 (unsigned)(tm.tm_year + 1900) % 10000, (unsigned)(tm.tm_mon + 1) % 100,
		 (unsigned)tm.tm_mday % 100, (unsigned)tm.tm_hour % 100, (unsigned)tm.tm_min % 100,
		 (unsigned)tm.tm_sec % 100, digits);
}

bool manifest_id_valid(const char *id)
{
	static const char pattern[] = "dddddddd-dddddd-hhhhhhhh";

	if (strlen(id) != sizeof(pattern) - 1)
		return false;
	for (size_t i = 0; pattern[i]; i++) {
		const char *allowed = pattern[i] == 'd'   ? "0123456789"
				      : pattern[i] == 'h' ? "0123456789abcdef"
							  : "-";

		if (!strchr(allowed, id[i]))
			return false;
	}
	return true;
}

bool manifest_desktop_valid(const char *name)
{
	size_t len = strlen(name);

	return len >= 1 && len <= MANIFEST_DESKTOP_MAX && name[0] != '-' &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == len;
}

/* Volume names are shown and become file names: visible ASCII, no "..", no slash at the ends. */
bool manifest_volume_name_valid(const char *name)
{
	size_t len = strlen(name);

	if (len < 1 || len > VOLUME_NAME_MAX || name[0] == '/' || name[len - 1] == '/' ||
	    strstr(name, ".."))
		return false;
	for (; *name; name++)
		if (*name <= ' ' || *name > '~' || *name == '"' || *name == '\\')
			return false;
	return true;
}

const struct volume *manifest_volume(const struct manifest *m, const char *name)
{
	for (size_t i = 0; i < m->volume_count; i++)
		if (strcmp(m->volumes[i].name, name) == 0)
			return &m->volumes[i];
	return NULL;
}

static int name_index(const char *const *names, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(names[i], name) == 0)
			return (int)i;
	return -1;
}

static int volume_from_json(struct volume *v, const json_t *value, size_t i, struct err *err)
{
	const char *name = NULL, *kind = NULL, *root = NULL;
	uint64_t size = 0, grid = 0;
	const struct json_field fields[] = {
		{ "name", JSON_KIND_STRING, false, &name },
		{ "kind", JSON_KIND_STRING, false, &kind },
		{ "size", JSON_KIND_UINT, false, &size },
		{ "grid", JSON_KIND_UINT, false, &grid },
		{ "root", JSON_KIND_STRING, false, &root },
	};
	char what[32];
	int k, r;

	snprintf(what, sizeof(what), "manifest, volume %zu", i);
	r = json_fields(value, fields, ARRAY_LEN(fields), what, err);
	if (r < 0)
		return r;
	if (!manifest_volume_name_valid(name))
		return err_say(err, EINVAL,
			       "%s: the name must be 1 to %d " MANIFEST_VOLUME_NAME_RULE, what,
			       VOLUME_NAME_MAX);
	k = name_index(volume_kind_names, ARRAY_LEN(volume_kind_names), kind);
	if (k < 0)
		return err_say(err, EINVAL, "%s: kind must be disk, ram or blob", what);
	if (size >> SIZE_BITS)
		return err_say(err, EINVAL, "%s: a size of 2^%d bytes or more", what, SIZE_BITS);
	if (!volume_tree_grid_valid(grid))
		return err_say(err, EINVAL, "%s: grid must be a power of two from 4096 to %d", what,
			       CHUNK_MAX);
	if (hex_decode(root, v->root.bytes, CHUNK_ID_LEN) < 0)
		return err_say(err, EINVAL, "%s: root must be %d hexadecimal digits", what,
			       2 * CHUNK_ID_LEN);
	snprintf(v->name, sizeof(v->name), "%s", name);
	v->kind = (enum volume_kind)k;
	v->size = size;
	v->grid = (uint32_t)grid;
	return 0;
}

static int volumes_from_json(struct manifest *m, const json_t *array, struct err *err)
{
	size_t n = json_array_size(array);

	if (n > MANIFEST_VOLUMES_MAX)
		return err_say(err, EINVAL, "manifest: %zu volumes, at most %d are allowed", n,
			       MANIFEST_VOLUMES_MAX);
	for (size_t i = 0; i < n; i++) {
		int r = volume_from_json(&m->volumes[i], json_array_get(array, i), i, err);

		if (r < 0)
			return r;
		if (manifest_volume(m, m->volumes[i].name))
			return err_say(err, EINVAL, "manifest: two volumes are named %s",
				       m->volumes[i].name);
		m->volume_count++;
	}
	return 0;
}

/* The members of a manifest as they stand in JSON. */
struct texts {
	const char *id, *desktop, *parent, *created, *kind, *domain;
	uint64_t version, created_ms;
	json_t *machine, *volumes;
};

static int texts_check(struct manifest *m, const struct texts *t, struct err *err)
{
	int kind = name_index(kind_names, ARRAY_LEN(kind_names), t->kind);

	if (t->version != VERSION)
		return err_say(err, EINVAL, "manifest: version %llu is not known, only %d",
			       (unsigned long long)t->version, VERSION);
	if (t->id[0] && !manifest_id_valid(t->id))
		return err_say(err, EINVAL, "manifest: id is not a snapshot id");
	if (t->parent[0] && !manifest_id_valid(t->parent))
		return err_say(err, EINVAL, "manifest: parent is not a snapshot id");
	if (!manifest_desktop_valid(t->desktop))
		return err_say(
			err, EINVAL,
			"manifest: desktop must be 1 to %d of a-z 0-9 - and not start with -",
			MANIFEST_DESKTOP_MAX);
	if (!manifest_desktop_valid(t->domain))
		return err_say(err, EINVAL,
			       "manifest: domain must be 1 to %d of a-z 0-9 - and not start with -",
			       MANIFEST_DESKTOP_MAX);
	if (kind < 0)
		return err_say(err, EINVAL, "manifest: kind must be import, cold or live");
	if (clock_parse(t->created, &m->created_wall_ms) < 0)
		return err_say(err, EINVAL, "manifest: created must be like 2026-11-22T16:45:12Z");
	if (t->created_ms > 999)
		return err_say(err, EINVAL, "manifest: created_ms must be from 0 to 999");
	m->created_wall_ms += t->created_ms;
	m->kind = (enum manifest_kind)kind;
	snprintf(m->id, sizeof(m->id), "%s", t->id);
	snprintf(m->parent, sizeof(m->parent), "%s", t->parent);
	snprintf(m->desktop, sizeof(m->desktop), "%s", t->desktop);
	snprintf(m->domain, sizeof(m->domain), "%s", t->domain);
	return 0;
}

static int parse(struct manifest *m, const json_t *value, struct err *err)
{
	struct texts t = { .id = "", .parent = "", .domain = "default" };
	const struct json_field fields[] = {
		{ "version", JSON_KIND_UINT, false, &t.version },
		{ "snapshot", JSON_KIND_STRING, true, &t.id },
		{ "desktop", JSON_KIND_STRING, false, &t.desktop },
		{ "parent", JSON_KIND_STRING, true, &t.parent },
		{ "created", JSON_KIND_STRING, false, &t.created },
		{ "created_ms", JSON_KIND_UINT, true, &t.created_ms },
		{ "kind", JSON_KIND_STRING, false, &t.kind },
		{ "domain", JSON_KIND_STRING, true, &t.domain },
		{ "epoch", JSON_KIND_UINT, true, &m->epoch },
		{ "branch", JSON_KIND_BOOL, true, &m->branch },
		{ "application_consistent", JSON_KIND_BOOL, true, &m->application_consistent },
		{ "machine", JSON_KIND_OBJECT, true, &t.machine },
		{ "volumes", JSON_KIND_ARRAY, false, &t.volumes },
	};
	int r;

	r = json_fields(value, fields, ARRAY_LEN(fields), "manifest", err);
	if (r < 0)
		return r;
	r = texts_check(m, &t, err);
	if (r < 0)
		return r;
	r = volumes_from_json(m, t.volumes, err);
	if (r < 0)
		return r;
	m->machine = json_incref(t.machine);
	return 0;
}

int manifest_from_json(struct manifest *m, const json_t *value, struct err *err)
{
	manifest_init(m);
	return parse(m, value, err);
}

int manifest_parse(struct manifest *m, const char *text, size_t len, struct err *err)
{
	CLEANUP(json_decref) json_t *value = NULL;
	int r;

	manifest_init(m);
	r = json_parse(&value, text, len, "manifest", err);
	return r < 0 ? r : parse(m, value, err);
}

static json_t *volume_to_json(const struct volume *v)
{
	char root[CHUNK_ID_TEXT_LEN];

	hex_encode(v->root.bytes, CHUNK_ID_LEN, root);
	return json_pack("{ss ss sI sI ss}", "name", v->name, "kind", volume_kind_names[v->kind],
			 "size", (json_int_t)v->size, "grid", (json_int_t)v->grid, "root", root);
}

json_t *manifest_to_json(const struct manifest *m)
{
	CLEANUP(json_decref) json_t *value = NULL;
	json_t *volumes = json_array();
	char created[CLOCK_TEXT_LEN];

	clock_format(m->created_wall_ms, created);
	for (size_t i = 0; i < m->volume_count; i++)
		json_array_append_new(volumes, volume_to_json(&m->volumes[i]));
	value = json_pack("{sI ss ss ss sI ss ss sI sb sb so}", "version", (json_int_t)VERSION,
			  "snapshot", m->id, "desktop", m->desktop, "created", created,
			  "created_ms", (json_int_t)(m->created_wall_ms % 1000), "kind",
			  kind_names[m->kind], "domain", m->domain[0] ? m->domain : "default",
			  "epoch", (json_int_t)m->epoch, "branch", m->branch,
			  "application_consistent", m->application_consistent, "volumes", volumes);
	if (!value)
		return NULL;
	if (m->parent[0])
		json_object_set_new(value, "parent", json_string(m->parent));
	if (m->machine)
		json_object_set(value, "machine", m->machine);
	return TAKE(value);
}
