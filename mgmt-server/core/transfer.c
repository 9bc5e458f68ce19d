/* transfer.c - see transfer.h. Uploads: opening, queries, chunks, ending. */
#include "mgmt-server/core/transfer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "common/clock.h"
#include "common/hex.h"
#include "common/log.h"
#include "mgmt-server/core/fleet.h"
#include "mgmt-server/core/transfer_inside.h"
#include "snapshot/chunk_wire.h"

enum { DAY_MS = 24 * 3600 * 1000, TOUCH_MS = 600 * 1000, PUT_BATCH = 256 };

int transfer_new(struct transfer **out, struct server *server, struct err *err)
{
	struct transfer *t = calloc(1, sizeof(*t));

	if (!t)
		return err_set(err, ENOMEM, "transfers");
	t->server = server;
	pthread_mutex_init(&t->lock, NULL);
	*out = t;
	return 0;
}

static void upload_free(struct upload *u)
{
	if (u->session)
		store_session_close(u->session);
	pthread_mutex_destroy(&u->commit);
	free(u);
}

void transfer_free(struct transfer *t)
{
	struct upload *u;

	while ((u = t->uploads)) {
		t->uploads = u->next;
		upload_free(u);
	}
	pthread_mutex_destroy(&t->lock);
	free(t);
}

/* ---- Who ---- */

bool transfer_is_endpoint(struct http_request *request)
{
	return strcmp(http_caller(request)->role, "endpoint") == 0;
}

void transfer_caller(struct http_request *request, char *text)
{
	snprintf(text, CATALOGUE_NAME_LEN + 16, "%s/%s",
		 transfer_is_endpoint(request) ? "endpoint" : "user", http_caller(request)->name);
}

static int has_job(void *arg, const struct catalogue_job *job, struct err *err)
{
	(void)job;
	(void)err;
	*(bool *)arg = true;
	return DB_STOP;
}

/* Work for it, or an orphan, which is uploaded as what changed since its base. */
static int reach_of_endpoint(struct http_request *request, const char *desktop,
			     struct transfer_reach *reach, struct err *err)
{
	struct server *s = http_request_app(request);
	const char *name = http_caller(request)->name;
	CLEANUP(db_read_end) struct db_conn *c = db_read(s->db);
	const struct catalogue_job_filter filter = { .desktop = desktop,
						     .endpoint = name,
						     .active = true };
	char caller[CATALOGUE_NAME_LEN + 16];
	bool working = false;
	int r = catalogue_job_each(c, &filter, has_job, &working, err);

	if (r < 0 || working)
		return r < 0 ? r : 0;
	transfer_caller(request, caller);
	r = catalogue_upload_open_of(c, desktop, caller, &reach->epoch_max, err);
	return r == CATALOGUE_NONE
		       ? err_say(err, EACCES,
				 "endpoint %s neither holds desktop %.63s nor has work or an open "
				 "session for it",
				 name, desktop)
		       : r;
}

int transfer_may_read(struct http_request *request, const char *desktop,
		      struct transfer_reach *reach, struct err *err)
{
	struct server *s = http_request_app(request);
	const struct fleet_desktop *d;
	bool holder;

	*reach = (struct transfer_reach){ .epoch_max = UINT64_MAX };
	fleet_lock(s->fleet);
	d = fleet_desktop(s->fleet, desktop);
	holder = d && strcmp(d->lease.holder, http_caller(request)->name) == 0;
	if (d)
		snprintf(reach->domain, sizeof(reach->domain), "%s", d->domain);
	fleet_unlock(s->fleet);
	if (!transfer_is_endpoint(request))
		return d ? 0 : err_say(err, ENOENT, "there is no desktop %.63s", desktop);
	return holder ? 0 : reach_of_endpoint(request, desktop, reach, err);
}

/* ---- Opening ---- */

/* An endpoint hears the same of a desktop that it never had, whether there is one of that name or not. */
static int was_granted(struct server *s, const struct catalogue_upload *row, const char *endpoint,
		       struct err *err)
{
	CLEANUP(db_read_end) struct db_conn *c = db_read(s->db);
	int r = catalogue_grant_check(c, row->desktop, row->epoch, endpoint, err);

	return r == CATALOGUE_NONE ? err_say(err, EEXIST,
					     "endpoint %s was never given desktop %s at epoch %llu",
					     endpoint, row->desktop, (unsigned long long)row->epoch)
				   : r;
}

/* 0, or -EEXIST: that desktop's uploads are not this caller's. */
static int may_upload(struct http_request *request, const struct catalogue_upload *row,
		      struct err *err)
{
	struct server *s = http_request_app(request);
	struct fleet_desktop *d;

	CLEANUP(fleet_unlock) struct fleet *held = fleet_hold(s->fleet);
	if (transfer_is_endpoint(request))
		return was_granted(s, row, http_caller(request)->name, err);
	d = fleet_desktop(held, row->desktop);
	if (!d)
		return err_say(err, ENOENT, "there is no desktop %s", row->desktop);
	if (row->epoch > d->lease.epoch)
		return err_say(err, EEXIST, "desktop %s is at epoch %llu, not yet at %llu",
			       row->desktop, (unsigned long long)d->lease.epoch,
			       (unsigned long long)row->epoch);
	return d->lease.state == LEASE_FREE
		       ? 0
		       : err_say(err, EEXIST, "desktop %s is on endpoint %s: stop it first",
				 row->desktop, d->lease.holder);
}

static int add_row(struct server *s, const struct catalogue_upload *row, struct err *err)
{
	CLEANUP(db_abort) struct db_conn *c = NULL;
	int r = db_begin(s->db, &c, err);

	if (r == 0)
		r = catalogue_upload_add(c, row, err);
	return r < 0 ? r : db_commit(TAKE(c), err);
}

void transfer_open(struct http_request *request)
{
	struct server *s = http_request_app(request);
	CLEANUP(json_decref) json_t *body = NULL;
	struct catalogue_upload row = { .used_ms = clock_wall_ms() };
	const char *desktop = "", *job = "";
	const struct json_field fields[] = {
		{ "desktop", JSON_KIND_STRING, false, &desktop },
		{ "epoch", JSON_KIND_UINT, false, &row.epoch },
		{ "job", JSON_KIND_STRING, true, &job },
	};
	struct err err = { 0 };
	size_t len;
	const uint8_t *text = http_body(request, &len);
	int r = json_parse(&body, (const char *)text, len, "the request body", &err);

	if (r == 0)
		r = json_fields(body, fields, ARRAY_LEN(fields), "the request body", &err);
	if (r == 0 && !manifest_desktop_valid(desktop))
		r = err_say(&err, EINVAL, "'%.80s' is no name of a desktop", desktop);
	if (r == 0 && job[0] && !manifest_id_valid(job))
		r = err_say(&err, EINVAL, "'%.80s' is no job", job);
	snprintf(row.desktop, sizeof(row.desktop), "%s", desktop);
	snprintf(row.job, sizeof(row.job), "%s", job);
	transfer_caller(request, row.caller);
	hex_random(row.id, 16);
	if (r == 0)
		r = may_upload(request, &row, &err);
	if (r == 0)
		r = add_row(s, &row, &err);
	if (r < 0)
		http_fail_err(request, r, &err);
	else
		http_reply_json(request, 201, json_pack("{ss}", "session", row.id));
}

/* ---- Finding ---- */

/* With the lock. */
static struct upload *find(struct transfer *t, const char *id)
{
	struct upload *u;

	for (u = t->uploads; u; u = u->next) {
		if (strcmp(u->row.id, id) == 0 && !u->over)
			return u;
	}
	return NULL;
}

/* With the lock: one that this process does not know yet, from the catalogue. */
static int revive(struct transfer *t, const struct catalogue_upload *row, struct upload **out,
		  struct err *err)
{
	struct upload *u = calloc(1, sizeof(*u));
	int r;

	if (!u)
		return err_set(err, ENOMEM, "session %s", row->id);
	u->row = *row;
	pthread_mutex_init(&u->commit, NULL);
	r = store_session_open_in(&u->session, t->server->store, row->desktop, row->domain, err);
	if (r < 0) {
		upload_free(u);
		return r;
	}
	u->touched_ms = clock_wall_ms();
	u->next = t->uploads;
	t->uploads = u;
	*out = u;
	return 0;
}

static int read_row(struct transfer *t, const char *id, const char *caller,
		    struct catalogue_upload *row, struct err *err)
{
	struct db_conn *c = db_read(t->server->db);
	int r = catalogue_upload_get(c, id, row, err);

	db_read_end(c);
	if (r < 0)
		return r;
	if (r == CATALOGUE_NONE || strcmp(row->caller, caller) != 0)
		return err_say(err, ENOENT, "there is no session %.64s of this caller", id);
	return 0;
}

static void touch(struct transfer *t, const char *id, uint64_t now)
{
	struct db_conn *c;
	struct err err = { 0 };

	if (db_begin(t->server->db, &c, &err) < 0)
		return;
	if (catalogue_upload_touch(c, id, now, &err) < 0)
		db_abort(c);
	else
		db_commit(c, &err);
}

int transfer_take(struct http_request *request, struct upload **out, struct err *err)
{
	struct server *s = http_request_app(request);
	struct transfer *t = s->transfer;
	char caller[CATALOGUE_NAME_LEN + 16];
	const char *id = http_param(request, "session");
	uint64_t now = clock_wall_ms();
	struct catalogue_upload row;
	struct upload *u;
	bool stale = false;
	int r;

	transfer_caller(request, caller);
	r = read_row(t, id, caller, &row, err);
	if (r < 0)
		return r;
	pthread_mutex_lock(&t->lock);
	u = find(t, id);
	if (!u)
		r = revive(t, &row, &u, err);
	if (r == 0) {
		u->refs++; /* its row stays: what a commit under way has planned is newer than what we read */
		u->used_ms = now;
		stale = now - u->touched_ms > TOUCH_MS;
		if (stale)
			u->touched_ms = now;
	}
	pthread_mutex_unlock(&t->lock);
	if (stale)
		touch(t, id, now);
	*out = u;
	return r;
}

void transfer_give(struct transfer *t, struct upload *u)
{
	struct upload **at;
	bool last;

	pthread_mutex_lock(&t->lock);
	last = --u->refs == 0 && u->over;
	if (last) {
		for (at = &t->uploads; *at != u;)
			at = &(*at)->next;
		*at = u->next;
	}
	pthread_mutex_unlock(&t->lock);
	if (last)
		upload_free(u);
}

void transfer_over(struct transfer *t, struct upload *u)
{
	pthread_mutex_lock(&t->lock);
	u->over = true;
	pthread_mutex_unlock(&t->lock);
}

/* ---- Chunks in ---- */

void transfer_query(struct http_request *request)
{
	struct server *s = http_request_app(request);
	size_t len, n;
	const uint8_t *ids = http_body(request, &len);
	CLEANUP_FREE uint8_t *bitmap = NULL;
	struct chunk_sink sink;
	struct err err = { 0 };
	struct upload *u;
	int r;

	n = len / CHUNK_ID_LEN;
	if (n == 0 || len % CHUNK_ID_LEN || n > CHUNK_IO_BATCH) {
		http_fail(request, 400, "a query is 1 to %d ids of %d bytes, this has %zu bytes",
			  CHUNK_IO_BATCH, CHUNK_ID_LEN, len);
		return;
	}
	r = transfer_take(request, &u, &err);
	if (r == 0) {
		bitmap = calloc(1, (n + 7) / 8);
		sink = store_session_sink(u->session);
		r = bitmap ? sink.query(sink.ctx, (const struct chunk_id *)ids, n, bitmap, &err)
			   : err_set(&err, ENOMEM, "query");
		transfer_give(s->transfer, u);
	}
	if (r < 0)
		http_fail_err(request, r, &err);
	else
		http_reply_text(request, 200, "application/octet-stream", (char *)TAKE(bitmap),
				(n + 7) / 8);
}

/* Keep some room for the catalogue, so that a full disk stops uploads and nothing else. */
static int check_room(struct server *s, struct err *err)
{
	const char *paths[] = { s->config.store, s->state };
	struct statvfs v;
	size_t i;

	for (i = 0; i < ARRAY_LEN(paths); i++) {
		if (statvfs(paths[i], &v) == 0 &&
		    (uint64_t)v.f_bavail * v.f_frsize < s->config.min_free_bytes)
			return err_say(err, ENOSPC,
				       "the server's disk is full: %s has %llu MiB left; nothing "
				       "was lost, "
				       "free some space and repeat",
				       paths[i],
				       (unsigned long long)(v.f_bavail * v.f_frsize >> 20));
	}
	return 0;
}

static int put_all(struct transfer *t, struct upload *u, struct chunk_wire_reader *reader,
		   struct err *err)
{
	struct chunk_encoded batch[PUT_BATCH];
	uint64_t raw = 0, stored = 0;
	size_t n = 0;
	int r = 0, end;

	do {
		end = chunk_wire_next(reader, &batch[n], err);
		if (end < 0)
			r = end;
		if (end == 0) {
			raw += batch[n].raw_len;
			stored += batch[n++].len;
		}
		if (r == 0 && n > 0 && (n == PUT_BATCH || end == CHUNK_WIRE_END)) {
			r = store_session_put_untrusted(u->session, batch, n, err);
			n = 0;
		}
	} while (r == 0 && end == 0);
	pthread_mutex_lock(&t->lock);
	if (r == 0) {
		u->new_bytes += raw;
		u->stored_bytes += stored;
	}
	pthread_mutex_unlock(&t->lock);
	return r;
}

void transfer_chunks(struct http_request *request)
{
	struct server *s = http_request_app(request);
	struct chunk_wire_reader reader = { .at = 0 };
	struct err err = { 0 };
	struct upload *u;
	int r;

	reader.buf = http_body(request, &reader.len);
	r = check_room(s, &err);
	if (r == 0)
		r = transfer_take(request, &u, &err);
	if (r == 0) {
		r = put_all(s->transfer, u, &reader, &err);
		transfer_give(s->transfer, u);
	}
	if (r < 0)
		http_fail_err(request, r, &err);
	else
		http_reply_empty(request, 204);
}

/* ---- Ending ---- */

static int end_row(struct server *s, const char *id, struct err *err)
{
	CLEANUP(db_abort) struct db_conn *c = NULL;
	int r = db_begin(s->db, &c, err);

	if (r == 0)
		r = catalogue_upload_end(c, id, err);
	return r < 0 ? r : db_commit(TAKE(c), err);
}

void transfer_end(struct http_request *request)
{
	struct server *s = http_request_app(request);
	struct err err = { 0 };
	struct upload *u;
	int r = transfer_take(request, &u, &err);

	if (r == 0) {
		r = end_row(s, u->row.id, &err);
		if (r == 0)
			transfer_over(s->transfer, u);
		transfer_give(s->transfer, u);
	}
	if (r < 0)
		http_fail_err(request, r, &err);
	else
		http_reply_empty(request, 204);
}

void transfer_purge(struct transfer *t)
{
	uint64_t before = clock_wall_ms() - DAY_MS;
	struct upload *u, **at, *dead = NULL;
	struct db_conn *c;
	struct err err = { 0 };
	int r;

	pthread_mutex_lock(&t->lock);
	for (at = &t->uploads; (u = *at);) {
		if (u->refs == 0 && u->used_ms < before) {
			*at = u->next;
			u->next = dead;
			dead = u;
		} else {
			at = &u->next;
		}
	}
	pthread_mutex_unlock(&t->lock);
	while ((u = dead)) {
		dead = u->next;
		upload_free(u);
	}
	r = db_begin(t->server->db, &c, &err);
	if (r == 0) {
		r = catalogue_upload_purge(c, before, &err);
		if (r > 0)
			log_info("forgot uploads that nobody used for a day count=%d", r);
		r = r < 0 ? (db_abort(c), r) : db_commit(c, &err);
	}
	if (r < 0)
		log_error("purge uploads: %s", err_text(&err));
}

/* ---- Counting ---- */

void transfer_sent_add(struct transfer *t, const char *job, uint64_t bytes)
{
	size_t i;

	if (!job[0])
		return;
	pthread_mutex_lock(&t->lock);
	for (i = 0; i < SENT_SLOTS && strcmp(t->sent[i].job, job) != 0; i++)
		;
	if (i == SENT_SLOTS) {
		i = t->sent_next++ % SENT_SLOTS;
		snprintf(t->sent[i].job, sizeof(t->sent[i].job), "%s", job);
		t->sent[i].bytes = 0;
	}
	t->sent[i].bytes += bytes;
	pthread_mutex_unlock(&t->lock);
}

uint64_t transfer_sent_take(struct transfer *t, const char *job)
{
	uint64_t bytes = 0;
	size_t i;

	pthread_mutex_lock(&t->lock);
	for (i = 0; i < SENT_SLOTS; i++) {
		if (strcmp(t->sent[i].job, job) == 0) {
			bytes = t->sent[i].bytes;
			t->sent[i].bytes = 0;
		}
	}
	pthread_mutex_unlock(&t->lock);
	return bytes;
}
