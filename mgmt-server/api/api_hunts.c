/* api_hunts.c - hunts for contents and scans with other signatures, over the whole fleet. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/hex.h"
#include "mgmt-server/api/api.h"
#include "mgmt-server/core/hunts.h"

/* One hash a line; NULL with @err: one is none. */
static char *hashes_of(const json_t *list, struct err *err)
{
	size_t count = json_array_size(list), i;
	char *text = malloc(count * (HUNTS_HASH_LEN + 1) + 1), *to = text;
	uint8_t bytes[HUNTS_HASH_LEN / 2];
	const json_t *item;

	if (!text || !count || count > HUNTS_HASHES_MAX) {
		err_say(err, text ? EINVAL : ENOMEM, "'sha256' must be a list of 1 to %d hashes",
			HUNTS_HASHES_MAX);
		free(text);
		return NULL;
	}
	json_array_foreach (list, i, item) {
		if (!json_is_string(item) ||
		    hex_decode(json_string_value(item), bytes, sizeof(bytes)) < 0) {
			err_say(err, EINVAL, "'sha256'[%zu] must be 64 hexadecimal digits", i);
			free(text);
			return NULL;
		}
		to += sprintf(to, "%s\n", json_string_value(item));
	}
	return text;
}

static int order(struct http_request *request, struct change *change, const char *kind,
		 const char *what, char *id, struct err *err)
{
	const char *user = http_caller(request)->name;
	int r = hunts_order(change, kind, what, user, id, err);

	if (r == 0)
		r = change_audit(change, user, http_address(request), "hunt", id, kind, err);
	return r;
}

void api_hunt_new(struct http_request *request)
{
	CLEANUP_CHANGE struct change change = { .held = false };
	CLEANUP(json_decref) json_t *body = NULL;
	CLEANUP_FREE char *hashes = NULL;
	json_t *list = NULL;
	const char *rule = NULL;
	const struct json_field fields[] = {
		{ "sha256", JSON_KIND_ARRAY, true, &list },
		{ "yara", JSON_KIND_STRING, true, &rule },
	};
	char id[CATALOGUE_ID_LEN] = "";
	struct err err = { 0 };
	int r = api_body(request, fields, ARRAY_LEN(fields), &body, &err);

	if (r == 0 && !list == !rule)
		r = err_say(&err, EINVAL, "either 'sha256' or 'yara' must be there");
	if (r == 0 && rule && (!rule[0] || strlen(rule) > HUNTS_RULE_MAX))
		r = err_say(&err, EINVAL, "'yara' must have 1 to %d bytes", HUNTS_RULE_MAX);
	if (r == 0 && list) {
		hashes = hashes_of(list, &err);
		r = hashes ? 0 : -EINVAL;
	}
	if (r == 0)
		r = api_change(request, &change, &err);
	if (r != 0) {
		api_failed(request, r, &err);
		return;
	}
	r = order(request, &change, rule ? "rule" : "hash", rule ? rule : hashes, id, &err);
	api_finish(request, &change, r, 202, r == 0 ? hunts_object_of(change.db, id) : NULL, &err);
}

void api_rescan_new(struct http_request *request)
{
	CLEANUP_CHANGE struct change change = { .held = false };
	CLEANUP(json_decref) json_t *body = NULL;
	char id[CATALOGUE_ID_LEN] = "";
	struct err err = { 0 };
	int r = api_body(request, NULL, 0, &body, &err);

	if (r == 0)
		r = api_change(request, &change, &err);
	if (r != 0) {
		api_failed(request, r, &err);
		return;
	}
	r = order(request, &change, "rescan", "", id, &err);
	api_finish(request, &change, r, 202, r == 0 ? hunts_object_of(change.db, id) : NULL, &err);
}

static int list_hunt(void *arg, const struct catalogue_hunt *h, struct err *err)
{
	(void)err;
	return api_page_add_number(arg, hunts_object(h, false), h->seq);
}

void api_hunts(struct http_request *request)
{
	struct server *s = http_request_app(request);
	struct json_field fields[2];
	struct api_page page;
	struct err err = { 0 };
	struct db_conn *c;
	uint64_t before = 0;
	int r = api_page_begin(request, &page, fields, ARRAY_LEN(fields), &err);

	if (r == 0)
		r = api_page_number(&page, &before, &err);
	if (r == 0) {
		c = db_read(s->db);
		r = catalogue_hunt_each(c, before, list_hunt, &page, &err);
		db_read_end(c);
	}
	api_page_end(request, &page, r, &err);
}

void api_hunt(struct http_request *request)
{
	struct server *s = http_request_app(request);
	struct db_conn *c = db_read(s->db);
	json_t *object = hunts_object_of(c, http_param(request, "id"));

	db_read_end(c);
	api_reply_found(request, object, "hunt");
}

void api_hunt_cancel(struct http_request *request)
{
	CLEANUP_CHANGE struct change change = { .held = false };
	CLEANUP(json_decref) json_t *body = NULL;
	const char *id = http_param(request, "id"), *user = http_caller(request)->name;
	struct err err = { 0 };
	int r = api_body(request, NULL, 0, &body, &err);

	if (r == 0)
		r = api_change(request, &change, &err);
	if (r != 0) {
		api_failed(request, r, &err);
		return;
	}
	r = hunts_cancel(&change, id, &err);
	if (r == 0)
		r = change_audit(&change, user, http_address(request), "cancel", id, "hunt", &err);
	api_finish(request, &change, r, 200, r == 0 ? hunts_object_of(change.db, id) : NULL, &err);
}
