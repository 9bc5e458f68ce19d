/* memory_trip.c - capture, store, serve, load. */
#include "tests/lib/memory_trip.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/io.h"
#include "common/unix_socket.h"

static void must(int r, const struct err *err, const char *what)
{
	if (r >= 0)
		return;
	fprintf(stderr, "%s: %s (%d)\n", what, err_text(err), r);
	exit(1);
}

/* ---- Capture -------------------------------------------------------------------------------------------------- */

struct reader {
	int from, to;
	atomic_int instant; /* 1: reached; negative: never will be */
};

static void *read_stream(void *arg)
{
	enum { LEN = 1 << 20 };
	struct reader *r = arg;
	CLEANUP_FREE uint8_t *buf = malloc(LEN), *first = malloc(LEN);
	size_t first_len = 0;
	ssize_t n;

	while ((n = read(r->from, buf, LEN)) > 0) {
		if (!r->instant) {
			size_t more = LEN - first_len < (size_t)n ? LEN - first_len : (size_t)n;

			memcpy(first + first_len, buf, more);
			first_len += more;
			r->instant = qemu_stream_instant_reached(first, first_len);
		}
		if (io_write_full(r->to, buf, (size_t)n) < 0)
			break;
	}
	if (!r->instant)
		r->instant = -EPIPE;
	return NULL;
}

int memory_trip_capture(struct vm_harness *vm, const char *disk, const char *disk_copy,
			uint64_t *pause_us)
{
	struct reader reader = { .to = memfd_create("stream", MFD_CLOEXEC) };
	struct err err = { .code = EIO };
	uint64_t began_us;
	pthread_t thread;
	int fds[2];

	if (reader.to < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
		must(-errno, &err, "prepare a capture");
	reader.from = fds[0];
	vm_harness_capability(vm, "background-snapshot", true);
	vm_harness_do(vm, "getfd", json_pack("{s:s}", "fdname", "snapshot"), fds[1]);
	close(fds[1]);
	if (pthread_create(&thread, NULL, read_stream, &reader))
		must(-EAGAIN, &err, "start the reader");

	began_us = clock_now_us();
	vm_harness_do(vm, "stop", NULL, -1);
	if (disk_copy) {
		CLEANUP_FREE char *copy =
			io_printf("cp --sparse=always '%s' '%s'", disk, disk_copy);

		if (system(copy))
			must(-EIO, &err, "copy the disk");
		began_us = clock_now_us();
	}
	vm_harness_do(vm, "migrate", json_pack("{s:s}", "uri", "fd:snapshot"), -1);
	while (!reader.instant)
		usleep(200);
	must(reader.instant, &err, "reach the instant");
	vm_harness_do(vm, "cont", NULL, -1);
	*pause_us = clock_now_us() - began_us;

	pthread_join(thread, NULL);
	close(fds[0]);
	if (!vm_harness_wait_status(vm, "query-migrate", "completed", 120000))
		must(-EIO, &err, "complete the capture");
	if (strcmp(vm_harness_status(vm, "query-status"), "running") != 0)
		must(-EIO, &err, "run on after the capture");
	return reader.to;
}

/* ---- Into the store ------------------------------------------------------------------------------------------- */

static void put(struct store_session *session, struct manifest *m, const char *name,
		enum volume_kind kind, struct volume_input input, struct volume_put_stats *stats)
{
	struct volume *v = &m->volumes[m->volume_count++];
	struct volume_put order = { .input = &input,
				    .sink = store_session_sink(session),
				    .codec = CHUNK_CODEC_ZSTD };
	struct err err = { 0 };

	*v = (struct volume){ .kind = kind,
			      .grid = kind == VOLUME_RAM ? CHUNK_GRID_MEMORY : CHUNK_GRID_BLOB };
	snprintf(v->name, sizeof(v->name), "%s", name);
	must(volume_put(&order, v, stats, &err), &err, name);
}

uint64_t memory_trip_put(struct store *store, int stream_fd, uint64_t ram_max, struct manifest *out)
{
	CLEANUP(store_session_close) struct store_session *session = NULL;
	CLEANUP(qemu_stream_free) struct qemu_stream *stream = NULL;
	struct volume_put_stats stats = { 0 };
	struct err err = { 0 };

	must(qemu_stream_index(&stream, stream_fd, ram_max, &err), &err, "index the stream");
	must(store_session_open(&session, store, "trip", &err), &err, "open a session");
	manifest_init(out);
	strcpy(out->desktop, "trip");
	out->kind = MANIFEST_LIVE;
	out->created_wall_ms = clock_wall_ms();
	put(session, out, "qemu/head", VOLUME_BLOB, qemu_stream_head_input(stream), &stats);
	put(session, out, "qemu/tail", VOLUME_BLOB, qemu_stream_tail_input(stream), &stats);
	for (size_t i = 0; i < stream->block_count; i++) {
		CLEANUP_FREE char *name = io_printf("ram/%s", stream->blocks[i].name);

		put(session, out, name, VOLUME_RAM, qemu_stream_block_input(stream, i), &stats);
	}
	must(store_session_commit(session, out, &err), &err, "commit");
	return stats.stored_bytes;
}

/* ---- A slow line ---------------------------------------------------------------------------------------------- */

enum { CATCH_UP_US = 2000 };

struct carried {
	struct memory_trip_line *line;
	chunk_arrived *fn;
	void *arg;
};

static int carry(void *arg, size_t i, const uint8_t *data, size_t len, struct err *err)
{
	struct carried *c = arg;
	struct memory_trip_line *line = c->line;
	uint64_t now = clock_now_us(), until;

	line->bytes += len;
	if (line->bytes_per_s) {
		/* Sleeps are never exact: what was slept too long may be caught up. */
		uint64_t earliest = now - CATCH_UP_US;

		pthread_mutex_lock(&line->lock);
		until = (line->free_at_us > earliest ? line->free_at_us : earliest) +
			len * 1000000 / line->bytes_per_s;
		line->free_at_us = until;
		pthread_mutex_unlock(&line->lock);
		if (until > now)
			usleep((useconds_t)(until - now));
	}
	return c->fn(c->arg, i, data, len, err);
}

static int line_get(void *ctx, const struct chunk_id *ids, size_t n, chunk_arrived *fn, void *arg,
		    struct err *err)
{
	struct memory_trip_line *line = ctx;
	struct carried c = { line, fn, arg };

	clock_sleep_ms(line->latency_ms);
	return line->inner.get(line->inner.ctx, ids, n, carry, &c, err);
}

struct chunk_source memory_trip_line_source(struct memory_trip_line *line)
{
	pthread_mutex_init(&line->lock, NULL);
	return (struct chunk_source){ .ctx = line, .get = line_get };
}

/* ---- Out of it ------------------------------------------------------------------------------------------------ */

static void *serve(void *arg)
{
	struct memory_trip_server *s = arg;

	s->result = postcopy_source_run(&s->order, &s->err);
	return NULL;
}

void memory_trip_serve(struct memory_trip_server *server, struct vm_harness *vm,
		       const struct manifest *manifest, struct chunk_source source, bool recover)
{
	CLEANUP_FREE char *path = io_printf("%s/%s.memory%d", vm->folder, vm->name, recover);
	CLEANUP_FREE char *uri = io_printf("unix:%s", path);

	*server = (struct memory_trip_server){ 0 };
	if (!recover)
		vm_harness_capability(vm, "postcopy-ram", true);
	vm_harness_do(vm, recover ? "migrate-recover" : "migrate-incoming",
		      json_pack("{s:s}", "uri", uri), -1);
	server->order = (struct postcopy_source){ .manifest = manifest,
						  .source = source,
						  .recover = recover,
						  .cancel = &server->cancel,
						  .stats = &server->stats };
	server->order.fd = unix_socket_connect(path, &server->err);
	must(server->order.fd, &server->err, "connect to QEMU");
	if (pthread_create(&server->thread, NULL, serve, server))
		must(-EAGAIN, &server->err, "start the page server");
}

int memory_trip_serve_end(struct memory_trip_server *server)
{
	pthread_join(server->thread, NULL);
	close(server->order.fd);
	return server->result;
}

static uint8_t *blob(const struct manifest *m, const char *name, struct chunk_source source,
		     size_t *len)
{
	const struct volume *v = manifest_volume(m, name);
	CLEANUP(volume_reader_close) struct volume_reader *reader = NULL;
	struct err err = { 0 };
	uint8_t *data = malloc((size_t)v->size);

	*len = (size_t)v->size;
	must(volume_reader_open(&reader, v, source, &err), &err, name);
	must(volume_reader_read(reader, data, *len, 0, &err), &err, name);
	return data;
}

struct joining {
	struct qemu_stream_join parts;
	int fd;
	int result;
	struct err err;
};

static void *join(void *arg)
{
	struct joining *j = arg;

	j->result = qemu_stream_join(&j->parts, j->fd, &j->err);
	close(j->fd);
	return NULL;
}

void memory_trip_load(struct vm_harness *vm, const struct manifest *manifest,
		      struct chunk_source source)
{
	struct qemu_stream_join_block blocks[QEMU_STREAM_BLOCKS_MAX];
	struct joining j = { .parts = { .blocks = blocks } };
	struct err err = { .code = EIO };
	pthread_t thread;
	size_t n = 0;
	int fds[2];

	j.parts.head = blob(manifest, "qemu/head", source, &j.parts.head_len);
	j.parts.tail = blob(manifest, "qemu/tail", source, &j.parts.tail_len);
	for (size_t i = 0; i < manifest->volume_count; i++) {
		const struct volume *v = &manifest->volumes[i];

		if (v->kind != VOLUME_RAM)
			continue;
		blocks[n] = (struct qemu_stream_join_block){ .name = v->name + strlen("ram/"),
							     .size = v->size };
		must(volume_reader_open(&blocks[n++].pages, v, source, &err), &err, v->name);
	}
	j.parts.block_count = n;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
		must(-errno, &err, "socketpair");
	vm_harness_do(vm, "getfd", json_pack("{s:s}", "fdname", "load"), fds[1]);
	close(fds[1]);
	j.fd = fds[0];
	if (pthread_create(&thread, NULL, join, &j))
		must(-EAGAIN, &err, "start to join");
	vm_harness_do(vm, "migrate-incoming", json_pack("{s:s}", "uri", "fd:load"), -1);
	pthread_join(thread, NULL);
	must(j.result, &j.err, "join the stream");
	if (!vm_harness_wait_status(vm, "query-migrate", "completed", 30000))
		must(-EIO, &err, "load the stream");
	/* The snapshot was taken in the pause, and that is the state that was loaded. */
	vm_harness_do(vm, "cont", NULL, -1);

	for (size_t i = 0; i < n; i++)
		volume_reader_close(blocks[i].pages);
	free((void *)j.parts.head);
	free((void *)j.parts.tail);
}
