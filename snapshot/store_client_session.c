/* The writing half: one upload. Chunks are copied into buffers; a full buffer is one request, sent by one of several
 * threads. Putting blocks while all buffers are under way: that bounds the memory. The first failure of a request is
 * kept, and every later call returns it: an upload is resumed as a whole or not at all.
 */
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "common/io.h"
#include "snapshot/chunk_wire.h"
#include "snapshot/store_client.h"
#include "snapshot/store_client_path.h"

enum {
	SESSION_BODY =
		4
		<< 20, /* bytes in one request; a larger one gains nothing with several in flight */
	SESSION_SENDERS = 4,
	SESSION_BUFFERS = SESSION_SENDERS + 2,
	SESSION_DEADLINE_MS = 120 * 1000,
	SESSION_COMMIT_DEADLINE_MS = 15 * 60 * 1000,
};

struct buffer {
	struct buffer *next;
	size_t len;
	uint8_t bytes[SESSION_BODY];
};

/* Each buffer is in exactly one place: free, filling, the queue full, or with a sender (busy counts those). */
struct store_client_session {
	struct http_client *http;
	char *id;
	char *query_path, *chunks_path, *commit_path, *session_path;

	pthread_mutex_t lock; /* everything below */
	pthread_cond_t work;  /* for senders: full or stop */
	pthread_cond_t room;  /* for callers: a buffer is free, or nothing is under way */
	struct buffer *free, *filling, *full, **full_end;
	unsigned made, busy;
	bool stop;
	int r;
	struct err err;
	unsigned threads;
	pthread_t thread[SESSION_SENDERS];
};

/* ---- Requests ---------------------------------------------------------------------------------------------- */

static int binary_call(struct store_client_session *s, const char *path, const void *body,
		       size_t len, size_t response_max, struct http_response *response,
		       struct err *err)
{
	int r;

	r = http_client_call(s->http,
			     &(struct http_request){
				     .method = "POST",
				     .path = path,
				     .body = body,
				     .body_len = len,
				     .body_type = "application/octet-stream",
				     .repeatable = true,
				     .deadline_ms = SESSION_DEADLINE_MS,
				     .response_max = response_max,
			     },
			     response, err);
	if (r < 0)
		return r;
	r = http_response_check(response, path, err);
	return r == -ENOENT ? err_wrap(err, -ESTALE, "upload session %s is over", s->id) : r;
}

static int send_buffer(struct store_client_session *s, const struct buffer *b, struct err *err)
{
	struct http_response response = { 0 };
	int r;

	r = binary_call(s, s->chunks_path, b->bytes, b->len, 0, &response, err);
	http_response_deinit(&response);
	return r < 0 ? err_wrap(err, r, "send chunks") : 0;
}

static void *sender(void *arg)
{
	struct store_client_session *s = arg;
	struct err err = { 0 };
	struct buffer *b;
	int r;

	pthread_mutex_lock(&s->lock);
	for (;;) {
		while (!s->full && !s->stop)
			pthread_cond_wait(&s->work, &s->lock);
		if (s->stop)
			break;
		b = s->full;
		s->full = b->next;
		if (!s->full)
			s->full_end = &s->full;
		s->busy++;
		r = s->r;
		if (r == 0) {
			pthread_mutex_unlock(&s->lock);
			r = send_buffer(s, b, &err);
			pthread_mutex_lock(&s->lock);
			if (r < 0 && s->r == 0) {
				s->r = r;
				s->err = err;
			}
		}
		s->busy--;
		b->next = s->free;
		s->free = b;
		pthread_cond_broadcast(&s->room);
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

/* ---- The sink ------------------------------------------------------------------------------------------------ */

static int failed(const struct store_client_session *s, struct err *err)
{
	if (s->r < 0 && err)
		*err = s->err;
	return s->r;
}

static void enqueue_filling(struct store_client_session *s)
{
	struct buffer *b = TAKE(s->filling);

	b->next = NULL;
	*s->full_end = b;
	s->full_end = &b->next;
	pthread_cond_signal(&s->work);
}

/* Make s->filling a buffer with @len bytes of room. The lock is held, and let go while waiting. */
static int make_room(struct store_client_session *s, size_t len, struct err *err)
{
	for (;;) {
		if (s->r < 0)
			return failed(s, err);
		if (s->filling && s->filling->len + len > SESSION_BODY)
			enqueue_filling(s);
		if (s->filling)
			return 0;
		if (!s->free && s->made < SESSION_BUFFERS) {
			s->free = calloc(1, sizeof(*s->free));
			if (!s->free)
				return err_set(err, ENOMEM, "buffer an upload");
			s->made++;
		}
		if (s->free) {
			s->filling = s->free;
			s->free = s->free->next;
			s->filling->len = 0;
			return 0;
		}
		pthread_cond_wait(&s->room, &s->lock);
	}
}

static int session_put(void *ctx, const struct chunk_encoded *chunks, size_t n, struct err *err)
{
	struct store_client_session *s = ctx;
	size_t i;
	int r = 0;

	pthread_mutex_lock(&s->lock);
	for (i = 0; i < n && r == 0; i++) {
		r = make_room(s, chunk_wire_len(&chunks[i]), err);
		if (r == 0)
			s->filling->len +=
				chunk_wire_put(s->filling->bytes + s->filling->len, &chunks[i]);
	}
	pthread_mutex_unlock(&s->lock);
	return r;
}

static int session_query(void *ctx, const struct chunk_id *ids, size_t n, uint8_t *present,
			 struct err *err)
{
	struct store_client_session *s = ctx;
	struct http_response response = { 0 };
	size_t len = (n + 7) / 8;
	int r;

	assert(n <= CHUNK_IO_BATCH);
	r = binary_call(s, s->query_path, ids, n * sizeof(ids[0]), len + 4096, &response, err);
	if (r == 0 && response.body_len != len)
		r = err_say(err, EBADMSG, "%s: an answer of %zu bytes to %zu ids", s->query_path,
			    response.body_len, n);
	if (r == 0)
		memcpy(present, response.body, len);
	http_response_deinit(&response);
	return r < 0 ? err_wrap(err, r, "ask which chunks are there") : 0;
}

struct chunk_sink store_client_session_sink(struct store_client_session *session)
{
	return (struct chunk_sink){ .ctx = session, .query = session_query, .put = session_put };
}

/* ---- Opening and ending ------------------------------------------------------------------------------------- */

static int new_id(const struct store_client_open *order, char **id, struct err *err)
{
	CLEANUP(json_decref) json_t *body = NULL;
	CLEANUP(json_decref) json_t *reply = NULL;
	CLEANUP_FREE char *path = io_printf("%s/sessions", order->prefix);
	const char *got = NULL;
	const struct json_field fields[] = { { "session", JSON_KIND_STRING, false, &got } };
	int r;

	body = json_pack("{s:s, s:I, s:s?}", "desktop", order->desktop, "epoch",
			 (json_int_t)order->epoch, "job", order->job);
	if (!path || !body)
		return err_set(err, ENOMEM, "open an upload session");
	r = http_client_json(order->http, "POST", path, body, &reply, err);
	if (r < 0)
		return err_wrap(err, r, "open an upload session for desktop %s", order->desktop);
	r = json_fields(reply, fields, ARRAY_LEN(fields), path, err);
	if (r < 0)
		return r;
	if (!store_client_path_word_valid(got))
		return err_say(err, EBADMSG, "%s: '%s' is no session", path, got);
	*id = strdup(got);
	return *id ? 0 : err_set(err, ENOMEM, "open an upload session");
}

/* Does the server still know the session? Any query tells. */
static int probe(struct store_client_session *s, struct err *err)
{
	struct chunk_id id;
	uint8_t present;

	chunk_id_of("godwit", 6, &id);
	return session_query(s, &id, 1, &present, err);
}

int store_client_session_open(struct store_client_session **out,
			      const struct store_client_open *order, struct err *err)
{
	CLEANUP(store_client_session_free) struct store_client_session *s = NULL;
	int r;

	if (!manifest_desktop_valid(order->desktop) ||
	    (order->session && !store_client_path_word_valid(order->session)))
		return err_say(err, EINVAL, "upload session '%s' of desktop '%s': not a name",
			       order->session ? order->session : "", order->desktop);
	s = calloc(1, sizeof(*s));
	if (!s)
		return err_set(err, ENOMEM, "open an upload session");
	s->http = order->http;
	s->full_end = &s->full;
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->work, NULL);
	pthread_cond_init(&s->room, NULL);

	if (order->session)
		s->id = strdup(order->session);
	else if ((r = new_id(order, &s->id, err)) < 0)
		return r;
	if (!s->id || !(s->session_path = io_printf("%s/sessions/%s", order->prefix, s->id)) ||
	    !(s->query_path = io_printf("%s/query", s->session_path)) ||
	    !(s->chunks_path = io_printf("%s/chunks", s->session_path)) ||
	    !(s->commit_path = io_printf("%s/commit", s->session_path)))
		return err_set(err, ENOMEM, "open an upload session");
	if (order->session && (r = probe(s, err)) < 0)
		return r;

	while (s->threads < SESSION_SENDERS) {
		r = pthread_create(&s->thread[s->threads], NULL, sender, s);
		if (r != 0)
			return err_set(err, r, "start a thread for uploads");
		s->threads++;
	}
	*out = TAKE(s);
	return 0;
}

static void free_buffers(struct buffer *b)
{
	struct buffer *next;

	for (; b; b = next) {
		next = b->next;
		free(b);
	}
}

void store_client_session_free(struct store_client_session *s)
{
	unsigned i;

	if (!s)
		return;
	pthread_mutex_lock(&s->lock);
	s->stop = true;
	pthread_cond_broadcast(&s->work);
	pthread_mutex_unlock(&s->lock);
	for (i = 0; i < s->threads; i++)
		pthread_join(s->thread[i], NULL);
	free_buffers(s->free);
	free_buffers(s->full);
	free(s->filling);
	pthread_cond_destroy(&s->room);
	pthread_cond_destroy(&s->work);
	pthread_mutex_destroy(&s->lock);
	free(s->query_path);
	free(s->chunks_path);
	free(s->commit_path);
	free(s->session_path);
	free(s->id);
	free(s);
}

const char *store_client_session_id(const struct store_client_session *session)
{
	return session->id;
}

/* Wait until everything that was put has been taken by the server. */
static int drain(struct store_client_session *s, struct err *err)
{
	int r;

	pthread_mutex_lock(&s->lock);
	if (s->filling && s->filling->len > 0)
		enqueue_filling(s);
	while (s->r == 0 && (s->full || s->busy > 0))
		pthread_cond_wait(&s->room, &s->lock);
	r = failed(s, err);
	pthread_mutex_unlock(&s->lock);
	return r;
}

static int take_answer(struct manifest *manifest, const struct http_response *response,
		       struct err *err)
{
	struct manifest stored;
	int r;

	manifest_init(&stored);
	r = manifest_parse(&stored, (const char *)response->body, response->body_len, err);
	if (r == 0 && stored.id[0] == '\0')
		r = err_say(err, EBADMSG, "the answer to the commit has no snapshot id");
	if (r == 0) {
		memcpy(manifest->id, stored.id, sizeof(manifest->id));
		manifest->branch = stored.branch;
		manifest->created_wall_ms = stored.created_wall_ms;
	}
	manifest_deinit(&stored);
	return r;
}

static int commit_call(struct store_client_session *s, const char *text,
		       struct http_response *response, struct err *err)
{
	int r;

	r = http_client_call(s->http,
			     &(struct http_request){
				     .method = "POST",
				     .path = s->commit_path,
				     .body = text,
				     .body_len = strlen(text),
				     .repeatable = true, /* a session commits once */
				     .deadline_ms = SESSION_COMMIT_DEADLINE_MS,
			     },
			     response, err);
	if (r == 0)
		r = http_response_check(response, s->commit_path, err);
	if (r == -EEXIST)
		return err_wrap(err, -EAGAIN, "the server lost chunks of this upload");
	return r == -ENOENT ? err_wrap(err, -ESTALE, "upload session %s is over", s->id) : r;
}

int store_client_session_commit(struct store_client_session *session, struct manifest *manifest,
				struct err *err)
{
	CLEANUP(json_decref) json_t *value = NULL;
	struct http_response response = { 0 };
	CLEANUP_FREE char *text = NULL;
	int r;

	r = drain(session, err);
	if (r < 0)
		return r;
	value = manifest_to_json(manifest);
	text = value ? json_text(value) : NULL;
	if (!text)
		return err_set(err, ENOMEM, "commit an upload");
	r = commit_call(session, text, &response, err);
	if (r == 0)
		r = take_answer(manifest, &response, err);
	http_response_deinit(&response);
	return r < 0 ? err_wrap(err, r, "commit the upload of desktop %s", manifest->desktop) : 0;
}

int store_client_session_abort(struct store_client_session *session, struct err *err)
{
	int r = http_client_json(session->http, "DELETE", session->session_path, NULL, NULL, err);

	return r == -ENOENT ? 0 : r;
}
