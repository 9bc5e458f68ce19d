#include "mgmt-server/scan/scan_snapshot.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/io.h"
#include "mgmt-server/scan/nbd_child.h"
#include "snapshot/store.h"

struct disk {
	const struct scan_snapshot *snapshot;
	struct volume_reader *reader;
	const char *name;
	struct nbd_child server; /* only once somebody asked for it */
};

struct scan_snapshot {
	char *store_path, *key_path, *plugin; /* key_path NULL: the store's own place */
	struct store *store;
	struct manifest manifest;
	struct disk disks[MANIFEST_VOLUMES_MAX];
	struct scan_volume volumes[MANIFEST_VOLUMES_MAX];
	size_t count;
};

static int read_disk(void *ctx, uint8_t *buf, size_t len, uint64_t offset, struct err *err)
{
	struct disk *d = ctx;

	return volume_reader_read(d->reader, buf, len, offset, err);
}

static int extent_of_disk(void *ctx, uint64_t offset, uint64_t *len, bool *zero, struct err *err)
{
	struct disk *d = ctx;

	return volume_reader_extent(d->reader, offset, len, zero, err);
}

static int nbd_socket(void *ctx, const char **path, struct err *err)
{
	struct disk *d = ctx;
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

static int add_disks(struct scan_snapshot *s, struct err *err)
{
	struct chunk_source source;
	int r = store_domain_source(s->store, s->manifest.domain, &source, err);

	for (size_t i = 0; r == 0 && i < s->manifest.volume_count; i++) {
		const struct volume *v = &s->manifest.volumes[i];
		struct disk *d = &s->disks[s->count];

		if (v->kind != VOLUME_DISK)
			continue;
		*d = (struct disk){ .snapshot = s, .name = v->name };
		r = volume_reader_open(&d->reader, v, source, err);
		if (r < 0)
			return r;
		s->volumes[s->count++] = (struct scan_volume){
			.name = v->name,
			.input = { .ctx = d,
				   .size = v->size,
				   .read = read_disk,
				   .extent = extent_of_disk },
			.nbd_socket = nbd_socket,
		};
	}
	if (r == 0 && !s->count)
		return err_say(err, ENOENT, "snapshot %s holds no disk", s->manifest.id);
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
		r = add_disks(s, err);
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
		nbd_child_end(&s->disks[i].server);
		volume_reader_close(s->disks[i].reader);
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
