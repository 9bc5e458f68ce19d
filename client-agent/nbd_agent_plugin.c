/* nbdkit plugin godwit-nbd-agent: the disks of one snapshot, read from the server with the agent's certificate.
 *
 * Parameters: state=DIR (the agent's), folder=DIR (manifest.json and job of what is served), cache=BYTES. While the server
 * is away reads wait and are tried again: the guest stands still for as long, and no I/O error ever reaches it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "client-agent/agent.h"
#include "client-agent/chunk_cache.h"
#include "common/clock.h"
#include "common/io.h"
#include "snapshot/nbd_plugin.h"
#include "snapshot/store_client.h"

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

enum { FILE_MAX = 4 << 20, CACHE_PRESET = 32 << 20, RETRY_MS = 1000 };

static char *state_dir, *folder, *job;
static size_t cache_bytes = CACHE_PRESET;
static struct identity identity;
static struct manifest manifest;
static struct http_client *http;
static struct chunk_source server, patient_source;
static struct chunk_cache *cache;

static int give_up(const struct err *err)
{
	nbdkit_error("%s", err_text(err));
	return -1;
}

/* ---- Patience ------------------------------------------------------------------------------------------------------ */

/* A chunk that is not there or damaged will not come by waiting; everything else may. */
static bool is_final(int r)
{
	return r == -ENOENT || r == -EBADMSG || r == -ENOMEM || r == -EINVAL;
}

/* Which chunks of a get have arrived: a repeated get asks for the others only. */
struct patient {
	const struct chunk_id *ids;
	size_t n;
	bool *have;
	chunk_arrived *fn;
	void *arg;
	size_t *place; /* of the ids of the get that is under way */
};

static int patient_arrived(void *arg, size_t i, const uint8_t *data, size_t len, struct err *err)
{
	struct patient *p = arg;

	p->have[p->place[i]] = true;
	return p->fn(p->arg, p->place[i], data, len, err);
}

static int patient_try(struct patient *p, struct chunk_id *rest, struct err *err)
{
	size_t i, n = 0;

	for (i = 0; i < p->n; i++) {
		if (!p->have[i]) {
			rest[n] = p->ids[i];
			p->place[n++] = i;
		}
	}
	return n ? server.get(server.ctx, rest, n, patient_arrived, p, err) : 0;
}

static int patient_get(void *ctx, const struct chunk_id *ids, size_t n, chunk_arrived *fn,
		       void *arg, struct err *err)
{
	CLEANUP_FREE bool *have = calloc(n, sizeof(*have));
	CLEANUP_FREE size_t *place = calloc(n, sizeof(*place));
	CLEANUP_FREE struct chunk_id *rest = calloc(n, sizeof(*rest));
	struct patient p = {
		.ids = ids, .n = n, .have = have, .place = place, .fn = fn, .arg = arg
	};
	int r;

	(void)ctx;
	if (!have || !place || !rest)
		return err_set(err, ENOMEM, "fetch chunks");
	for (;;) {
		r = patient_try(&p, rest, err);
		if (r == 0 || is_final(r))
			return r;
		nbdkit_error("waiting for the server: %s", err_text(err));
		if (nbdkit_nanosleep(RETRY_MS / 1000, 0) < 0)
			return err_say(err, ESHUTDOWN, "nbdkit ends");
	}
}

/* ---- Parameters and start ------------------------------------------------------------------------------------------ */

static int plugin_config(const char *key, const char *value)
{
	int64_t bytes;

	if (strcmp(key, "state") == 0) {
		free(state_dir);
		state_dir = nbdkit_absolute_path(value);
		return state_dir ? 0 : -1;
	}
	if (strcmp(key, "folder") == 0) {
		free(folder);
		folder = nbdkit_absolute_path(value);
		return folder ? 0 : -1;
	}
	if (strcmp(key, "cache") == 0) {
		bytes = nbdkit_parse_size(value);
		if (bytes < 0)
			return -1;
		cache_bytes = (size_t)bytes;
		return 0;
	}
	nbdkit_error("there is no parameter '%s'; there are: state folder cache", key);
	return -1;
}

static int read_served(struct err *err)
{
	CLEANUP_FREE char *path = io_printf("%s/manifest.json", folder);
	CLEANUP_FREE char *job_path = io_printf("%s/job", folder);
	CLEANUP_FREE uint8_t *text = NULL;
	size_t len;
	int r;

	if (!path || !job_path)
		return err_set(err, ENOMEM, "read %s", folder);
	r = io_read_file(path, FILE_MAX, &text, &len, err);
	if (r == 0)
		r = manifest_parse(&manifest, (const char *)text, len, err);
	if (r == 0)
		r = io_read_file(job_path, 256, (uint8_t **)&job, &len, err);
	return r;
}

static int plugin_config_complete(void)
{
	struct err err = { 0 };

	if (!state_dir || !folder) {
		nbdkit_error("the parameters state=DIR and folder=DIR are needed");
		return -1;
	}
	manifest_init(&manifest);
	if (identity_load(&identity, state_dir, &err) < 0 || read_served(&err) < 0)
		return give_up(&err);
	return 0;
}

/* Threads begin here: before, nbdkit may still fork. */
static int plugin_after_fork(void)
{
	struct err err = { 0 };

	if (identity_http(&identity, 0, &http, &err) < 0 ||
	    store_client_source_new(&server, http, AGENT_PREFIX, manifest.desktop,
				    job[0] ? job : NULL, &err) < 0)
		return give_up(&err);
	patient_source = (struct chunk_source){ .get = patient_get };
	if (chunk_cache_new(&cache, patient_source, cache_bytes, &err) < 0)
		return give_up(&err);
	nbd_plugin_serve(&manifest, chunk_cache_source(cache));
	return 0;
}

static void plugin_unload(void)
{
	chunk_cache_free(cache);
	store_client_source_free(&server);
	http_client_free(http);
	manifest_deinit(&manifest);
	identity_deinit(&identity);
	free(job);
	free(folder);
	free(state_dir);
}

static struct nbdkit_plugin plugin = {
	.name = "godwit-nbd-agent",
	.longname = "Godwit: disks of a snapshot, read through the agent's server",
	.version = AGENT_VERSION,
	.unload = plugin_unload,
	.config = plugin_config,
	.config_complete = plugin_config_complete,
	.config_help = "state=DIR folder=DIR [cache=BYTES]",
	.after_fork = plugin_after_fork,
	.list_exports = nbd_plugin_list_exports,
	.open = nbd_plugin_open,
	.close = nbd_plugin_close,
	.get_size = nbd_plugin_get_size,
	.can_multi_conn = nbd_plugin_can_multi_conn,
	.can_extents = nbd_plugin_can_extents,
	.pread = nbd_plugin_pread,
	.extents = nbd_plugin_extents,
	.errno_is_preserved = 0,
};

NBDKIT_REGISTER_PLUGIN(plugin)
