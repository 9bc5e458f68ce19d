/* nbd_store_plugin.c - nbdkit plugin: a snapshot's volume straight from a store folder.
 *
 *   nbdkit -U - godwit-nbd-store.so store=STORE snapshot=ID volume=disk0 [key=FILE] [overlay=FILE]
 *
 * Source: nbdkit-plugin(3).
 */
#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include <errno.h>
#include <string.h>

#include "snapshot/block_device.h"
#include "snapshot/store.h"

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

static char *store_path, *key_path, *snapshot_id, *volume_name, *overlay_path;
static struct store *store;
static struct block_device *served;

static const struct {
	const char *name;
	char **value;
	bool is_path;
} settings[] = {
	{ "store", &store_path, true },      { "key", &key_path, true },
	{ "snapshot", &snapshot_id, false }, { "volume", &volume_name, false },
	{ "overlay", &overlay_path, true },
};

static int config(const char *name, const char *value)
{
	for (size_t i = 0; i < ARRAY_LEN(settings); i++) {
		if (strcmp(name, settings[i].name) != 0)
			continue;
		base_free(*settings[i].value);
		*settings[i].value =
			settings[i].is_path ? nbdkit_absolute_path(value) : strdup(value);
		return *settings[i].value ? 0 : -1;
	}
	nbdkit_error("godwit-nbd-store: there is no setting '%s'", name);
	return -1;
}

static int config_complete(void)
{
	if (store_path && snapshot_id && volume_name)
		return 0;
	nbdkit_error("godwit-nbd-store: store=, snapshot= and volume= are needed");
	return -1;
}

static int serve(struct err *err)
{
	struct block_device_options options = { .overlay = overlay_path };
	struct manifest m;
	int r;

	r = store_open(&store, store_path, key_path, STORE_READ, err);
	if (r < 0)
		return r;
	r = store_manifest(store, snapshot_id, &m, err);
	if (r == STORE_ABSENT)
		return err_say(err, ENOENT, "store %s has no snapshot %s", store_path, snapshot_id);
	if (r < 0)
		return r;
	options.volume = manifest_volume(&m, volume_name);
	if (!options.volume)
		r = err_say(err, ENOENT, "snapshot %s has no volume '%s'", snapshot_id,
			    volume_name);
	if (r == 0)
		r = store_domain_source(store, m.domain, &options.source, err);
	if (r == 0)
		r = block_device_new(&served, &options, err);
	manifest_deinit(&m);
	return r;
}

/* Before the fork, so that whoever starts us sees the error. */
static int get_ready(void)
{
	struct err err = { 0 };

	if (serve(&err) == 0)
		return 0;
	nbdkit_error("%s", err_text(&err));
	return -1;
}

static void unload(void)
{
	block_device_free(served);
	store_close(store);
	for (size_t i = 0; i < ARRAY_LEN(settings); i++)
		base_free(*settings[i].value);
}

static void *open_connection(int readonly)
{
	(void)readonly;
	return NBDKIT_HANDLE_NOT_NEEDED;
}

static int64_t get_size(void *handle)
{
	(void)handle;
	return (int64_t)block_device_size(served);
}

static int can_write(void *handle)
{
	(void)handle;
	return block_device_writable(served);
}

static int yes(void *handle)
{
	(void)handle;
	return 1;
}

static int can_fua(void *handle)
{
	(void)handle;
	return NBDKIT_FUA_EMULATE;
}

static int answer(int r, const struct err *err)
{
	if (r == 0)
		return 0;
	nbdkit_error("%s", err_text(err));
	nbdkit_set_error(r == -EROFS || r == -ENOSPC || r == -EINVAL ? -r : EIO);
	return -1;
}

static int pread_volume(void *handle, void *buf, uint32_t count, uint64_t offset, uint32_t flags)
{
	struct err err = { 0 };

	(void)handle, (void)flags;
	return answer(block_device_read(served, buf, count, offset, &err), &err);
}

static int pwrite_volume(void *handle, const void *buf, uint32_t count, uint64_t offset,
			 uint32_t flags)
{
	struct err err = { 0 };

	(void)handle, (void)flags;
	return answer(block_device_write(served, buf, count, offset, &err), &err);
}

static int flush_volume(void *handle, uint32_t flags)
{
	struct err err = { 0 };

	(void)handle, (void)flags;
	return answer(block_device_flush(served, &err), &err);
}

static int extents_volume(void *handle, uint32_t count, uint64_t offset, uint32_t flags,
			  struct nbdkit_extents *extents)
{
	uint64_t end = offset + count;
	struct err err = { 0 };

	(void)handle;
	while (offset < end) {
		uint64_t n;
		bool zero;
		int r = block_device_extent(served, offset, end - offset, &n, &zero, &err);

		if (r < 0)
			return answer(r, &err);
		if (nbdkit_add_extent(extents, offset, n,
				      zero ? NBDKIT_EXTENT_HOLE | NBDKIT_EXTENT_ZERO : 0) < 0)
			return -1;
		offset += n;
		if (flags & NBDKIT_FLAG_REQ_ONE)
			break;
	}
	return 0;
}

static struct nbdkit_plugin plugin = {
	.name = "godwit-nbd-store",
	.longname = "a snapshot's volume from a Godwit store",
	.config = config,
	.config_complete = config_complete,
	.config_help = "store=STORE snapshot=ID volume=NAME [key=FILE] [overlay=FILE]",
	.get_ready = get_ready,
	.unload = unload,
	.open = open_connection,
	.get_size = get_size,
	.can_write = can_write,
	.can_flush = can_write,
	.can_fua = can_fua,
	.can_extents = yes,
	.can_multi_conn = yes,
	.pread = pread_volume,
	.pwrite = pwrite_volume,
	.flush = flush_volume,
	.extents = extents_volume,
};

NBDKIT_REGISTER_PLUGIN(plugin)
