/* reply.c - replies and streams, the part of http.h that needs no libmicrohttpd. */
#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mgmt-server/http/problem.h"
#include "mgmt-server/http/request.h"

/* ---- Whole replies ---- */

void http_reply_header(struct http_request *request, const char *name, const char *value)
{
	assert(request->header_count < HTTP_HEADERS_MAX);
	request->headers[request->header_count].name = name;
	request->headers[request->header_count].value = strdup(value);
	if (request->headers[request->header_count].value)
		request->header_count++;
}

void http_reply_text(struct http_request *request, unsigned status, const char *type, char *text,
		     size_t len)
{
	request->status = text || len == 0 ? status : 503;
	request->type = type;
	request->text = text;
	request->text_len = text ? len : 0;
	http_request_replied(request);
}

void http_reply_empty(struct http_request *request, unsigned status)
{
	http_reply_text(request, status, NULL, NULL, 0);
}

void http_reply_json(struct http_request *request, unsigned status, json_t *value)
{
	char *text = value ? json_text(value) : NULL;

	json_decref(value);
	if (!text) {
		http_fail(request, 503, "out of memory");
		return;
	}
	http_reply_text(request, status, "application/json", text, strlen(text));
}

static void fail_with(struct http_request *request, unsigned status, const char *detail)
{
	size_t len;
	char *text = problem_text(status, detail, &len);

	http_reply_text(request, status, "application/problem+json", text, len);
}

void http_fail(struct http_request *request, unsigned status, const char *format, ...)
{
	char detail[ERR_TEXT_MAX];
	va_list args;

	va_start(args, format);
	vsnprintf(detail, sizeof(detail), format, args);
	va_end(args);
	fail_with(request, status, detail);
}

void http_fail_err(struct http_request *request, int r, const struct err *err)
{
	fail_with(request, problem_status(-r), err_text(err));
}

/* ---- Streams ---- */

static int fill_task(void *arg, struct err *err);

static void fill_soon(struct http_request *request)
{
	request->s.filling = true;
	request->s.waiting = false;
	http_submit(request->http, request->s.stream.bulk, fill_task, request);
}

static void fill_timer(void *arg)
{
	struct http_request *request = arg;

	pthread_mutex_lock(&request->lock);
	if (request->s.waiting)
		fill_soon(request);
	pthread_mutex_unlock(&request->lock);
}

static void resume_locked(struct http_request *request)
{
	struct http_stream_state *s = &request->s;

	s->filling = false;
	if (s->suspended) {
		s->suspended = false;
		http_request_resume(request);
	}
}

/* What fill said becomes state. Return true: fill again at once. */
static bool filled(struct http_request *request, int r, size_t len, uint64_t wait_ms)
{
	struct http_stream_state *s = &request->s;
	bool again = false;

	pthread_mutex_lock(&request->lock);
	if (r == HTTP_STREAM_WAIT && !s->ended) {
		if (s->woken) {
			again = true;
		} else {
			s->filling = false;
			s->waiting = true;
			s->timer = http_after(request->http, wait_ms, fill_timer, request);
			if (s->timer == 0) { /* out of memory */
				s->waiting = false;
				s->failed = true;
				resume_locked(request);
			}
		}
		s->woken = false;
	} else {
		s->at = 0;
		s->len = r == HTTP_STREAM_MORE ? len : 0;
		s->failed = r < 0;
		s->ended = s->ended || r == HTTP_STREAM_END;
		resume_locked(request);
	}
	pthread_mutex_unlock(&request->lock);
	return again;
}

static int fill_task(void *arg, struct err *err)
{
	struct http_request *request = arg;
	struct http_stream_state *s = &request->s;
	uint64_t wait_ms;
	size_t len;
	int r;

	(void)err;
	do {
		len = 0;
		wait_ms = 1000;
		r = s->stream.fill(s->stream.ctx, s->buf, s->stream.buffer, &len, &wait_ms);
	} while (filled(request, r, len, wait_ms));
	return 0;
}

long http_stream_take(struct http_request *request, char *buf, size_t max)
{
	struct http_stream_state *s = &request->s;
	size_t n = s->len - s->at;

	if (n > 0) {
		n = n < max ? n : max;
		memcpy(buf, s->buf + s->at, n);
		s->at += n;
		return (long)n;
	}
	if (s->ended || s->failed)
		return s->failed ? -2 : -1;
	s->suspended = true;
	if (!s->filling && !s->waiting)
		fill_soon(request);
	return 0;
}

void http_wake(struct http_request *request)
{
	struct http_stream_state *s = &request->s;

	pthread_mutex_lock(&request->lock);
	if (s->filling)
		s->woken = true;
	else if (s->waiting && http_cancel(request->http, s->timer))
		fill_soon(request);
	pthread_mutex_unlock(&request->lock);
}

void http_stream_stop(struct http_request *request)
{
	struct http_stream_state *s = &request->s;

	pthread_mutex_lock(&request->lock);
	s->ended = true;
	if (s->waiting && http_cancel(request->http, s->timer)) {
		s->waiting = false;
		resume_locked(request);
	}
	pthread_mutex_unlock(&request->lock);
}

void http_reply_stream(struct http_request *request, unsigned status, const char *type,
		       const struct http_stream *stream)
{
	request->s.stream = *stream;
	request->s.buf = malloc(stream->buffer);
	if (!request->s.buf) {
		stream->close(stream->ctx);
		request->s.stream.fill = NULL;
		http_fail(request, 503, "out of memory");
		return;
	}
	request->status = status;
	request->type = type;
	http_request_replied(request);
}
