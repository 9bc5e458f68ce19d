/* api.c - see api.h. */
#include "mgmt-server/api/api.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/io.h"
#include "mgmt-server/core/auth.h"

enum { LIMIT_PRESET = 100, LIMIT_MAX = 1000, KEY_MAX = 128 };

int api_body(struct http_request *request, const struct json_field *fields, size_t n, json_t **body,
	     struct err *err)
{
	size_t len;
	const char *text = (const char *)http_body(request, &len);
	int r;

	if (len == 0)
		text = "{}", len = 2;
	r = json_parse(body, text, len, "the request body", err);
	return r < 0 ? r : json_fields(*body, fields, n, "the request body", err);
}

/* ---- Repeated requests ---- */

static int request_digest(struct http_request *request, char hash[CATALOGUE_HASH_LEN],
			  struct err *err)
{
	size_t len;
	const uint8_t *body = http_body(request, &len);
	CLEANUP_FREE char *text = io_printf("%s %s\n%.*s", http_method(request), http_path(request),
					    (int)len, body ? (const char *)body : "");

	if (!text)
		return err_set(err, ENOMEM, "Idempotency-Key");
	auth_digest(text, strlen(text), hash);
	return 0;
}

static int answered_before(struct http_request *request, struct change *change, const char *key,
			   struct err *err)
{
	struct catalogue_answer answer = { .body = NULL };
	char hash[CATALOGUE_HASH_LEN];
	int r;

	if (!key[0] || strlen(key) > KEY_MAX)
		return err_say(err, EINVAL, "Idempotency-Key must have 1 to %d characters",
			       KEY_MAX);
	r = request_digest(request, hash, err);
	if (r == 0)
		r = catalogue_answer_get(change->db, http_caller(request)->name, key, &answer, err);
	if (r == CATALOGUE_NONE)
		return 0;
	if (r == 0 && strcmp(hash, answer.request_hash) != 0)
		r = err_say(err, EBADMSG, "this Idempotency-Key was used for another request");
	if (r < 0) {
		free(answer.body);
		return r;
	}
	change_abort(change);
	http_reply_text(request, (unsigned)answer.status, "application/json", answer.body,
			strlen(answer.body));
	return API_REPLIED;
}

int api_change(struct http_request *request, struct change *change, struct err *err)
{
	struct server *s = http_request_app(request);
	const char *key = http_header(request, "Idempotency-Key");
	int r = change_begin(change, s, err);

	return r < 0 || !key ? r : answered_before(request, change, key, err);
}

static int remember(struct http_request *request, struct change *change, unsigned status,
		    const json_t *object, struct err *err)
{
	const char *key = http_header(request, "Idempotency-Key");
	struct catalogue_answer answer = { .status = status };
	int r;

	if (!key)
		return 0;
	r = request_digest(request, answer.request_hash, err);
	if (r < 0)
		return r;
	answer.body = json_text(object);
	r = answer.body ? catalogue_answer_add(change->db, http_caller(request)->name, key, &answer,
					       clock_wall_ms(), err)
			: err_set(err, ENOMEM, "Idempotency-Key");
	free(answer.body);
	return r;
}

void api_finish(struct http_request *request, struct change *change, int r, unsigned status,
		json_t *object, struct err *err)
{
	if (r == 0 && !object)
		r = err_set(err, ENOMEM, "answer");
	if (r == 0)
		r = remember(request, change, status, object, err);
	if (r == 0)
		r = change_commit(change, err);
	if (r == 0) {
		http_reply_json(request, status, object);
		return;
	}
	json_decref(object);
	change_abort(change);
	http_fail_err(request, r, err);
}

void api_failed(struct http_request *request, int r, const struct err *err)
{
	if (r < 0)
		http_fail_err(request, r, err);
}

/* ---- Lists ---- */

int api_page_begin(struct http_request *request, struct api_page *page, struct json_field *fields,
		   size_t n, struct err *err)
{
	int r;

	*page = (struct api_page){ .limit = LIMIT_PRESET, .after = "" };
	fields[0] = (struct json_field){ "limit", JSON_KIND_UINT, true, &page->limit };
	fields[1] = (struct json_field){ "after", JSON_KIND_STRING, true, &page->after };
	r = http_query(request, fields, n, err);
	if (r == 0 && (page->limit == 0 || page->limit > LIMIT_MAX))
		r = err_say(err, EINVAL, "query: 'limit' must be 1 to %d", LIMIT_MAX);
	page->items = json_array();
	return r;
}

int api_page_number(const struct api_page *page, uint64_t *before, struct err *err)
{
	char *end;

	*before = INT64_MAX;
	if (!page->after[0])
		return 0;
	errno = 0;
	*before = strtoull(page->after, &end, 10);
	if (errno || *end || *before > INT64_MAX || page->after[0] < '0' || page->after[0] > '9')
		return err_say(err, EINVAL, "query: 'after' is no cursor of this list");
	return 0;
}

int api_page_add(struct api_page *page, json_t *item, const char *cursor)
{
	if (json_array_size(page->items) == page->limit) {
		page->more = true;
		json_decref(item);
		return DB_STOP;
	}
	snprintf(page->next, sizeof(page->next), "%s", cursor);
	json_array_append_new(page->items, item);
	return 0;
}

int api_page_add_number(struct api_page *page, json_t *item, uint64_t number)
{
	char cursor[24];

	snprintf(cursor, sizeof(cursor), "%llu", (unsigned long long)number);
	return api_page_add(page, item, cursor);
}

void api_page_end(struct http_request *request, struct api_page *page, int r, struct err *err)
{
	if (r < 0) {
		json_decref(page->items);
		http_fail_err(request, r, err);
		return;
	}
	http_reply_json(request, 200,
			json_pack("{so so}", "items", page->items, "next",
				  page->more ? json_string(page->next) : json_null()));
}

void api_reply_found(struct http_request *request, json_t *object, const char *what)
{
	if (object)
		http_reply_json(request, 200, object);
	else
		http_fail(request, 404, "there is no %s %.40s", what, http_param(request, "id"));
}
