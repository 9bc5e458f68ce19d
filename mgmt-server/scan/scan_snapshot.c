#include "mgmt-server/scan/scan_snapshot.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/io.h"
#include "mgmt-server/scan/nbd_child.h"
#include "mgmt-server/scan/physical_memory.h"
#include "snapshot/store.h"
#include "snapshot/volume_diff.h"

#define RAM_PREFIX "ram/" /* of volumes: what the agent puts in front of a RAM block's name */

struct part { /* a disk or a RAM block */
	const struct scan_snapshot *snapshot;
	struct volume_reader *reader;
	const char *name;
	struct nbd_child server;       /* only once somebody asked for it */
	struct physical_memory memory; /* of the main RAM block */
	char memory_name[VOLUME_NAME_MAX + 8];
};

struct scan_snapshot {
	char *store_path, *key_path, *plugin; /* key_path NULL: the store's own place */
	struct store *store;
	struct manifest manifest;
	struct part parts[MANIFEST_VOLUMES_MAX];
	struct scan_volume volumes[MANIFEST_VOLUMES_MAX];
	size_t count;
};

static int read_part(void *ctx, uint8_t *buf, size_t len, uint64_t offset, struct err *err)
{
	struct part *d = ctx;

	return volume_reader_read(d->reader, buf, len, offset, err);
}

static int extent_of_part(void *ctx, uint64_t offset, uint64_t *len, bool *zero, struct err *err)
{
	struct part *d = ctx;

	return volume_reader_extent(d->reader, offset, len, zero, err);
}

static int ids_of_part(void *ctx, uint64_t first, size_t n, struct chunk_id *ids, struct err *err)
{
	struct part *d = ctx;

	return volume_reader_ids(d->reader, first, n, ids, err);
}

static int nbd_socket(void *ctx, const char **path, struct err *err)
{
	struct part *d = ctx;
	const struct scan_snapshot *s = d->snapshot;
	CLEANUP_FREE char *store = io_printf("store=%s", s->store_path);
	CLEANUP_FREE char *id = io_printf("snapshot=%s", s->manifest.id);
	CLEANUP_FREE char *volume = io_printf("volume=%s", d->name);
	CLEANUP_FREE char *key = s->key_path ? io_printf("key=%s", s->key_path) : NULL;
	char program[64];
	const char *argv[] = { program,  "--foreground",   "--readonly", "--exit-with-parent",
			       "--unix", d->server.socket, s->plugin,    store,
			       id,       volume,           key,          NULL };
	int r;

	*path = d->server.socket;
	if (d->server.pid)
		return 0;
	if (!store || !id || !volume || (s->key_path && !key))
		return err_set(err, ENOMEM, "serve %s", d->name);
	r = nbd_child_program("nbdkit", "nbdkit", program, sizeof(program), err);
	if (r == 0)
		r = nbd_child_prepare(&d->server, err);
	return r < 0 ? r : nbd_child_start(&d->server, argv, err);
}

static int add_part(struct scan_snapshot *s, const struct volume *v, struct chunk_source source,
		    struct err *err)
{
	struct part *p = &s->parts[s->count];
	int r;

	*p = (struct part){ .snapshot = s, .name = v->name };
	r = volume_reader_open(&p->reader, v, source, err);
	if (r < 0)
		return r;
	s->volumes[s->count++] = (struct scan_volume){
		.name = v->name,
		.input = { .ctx = p, .size = v->size, .read = read_part, .extent = extent_of_part },
		.nbd_socket = v->kind == VOLUME_DISK ? nbd_socket : NULL,
	};
	if (v->kind == VOLUME_DISK)
		s->volumes[s->count - 1].chunks =
			(struct content_chunks){ .ctx = p, .grid = v->grid, .ids = ids_of_part };
	return 0;
}

static bool is_memory(const struct volume *v)
{
	return v->kind == VOLUME_RAM && v->size;
}

/* The largest block: a screen's or a ROM's is never as large. */
static const struct volume *main_memory(const struct manifest *m)
{
	const struct volume *largest = NULL;

	for (size_t i = 0; i < m->volume_count; i++) {
		if (is_memory(&m->volumes[i]) && (!largest || m->volumes[i].size > largest->size))
			largest = &m->volumes[i];
	}
	return largest;
}

static int add_memory(struct scan_snapshot *s, const struct volume *v, bool is_main,
		      struct chunk_source source, struct err *err)
{
	const json_t *type = json_object_get(s->manifest.machine, "type");
	struct scan_volume *volume = &s->volumes[s->count];
	struct part *p = &s->parts[s->count];
	size_t skip = strncmp(v->name, RAM_PREFIX, strlen(RAM_PREFIX)) ? 0 : strlen(RAM_PREFIX);
	int r = add_part(s, v, source, err);

	if (r < 0)
		return r;
	snprintf(p->memory_name, sizeof(p->memory_name), "memory%s%s", is_main ? "" : "/",
		 is_main ? "" : v->name + skip);
	volume->name = p->memory_name;
	volume->memory = true;
	if (is_main) {
		physical_memory_init(&p->memory,
				     json_is_string(type) ? json_string_value(type) : "",
				     &volume->input);
		volume->input = physical_memory_input(&p->memory);
	}
	return 0;
}

static int add_parts(struct scan_snapshot *s, struct err *err)
{
	const struct manifest *m = &s->manifest;
	const struct volume *largest = main_memory(m);
	struct chunk_source source;
	int r = store_domain_source(s->store, m->domain, &source, err);

	for (size_t i = 0; r == 0 && i < m->volume_count; i++) {
		if (m->volumes[i].kind == VOLUME_DISK)
			r = add_part(s, &m->volumes[i], source, err);
	}
	if (r == 0 && !s->count)
		return err_say(err, ENOENT, "snapshot %s holds no disk", m->id);
	for (size_t i = 0; r == 0 && i < m->volume_count; i++) {
		if (is_memory(&m->volumes[i]))
			r = add_memory(s, &m->volumes[i], &m->volumes[i] == largest, source, err);
	}
	return r;
}

int scan_snapshot_open(struct scan_snapshot **out, const struct scan_snapshot_order *o,
		       struct err *err)
{
	CLEANUP(scan_snapshot_close) struct scan_snapshot *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return err_set(err, ENOMEM, "open snapshot %s", o->id);
	manifest_init(&s->manifest);
	s->store_path = strdup(o->store);
	s->plugin = strdup(o->plugin);
	s->key_path = o->key ? strdup(o->key) : NULL;
	if (!s->store_path || !s->plugin || (o->key && !s->key_path))
		return err_set(err, ENOMEM, "open snapshot %s", o->id);
	r = store_open(&s->store, o->store, o->key, STORE_READ, err);
	if (r < 0)
		return r;
	r = store_manifest(s->store, o->id, &s->manifest, err);
	if (r == STORE_ABSENT)
		return err_say(err, ENOENT, "store %s has no snapshot %s", o->store, o->id);
	if (r == 0)
		r = add_parts(s, err);
	if (r < 0)
		return r;
	*out = TAKE(s);
	return 0;
}

void scan_snapshot_close(struct scan_snapshot *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->manifest.volume_count; i++) {
		nbd_child_end(&s->parts[i].server);
		volume_reader_close(s->parts[i].reader);
	}
	manifest_deinit(&s->manifest);
	store_close(s->store);
	free(s->store_path);
	free(s->key_path);
	free(s->plugin);
	free(s);
}

const struct scan_volume *scan_snapshot_volumes(const struct scan_snapshot *s, size_t *count)
{
	*count = s->count;
	return s->volumes;
}

const struct manifest *scan_snapshot_manifest(const struct scan_snapshot *s)
{
	return &s->manifest;
}

static int compare_disk(const struct volume *volume, const struct volume *base,
			struct chunk_source source, struct chunk_source base_source,
			scan_snapshot_change_fn *fn, void *arg, struct err *err)
{
	struct volume_diff diff = { 0 };
	struct err unread = { 0 };
	int r = 0;

	if (volume_diff(volume, base, source, base_source, &diff, &unread) == 0)
		r = fn(arg, volume->name, diff.extents, diff.count, err);
	volume_diff_deinit(&diff);
	return r;
}

int scan_snapshot_changes(const struct scan_snapshot *s, const char *base_id,
			  scan_snapshot_change_fn *fn, void *arg, struct err *err)
{
	struct chunk_source source, base_source;
	struct err unread = { 0 };
	struct manifest base;
	int r = 0;

	manifest_init(&base);
	if (store_manifest(s->store, base_id, &base, &unread) != 0 ||
	    store_domain_source(s->store, s->manifest.domain, &source, &unread) < 0 ||
	    store_domain_source(s->store, base.domain, &base_source, &unread) < 0) {
		manifest_deinit(&base);
		return 0;
	}
	for (size_t i = 0; r == 0 && i < s->manifest.volume_count; i++) {
		const struct volume *volume = &s->manifest.volumes[i];
		const struct volume *old = manifest_volume(&base, volume->name);

		if (volume->kind == VOLUME_DISK && old && old->kind == VOLUME_DISK)
			r = compare_disk(volume, old, source, base_source, fn, arg, err);
	}
	manifest_deinit(&base);
	return r;
}
