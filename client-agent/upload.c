#include "client-agent/upload.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "snapshot/nbd_input.h"
#include "snapshot/store_client.h"

enum {
	RETRY_FIRST_MS = 500,
	RETRY_MAX_MS = 10 * 1000,
	/* More than processors: each waits for the answer to a query now and then, and 2 MiB each is little. */
	PUT_THREADS = 8,
};

/* One try. base: what disks are compared with, when have_base; trusted: the bitmaps count from it. */
struct attempt {
	struct upload *upload;
	struct qemu_stream *stream; /* NULL: no memory */
	struct store_client_session *session;
	struct chunk_source source; /* chunks of earlier snapshots */
	struct manifest base;
	bool have_base, trusted;
};

/* The first reason stays: later ones follow from it. */
static void say_full_compare(struct upload *u, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
static void say_full_compare(struct upload *u, const char *format, ...)
{
	va_list ap;

	if (u->full_compare[0])
		return;
	va_start(ap, format);
	vsnprintf(u->full_compare, sizeof(u->full_compare), format, ap);
	va_end(ap);
}

/* ---- What to compare with ----------------------------------------------------------------------------------- */

static int find_base(struct attempt *a, struct err *err)
{
	struct upload *u = a->upload;
	struct http_client *http = u->job->agent->http;
	int r;

	if (u->capture->parent[0]) {
		r = store_client_manifest(http, AGENT_PREFIX, u->job->desktop, u->capture->parent,
					  &a->base, err);
		if (r == 0) {
			a->have_base = a->trusted = true;
			return 0;
		}
		if (r != -ENOENT)
			return r;
		say_full_compare(u,
				 "the server does not have snapshot %s, which the changes were "
				 "counted from",
				 u->capture->parent);
	} else {
		say_full_compare(u, "%s",
				 u->capture->reason[0] ? u->capture->reason : "no change tracking");
	}
	r = store_client_manifest(http, AGENT_PREFIX, u->job->desktop, "latest", &a->base, err);
	a->have_base = r == 0;
	return r == -ENOENT ? 0 : r;
}

/* ---- Volumes ---------------------------------------------------------------------------------------------------- */

static int next_volume(struct manifest *m, const char *prefix, const char *name,
		       enum volume_kind kind, uint32_t grid, struct volume **out, struct err *err)
{
	struct volume *v = &m->volumes[m->volume_count];

	if (m->volume_count >= MANIFEST_VOLUMES_MAX)
		return err_say(err, E2BIG, "a snapshot of more than %d volumes",
			       MANIFEST_VOLUMES_MAX);
	if (strlen(prefix) + strlen(name) > VOLUME_NAME_MAX)
		return err_say(err, ENAMETOOLONG, "volume name %s%.60s…", prefix, name);
	*v = (struct volume){ .kind = kind, .grid = grid };
	snprintf(v->name, sizeof(v->name), "%s%.*s", prefix,
		 (int)(VOLUME_NAME_MAX - strlen(prefix)), name);
	m->volume_count++;
	*out = v;
	return 0;
}

static int put(struct attempt *a, struct volume_put *order, struct volume *volume, struct err *err)
{
	int r;

	order->sink = store_client_session_sink(a->session);
	order->codec = CHUNK_CODEC_ZSTD;
	order->threads = PUT_THREADS;
	order->progress = &a->upload->job->progress;
	r = volume_put(order, volume, &a->upload->stats, err);
	return r < 0 ? err_wrap(err, r, "volume %s", volume->name) : 0;
}

/* Open the export with the bitmap that we trust, or without one. */
static int open_disk(struct attempt *a, const struct capture_disk *disk, bool *incremental,
		     struct nbd_input **out, struct err *err)
{
	struct upload *u = a->upload;
	struct nbd_input_options options = { .socket_path = disk->socket,
					     .export_name = disk->export };
	int r = -ENODATA;

	*incremental = a->trusted && strcmp(disk->bitmap, u->capture->parent) == 0;
	if (*incremental) {
		options.bitmap = disk->bitmap;
		r = nbd_input_open(out, &options, err);
		if (r != -ENODATA)
			return r;
		*incremental = false;
	}
	say_full_compare(u, "%s has no trustworthy dirty bitmap", disk->name);
	options.bitmap = NULL;
	return nbd_input_open(out, &options, err);
}

/* An export that cannot be read is not the network's fault: no further try will help. */
struct watched {
	struct volume_input inner;
	atomic_bool *unreadable;
};

static int watched_read(void *ctx, uint8_t *buf, size_t len, uint64_t offset, struct err *err)
{
	struct watched *w = ctx;
	int r = w->inner.read(w->inner.ctx, buf, len, offset, err);

	if (r < 0)
		*w->unreadable = true;
	return r;
}

static int watched_extent(void *ctx, uint64_t offset, uint64_t *len, bool *zero, struct err *err)
{
	struct watched *w = ctx;
	int r = w->inner.extent(w->inner.ctx, offset, len, zero, err);

	if (r < 0)
		*w->unreadable = true;
	return r;
}

static int put_disk(struct attempt *a, const struct capture_disk *disk, struct err *err)
{
	CLEANUP(nbd_input_close) struct nbd_input *nbd = NULL;
	static const struct volume_extent nothing; /* an empty list is a list */
	CLEANUP_FREE struct volume_extent *changed = NULL;
	struct upload *u = a->upload;
	const struct volume *parent;
	struct volume_put order = { 0 };
	struct watched watched = { .unreadable = &u->unreadable };
	struct volume_input input;
	struct volume *volume;
	bool incremental;
	int r;

	r = open_disk(a, disk, &incremental, &nbd, err);
	u->unreadable = r < 0;
	if (r < 0)
		return err_wrap(err, r, "read %s of the captured instant", disk->name);
	parent = a->have_base ? manifest_volume(&a->base, disk->name) : NULL;
	if (parent && (parent->size != disk->size || parent->grid != CHUNK_GRID_DISK)) {
		say_full_compare(u, "%s had another size in snapshot %s", disk->name, a->base.id);
		parent = NULL;
	}
	if (!parent && a->have_base)
		say_full_compare(u, "%s is not in snapshot %s", disk->name, a->base.id);
	if (parent && incremental) {
		r = nbd_input_dirty(nbd, &changed, &order.changed_count, err);
		u->unreadable = r < 0;
		if (r < 0)
			return err_wrap(err, r, "dirty bitmap of %s", disk->name);
		order.changed = changed ? changed : &nothing;
	}
	watched.inner = nbd_input_volume(nbd);
	input = (struct volume_input){ .ctx = &watched,
				       .size = watched.inner.size,
				       .read = watched_read,
				       .extent = watched.inner.extent ? watched_extent : NULL };
	if (input.size != disk->size)
		return err_say(err, EBADMSG, "%s has %ju bytes, its export %ju", disk->name,
			       (uintmax_t)disk->size, (uintmax_t)input.size);
	order.input = &input;
	order.parent = parent;
	order.parent_source = a->source;
	r = next_volume(&u->manifest, "", disk->name, VOLUME_DISK, CHUNK_GRID_DISK, &volume, err);
	return r < 0 ? r : put(a, &order, volume, err);
}

static int put_input(struct attempt *a, const char *prefix, const char *name, enum volume_kind kind,
		     uint32_t grid, const struct volume_input *input, struct err *err)
{
	struct volume_put order = { .input = input };
	struct volume *volume;
	int r;

	r = next_volume(&a->upload->manifest, prefix, name, kind, grid, &volume, err);
	return r < 0 ? r : put(a, &order, volume, err);
}

static int put_memory(struct attempt *a, struct err *err)
{
	struct volume_input input;
	size_t i;
	int r;

	for (i = 0; i < a->stream->block_count; i++) {
		input = qemu_stream_block_input(a->stream, i);
		r = put_input(a, "ram/", a->stream->blocks[i].name, VOLUME_RAM, CHUNK_GRID_MEMORY,
			      &input, err);
		if (r < 0)
			return r;
	}
	input = qemu_stream_head_input(a->stream);
	r = put_input(a, "qemu/", "head", VOLUME_BLOB, CHUNK_GRID_BLOB, &input, err);
	if (r < 0)
		return r;
	input = qemu_stream_tail_input(a->stream);
	return put_input(a, "qemu/", "tail", VOLUME_BLOB, CHUNK_GRID_BLOB, &input, err);
}

/* ---- A try --------------------------------------------------------------------------------------------------------- */

static int open_session(struct attempt *a, struct err *err)
{
	struct work_job *job = a->upload->job;
	struct store_client_open order = {
		.http = job->agent->http,
		.prefix = AGENT_PREFIX,
		.desktop = job->desktop,
		.epoch = job->epoch,
		.job = job->job,
		.session = job->journal.session[0] ? job->journal.session : NULL,
	};
	const char *id;
	int r;

	r = store_client_session_open(&a->session, &order, err);
	if (r == -ESTALE && order.session) {
		order.session = NULL;
		r = store_client_session_open(&a->session, &order, err);
	}
	if (r < 0)
		return r;
	id = store_client_session_id(a->session);
	if (strcmp(job->journal.session, id) == 0)
		return 0;
	snprintf(job->journal.session, sizeof(job->journal.session), "%s", id);
	return work_job_remember(job, JOURNAL_UPLOADING, err);
}

static int begin_manifest(struct attempt *a, struct err *err)
{
	struct upload *u = a->upload;
	struct manifest *m = &u->manifest;

	manifest_deinit(m);
	manifest_init(m);
	memcpy(m->desktop, u->job->desktop, sizeof(m->desktop));
	if (a->have_base)
		memcpy(m->parent, a->base.id, sizeof(m->parent));
	m->created_wall_ms = clock_wall_ms();
	m->kind = a->stream ? MANIFEST_LIVE : MANIFEST_COLD;
	m->epoch = u->job->epoch;
	m->machine = json_deep_copy(u->capture->machine);
	return m->machine ? 0 : err_set(err, ENOMEM, "describe a snapshot");
}

static int put_everything(struct attempt *a, struct err *err)
{
	struct upload *u = a->upload;
	const uint64_t before = u->stats.read_bytes;
	size_t i;
	int r;

	r = find_base(a, err);
	if (r == 0)
		r = begin_manifest(a, err);
	for (i = 0; r == 0 && i < u->capture->disk_count; i++) {
		work_job_message(u->job, "saving %s", u->capture->disks[i].name);
		r = put_disk(a, &u->capture->disks[i], err);
	}
	u->disk_read_bytes += u->stats.read_bytes - before;
	if (r == 0 && a->stream) {
		work_job_message(u->job, "saving memory");
		r = put_memory(a, err);
	}
	if (r < 0)
		return r;
	work_job_message(u->job, "committing");
	return store_client_session_commit(a->session, &u->manifest, err);
}

static int attempt(struct upload *u, struct qemu_stream *stream, struct err *err)
{
	struct attempt a = { .upload = u, .stream = stream };
	struct work_job *job = u->job;
	struct err ignored;
	int r;

	manifest_init(&a.base);
	u->full_compare[0] = '\0';
	job->progress.done_bytes = 0;
	job->progress.total_bytes = 0;
	r = store_client_source_new(&a.source, job->agent->http, AGENT_PREFIX, job->desktop,
				    job->job, err);
	if (r == 0)
		r = open_session(&a, err);
	if (r == 0)
		r = put_everything(&a, err);
	if (job->progress.cancel && a.session)
		store_client_session_abort(a.session, &ignored);
	store_client_session_free(a.session);
	store_client_source_free(&a.source);
	manifest_deinit(&a.base);
	return r;
}

/* ---- Trying again --------------------------------------------------------------------------------------------------- */

/* Failures that pass by: the server is restarting (EPROTO: it ended in the handshake), the network is down, an earlier try's
 * chunks were lost. */
static bool passes_by(int r)
{
	static const int codes[] = { EIO,    ECONNREFUSED, ECONNRESET,  ETIMEDOUT,
				     EPIPE,  EHOSTUNREACH, ENETUNREACH, EAGAIN,
				     ESTALE, ENOTCONN,     EPROTO };
	size_t i;

	for (i = 0; i < ARRAY_LEN(codes); i++) {
		if (r == -codes[i])
			return true;
	}
	return false;
}

static void wait_ms(struct work_job *job, uint64_t ms)
{
	uint64_t end = clock_now_ms() + ms;

	while (clock_now_ms() < end && !job->progress.cancel)
		clock_sleep_ms(50);
}

/* Of a filter that gave up QEMU tells nobody; whoever reads behind it hears it. So that a broken instant isn't taken for
 * the network's failure, which came first only because the server was asked before the disks were read. */
static bool instant_broke(const struct upload *u, struct err *err)
{
	size_t i;

	for (i = 0; i < u->capture->disk_count; i++) {
		const struct capture_disk *disk = &u->capture->disks[i];
		CLEANUP(nbd_input_close) struct nbd_input *nbd = NULL;
		struct nbd_input_options options = { .socket_path = disk->socket,
						     .export_name = disk->export,
						     .connections = 1 };
		struct volume_input input;
		uint8_t block[512];
		int r = nbd_input_open(&nbd, &options, err);

		if (r == 0) {
			input = nbd_input_volume(nbd);
			r = input.size < sizeof(block)
				    ? 0
				    : input.read(input.ctx, block, sizeof(block), 0, err);
		}
		if (r < 0) {
			err_wrap(err, r, "read %s of the captured instant", disk->name);
			return true;
		}
	}
	return false;
}

static int try_until_over(struct upload *u, struct qemu_stream *stream, struct err *err)
{
	uint64_t give_up = clock_now_ms() + u->job->agent->config.upload_retry_ms;
	uint64_t pause = RETRY_FIRST_MS;
	int r;

	for (;;) {
		struct err lost = { 0 };

		r = attempt(u, stream, err);
		if (r == 0 || r == -ECANCELED || u->job->progress.cancel)
			return r;
		if (capture_lost(u->capture, &lost))
			return err_say(err, EIO, "%s", err_text(&lost));
		if (!u->unreadable && instant_broke(u, &lost)) {
			u->unreadable = true;
			*err = lost;
			r = -EIO;
		}
		if (u->unreadable)
			return err_wrap(
				err, r,
				"the captured instant broke (a full or slow disk at the "
				"endpoint makes QEMU give it up rather than stop the guest)");
		if (!passes_by(r) || clock_now_ms() >= give_up)
			return r;
		if (r == -ESTALE) /* over, by time or by a commit that we did not hear of */
			u->job->journal.session[0] = '\0';
		log_warning("upload cut, it is tried again: %s job=%s", err_text(err), u->job->job);
		work_job_message(u->job, "trying again: %.180s", err_text(err));
		wait_ms(u->job, pause);
		pause = pause * 2 < RETRY_MAX_MS ? pause * 2 : RETRY_MAX_MS;
	}
}

int upload_run(struct upload *u, struct err *err)
{
	CLEANUP(qemu_stream_free) struct qemu_stream *stream = NULL;
	int r;

	manifest_init(&u->manifest);
	if (u->capture->memory_fd >= 0) {
		r = qemu_stream_index(&stream, u->capture->memory_fd,
				      u->job->agent->config.ram_max_bytes, err);
		if (r < 0)
			return err_wrap(err, r, "memory of desktop %s", u->job->desktop);
	}
	return try_until_over(u, stream, err);
}

void upload_deinit(struct upload *u)
{
	manifest_deinit(&u->manifest);
}
