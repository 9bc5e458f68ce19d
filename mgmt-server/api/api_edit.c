/* api_edit.c - see api_edit.h. */
#include "mgmt-server/api/api_edit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/io.h"
#include "mgmt-server/api/api.h"
#include "mgmt-server/core/auth.h"

enum { KEY_MAX = 128 };
enum { REPLIED = 1 };

void api_edit_deinit(struct api_edit *e)
{
	change_abort(&e->change);
	json_decref(e->body);
}

int api_edit_body(struct api_edit *e, const struct json_field *fields, size_t n)
{
	return api_body(e->request, fields, n, &e->body, &e->err);
}

/* ---- Repeated requests ---- */

static const char *key_of(const struct api_edit *e)
{
	return http_header(e->request, "Idempotency-Key");
}

static int request_digest(struct api_edit *e, char hash[CATALOGUE_HASH_LEN])
{
	size_t len;
	const uint8_t *body = http_body(e->request, &len);
	CLEANUP_FREE char *text =
		io_printf("%s %s\n%.*s", http_method(e->request), http_path(e->request), (int)len,
			  body ? (const char *)body : "");

	if (!text)
		return err_set(&e->err, ENOMEM, "Idempotency-Key");
	auth_digest(text, strlen(text), hash);
	return 0;
}

/* What is kept in place of an answer that holds a secret; any other answer has characters. */
static const char given_out[] = "";

/*
 * Return 0 (never heard of @key), REPLIED, -errno: -EBADMSG when the key came with another request, -EEXIST when the answer
 * held a secret.
 */
static int answered_before(struct api_edit *e, const char *key)
{
	struct catalogue_answer answer = { .body = NULL };
	char hash[CATALOGUE_HASH_LEN];
	int r;

	if (!key[0] || strlen(key) > KEY_MAX)
		return err_say(&e->err, EINVAL, "Idempotency-Key must have 1 to %d characters",
			       KEY_MAX);
	r = request_digest(e, hash);
	if (r == 0)
		r = catalogue_answer_get(e->change.db, http_caller(e->request)->name, key, &answer,
					 &e->err);
	if (r == CATALOGUE_NONE)
		return 0;
	if (r == 0 && strcmp(hash, answer.request_hash) != 0)
		r = err_say(&e->err, EBADMSG, "this Idempotency-Key was used for another request");
	if (r == 0 && strcmp(answer.body, given_out) == 0)
		r = err_say(&e->err, EEXIST,
			    "this was done, and the secret in the answer was given out; it is kept "
			    "nowhere: make a new one, under another Idempotency-Key");
	if (r < 0) {
		free(answer.body);
		return r;
	}
	change_abort(&e->change);
	http_reply_text(e->request, (unsigned)answer.status, "application/json", answer.body,
			strlen(answer.body));
	return REPLIED;
}

static int remember(struct api_edit *e, unsigned status, const json_t *object)
{
	const char *key = key_of(e);
	struct catalogue_answer answer = { .status = status };
	int r;

	if (!key)
		return 0;
	r = request_digest(e, answer.request_hash);
	if (r < 0)
		return r;
	answer.body =
		http_route_flags(e->request) & ROUTE_SECRET ? strdup(given_out) : json_text(object);
	r = answer.body ? catalogue_answer_add(e->change.db, http_caller(e->request)->name, key,
					       &answer, clock_wall_ms(), &e->err)
			: err_set(&e->err, ENOMEM, "Idempotency-Key");
	free(answer.body);
	return r;
}

/* ---- The change ---- */

bool api_edit_begin(struct api_edit *e, int r)
{
	const char *key = key_of(e);

	if (r == 0)
		r = change_begin(&e->change, http_request_app(e->request), &e->err);
	if (r == 0 && key)
		r = answered_before(e, key);
	if (r < 0)
		http_fail_err(e->request, r, &e->err);
	return r == 0;
}

int api_edit_audit(struct api_edit *e, const char *action, const char *object, const char *detail)
{
	return change_audit(&e->change, http_caller(e->request)->name, http_address(e->request),
			    action, object, detail, &e->err);
}

void api_edit_end(struct api_edit *e, int r, unsigned status, json_t *object)
{
	if (r == 0 && !object)
		r = err_set(&e->err, ENOMEM, "answer");
	if (r == 0)
		r = remember(e, status, object);
	if (r == 0)
		r = change_commit(&e->change, &e->err);
	if (r == 0) {
		http_reply_json(e->request, status, object);
		return;
	}
	json_decref(object);
	change_abort(&e->change);
	http_fail_err(e->request, r, &e->err);
}
