/* transfer_fetch.c - chunks and manifests out. Answers of more than one buffer are streamed; all fetches share
 * download_bytes_per_s: each piece is held back until the line would have carried it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "mgmt-server/core/transfer_inside.h"
#include "snapshot/chunk_wire.h"

enum { PIECE = CHUNK_WIRE_RECORD_MAX + (448 << 10), CREDIT_US = 5000 };

struct fetch {
	struct transfer *transfer;
	struct chunk_id *ids;
	size_t n, at;
	char job[CATALOGUE_ID_LEN];
	char domain[CATALOGUE_NAME_LEN];
	uint8_t *head; /* the first piece, read before the answer began */
	size_t head_len;
	size_t ready; /* bytes in the stream's buffer that wait for the line */
	uint64_t due_us;
	uint8_t chunk[CHUNK_MAX];
};

static void fetch_free(void *ctx)
{
	struct fetch *f = ctx;

	free(f->head);
	free(f->ids);
	free(f);
}

/* Records into @buf until it is full, or enough for 10 ms of a limited line. Return 0 or -errno. */
static int gather(struct fetch *f, uint8_t *buf, size_t cap, size_t *len, struct err *err)
{
	struct server *s = f->transfer->server;
	size_t enough = s->config.download_bytes_per_s ? s->config.download_bytes_per_s / 100 : cap;
	struct chunk_encoded chunk;
	size_t n = 0;
	int r;

	while (f->at < f->n && cap - n >= CHUNK_WIRE_RECORD_MAX && (n == 0 || n < enough)) {
		r = store_domain_get_encoded(s->store, f->domain, &f->ids[f->at], f->chunk, &chunk,
					     err);
		if (r == STORE_ABSENT)
			return err_say(err, ENOENT, "chunk %zu of the request is not there", f->at);
		if (r < 0)
			return r;
		n += chunk_wire_put(buf + n, &chunk);
		f->at++;
	}
	*len = n;
	return 0;
}

/* Take a place on the line for @bytes. Return when the last of them would have arrived. */
static uint64_t line_take(struct transfer *t, size_t bytes)
{
	uint64_t rate = t->server->config.download_bytes_per_s, now = clock_now_us(), due;

	if (!rate)
		return 0;
	pthread_mutex_lock(&t->lock);
	if (t->line_free_us + CREDIT_US < now) /* timers are coarse: a short pause is made up for */
		t->line_free_us = now - CREDIT_US;
	t->line_free_us += bytes * 1000000 / rate;
	due = t->line_free_us;
	pthread_mutex_unlock(&t->lock);
	return due;
}

static int fetch_fill(void *ctx, uint8_t *buf, size_t cap, size_t *len, uint64_t *wait_ms)
{
	struct fetch *f = ctx;
	struct err err = { 0 };
	uint64_t now;
	int r;

	if (f->ready == 0 && f->head) {
		f->ready = f->head_len;
		memcpy(buf, f->head, f->ready);
		free(TAKE(f->head));
		f->due_us = line_take(f->transfer, f->ready);
	} else if (f->ready == 0) {
		if (f->at == f->n)
			return HTTP_STREAM_END;
		r = gather(f, buf, cap, &f->ready, &err);
		if (r < 0) {
			log_error("a fetch was cut: %s", err_text(&err));
			return r;
		}
		f->due_us = line_take(f->transfer, f->ready);
	}
	now = clock_now_us();
	if (f->due_us > now) {
		*wait_ms = (f->due_us - now + 999) / 1000;
		return HTTP_STREAM_WAIT;
	}
	*len = f->ready;
	f->ready = 0;
	transfer_sent_add(f->transfer, f->job, *len);
	return HTTP_STREAM_MORE;
}

/* All in the desktop's domain? -ENOENT names the first that is not; whether another domain has it makes no difference. */
static int check_ids(struct server *s, const char *desktop, const struct fetch *f, struct err *err)
{
	CLEANUP(store_session_close) struct store_session *session = NULL;
	uint8_t present[CHUNK_IO_BATCH / 8] = { 0 };
	struct chunk_sink sink;
	char text[CHUNK_ID_TEXT_LEN];
	size_t i, b;
	int r = store_session_open_in(&session, s->store, desktop, f->domain, err);

	if (r < 0)
		return r;
	sink = store_session_sink(session);
	r = sink.query(sink.ctx, f->ids, f->n, present, err);
	for (i = 0; r == 0 && i < f->n; i++) {
		if (present[i / 8] >> (i % 8) & 1)
			continue;
		for (b = 0; b < CHUNK_ID_LEN; b++)
			snprintf(text + 2 * b, 3, "%02x", f->ids[i].bytes[b]);
		return err_say(err, ENOENT, "chunk %s is not in the store", text);
	}
	return r;
}

static int prepare(struct http_request *request, struct fetch **out, struct err *err)
{
	struct server *s = http_request_app(request);
	const char *desktop = http_param(request, "desktop"), *job = "";
	const struct json_field fields[] = { { "job", JSON_KIND_STRING, true, &job } };
	size_t len;
	const uint8_t *body = http_body(request, &len);
	struct transfer_reach reach;
	struct fetch *f;
	int r = http_query(request, fields, ARRAY_LEN(fields), err);

	if (r == 0 && job[0] && !manifest_id_valid(job))
		r = err_say(err, EINVAL, "query: 'job' is none");
	if (r == 0 && (len == 0 || len % CHUNK_ID_LEN || len / CHUNK_ID_LEN > CHUNK_IO_BATCH))
		r = err_say(err, EINVAL, "a fetch is 1 to %d ids of %d bytes, this has %zu bytes",
			    CHUNK_IO_BATCH, CHUNK_ID_LEN, len);
	if (r == 0)
		r = transfer_may_read(request, desktop, &reach, err);
	if (r < 0)
		return r;
	f = malloc(sizeof(*f));
	if (!f)
		return err_set(err, ENOMEM, "fetch");
	memset(f, 0, offsetof(struct fetch, chunk));
	*out = f;
	f->transfer = s->transfer;
	f->n = len / CHUNK_ID_LEN;
	snprintf(f->job, sizeof(f->job), "%s", job);
	snprintf(f->domain, sizeof(f->domain), "%s", reach.domain);
	f->ids = malloc(len);
	if (!f->ids)
		return err_set(err, ENOMEM, "fetch");
	memcpy(f->ids, body, len);
	return check_ids(s, desktop, f, err);
}

void transfer_fetch(struct http_request *request)
{
	struct server *s = http_request_app(request);
	struct http_stream stream = {
		.fill = fetch_fill, .close = fetch_free, .bulk = true, .buffer = PIECE
	};
	struct fetch *f = NULL;
	struct err err = { 0 };
	int r = prepare(request, &f, &err);

	if (r == 0) {
		f->head = malloc(PIECE);
		r = f->head ? gather(f, f->head, PIECE, &f->head_len, &err)
			    : err_set(&err, ENOMEM, "fetch");
	}
	if (r < 0) {
		if (f)
			fetch_free(f);
		/* A damaged chunk is this server's trouble, not the request's. */
		http_fail_err(request, r == -EBADMSG ? -EIO : r, &err);
		return;
	}
	if (f->at == f->n && !s->config.download_bytes_per_s) {
		/* Most fetches are a few pages: do not keep a megabyte for each while it is sent. */
		uint8_t *fitting = realloc(f->head, f->head_len);

		f->head = fitting ? fitting : f->head;
		transfer_sent_add(s->transfer, f->job, f->head_len);
		http_reply_text(request, 200, "application/octet-stream", (char *)TAKE(f->head),
				f->head_len);
		fetch_free(f);
		return;
	}
	stream.ctx = f;
	http_reply_stream(request, 200, "application/octet-stream", &stream);
}

/* ---- Manifests ---- */

void transfer_manifest(struct http_request *request)
{
	struct server *s = http_request_app(request);
	const char *desktop = http_param(request, "desktop"), *id = http_param(request, "id");
	char latest[CATALOGUE_ID_LEN];
	struct err err = { 0 };
	struct transfer_reach reach;
	struct manifest m;
	struct db_conn *c;
	json_t *json = NULL;
	int r = transfer_may_read(request, desktop, &reach, &err);

	if (r == 0 && strcmp(id, "latest") == 0) {
		c = db_read(s->db);
		r = catalogue_snapshot_latest(c, desktop, latest, &err);
		db_read_end(c);
		id = latest;
	}
	manifest_init(&m);
	if (r == 0)
		r = manifest_id_valid(id) ? store_manifest(s->store, id, &m, &err) : STORE_ABSENT;
	if (r == 0 && strcmp(m.desktop, desktop) == 0 && m.epoch <= reach.epoch_max)
		json = manifest_to_json(&m);
	else if (r >= 0)
		r = err_say(&err, ENOENT, "desktop %.63s has no snapshot %.32s", desktop,
			    http_param(request, "id"));
	manifest_deinit(&m);
	if (r < 0)
		http_fail_err(request, r, &err);
	else
		http_reply_json(request, 200, json);
}
