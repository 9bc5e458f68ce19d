#include "snapshot/nbd_plugin.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

/* nbdkit has one plugin a process and gives its functions no context but the connection's handle. */
static const struct manifest *served;
static struct chunk_source served_source;

void nbd_plugin_serve(const struct manifest *manifest, struct chunk_source source)
{
	served = manifest;
	served_source = source;
}

struct handle {
	struct volume_reader *reader;
	uint64_t size;
};

static int fail(int r, const struct err *err)
{
	nbdkit_error("%s", err_text(err));
	nbdkit_set_error(-r);
	return -1;
}

int nbd_plugin_list_exports(int readonly, int is_tls, struct nbdkit_exports *exports)
{
	size_t i;

	(void)readonly;
	(void)is_tls;
	for (i = 0; i < served->volume_count; i++) {
		if (served->volumes[i].kind == VOLUME_DISK &&
		    nbdkit_add_export(exports, served->volumes[i].name, served->id) < 0)
			return -1;
	}
	return 0;
}

static const struct volume *find_disk(const char *name)
{
	const struct volume *found = NULL;
	size_t i;

	for (i = 0; i < served->volume_count; i++) {
		const struct volume *v = &served->volumes[i];

		if (v->kind != VOLUME_DISK)
			continue;
		if (strcmp(v->name, name) == 0)
			return v;
		if (name[0] == '\0') {
			if (found)
				return NULL;
			found = v;
		}
	}
	return found;
}

void *nbd_plugin_open(int readonly)
{
	const char *name = nbdkit_export_name();
	const struct volume *volume = name ? find_disk(name) : NULL;
	struct handle *handle;
	struct err err = { 0 };
	int r;

	(void)readonly;
	if (!volume) {
		nbdkit_error("snapshot %s has no disk '%s'", served->id, name ? name : "");
		nbdkit_set_error(ENOENT);
		return NULL;
	}
	handle = calloc(1, sizeof(*handle));
	r = handle ? volume_reader_open(&handle->reader, volume, served_source, &err)
		   : err_set(&err, ENOMEM, "serve %s", name);
	if (r < 0) {
		fail(r, &err);
		free(handle);
		return NULL;
	}
	handle->size = volume->size;
	return handle;
}

void nbd_plugin_close(void *handle)
{
	struct handle *h = handle;

	volume_reader_close(h->reader);
	free(h);
}

int64_t nbd_plugin_get_size(void *handle)
{
	const struct handle *h = handle;

	return (int64_t)h->size;
}

int nbd_plugin_can_multi_conn(void *handle)
{
	(void)handle;
	return 1; /* read-only: all connections see the same */
}

int nbd_plugin_can_extents(void *handle)
{
	(void)handle;
	return 1;
}

int nbd_plugin_pread(void *handle, void *buf, uint32_t count, uint64_t offset, uint32_t flags)
{
	const struct handle *h = handle;
	struct err err = { 0 };
	int r = volume_reader_read(h->reader, buf, count, offset, &err);

	(void)flags;
	return r < 0 ? fail(r, &err) : 0;
}

int nbd_plugin_extents(void *handle, uint32_t count, uint64_t offset, uint32_t flags,
		       struct nbdkit_extents *extents)
{
	const struct handle *h = handle;
	uint64_t end = offset + count, len;
	struct err err = { 0 };
	bool zero;
	int r;

	for (; offset < end; offset += len) {
		r = volume_reader_extent(h->reader, offset, &len, &zero, &err);
		if (r < 0)
			return fail(r, &err);
		if (nbdkit_add_extent(extents, offset, len,
				      zero ? NBDKIT_EXTENT_HOLE | NBDKIT_EXTENT_ZERO : 0) < 0)
			return -1;
		if (flags & NBDKIT_FLAG_REQ_ONE)
			break;
	}
	return 0;
}
