/* api_hunts.c - hunts for contents and scans with other signatures, over the whole fleet. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/hex.h"
#include "mgmt-server/api/api.h"
#include "mgmt-server/api/api_edit.h"
#include "mgmt-server/api/api_page.h"
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

static void order(struct api_edit *e, const char *kind, const char *what)
{
	char id[CATALOGUE_ID_LEN] = "";
	int r = hunts_order(&e->change, kind, what, http_caller(e->request)->name, id, &e->err);

	if (r == 0)
		r = api_edit_audit(e, "hunt", id, kind);
	api_edit_end(e, r, 202, r == 0 ? hunts_object_of(e->change.db, id) : NULL);
}

void api_hunt_new(struct http_request *request)
{
	CLEANUP_API_EDIT struct api_edit e = { .request = request };
	CLEANUP_FREE char *hashes = NULL;
	json_t *list = NULL;
	const char *rule = NULL;
	const struct json_field fields[] = {
		{ "sha256", JSON_KIND_ARRAY, true, &list },
		{ "yara", JSON_KIND_STRING, true, &rule },
	};
	int r = api_edit_body(&e, fields, ARRAY_LEN(fields));

	if (r == 0 && !list == !rule)
		r = err_say(&e.err, EINVAL, "either 'sha256' or 'yara' must be there");
	if (r == 0 && rule && (!rule[0] || strlen(rule) > HUNTS_RULE_MAX))
		r = err_say(&e.err, EINVAL, "'yara' must have 1 to %d bytes", HUNTS_RULE_MAX);
	if (r == 0 && list) {
		hashes = hashes_of(list, &e.err);
		r = hashes ? 0 : -EINVAL;
	}
	if (api_edit_begin(&e, r))
		order(&e, rule ? "rule" : "hash", rule ? rule : hashes);
}

void api_rescan_new(struct http_request *request)
{
	CLEANUP_API_EDIT struct api_edit e = { .request = request };
	int r = api_edit_body(&e, NULL, 0);

	if (api_edit_begin(&e, r))
		order(&e, "rescan", "");
}

static int list_hunt(void *arg, const struct catalogue_hunt *h, struct err *err)
{
	(void)err;
	return api_page_add_number(arg, hunts_object(h, false), h->seq);
}

static int walk_hunts(struct api_page *page, void *arg, struct err *err)
{
	(void)arg;
	return catalogue_hunt_each(page->db, page->before, list_hunt, page, err);
}

void api_hunts(struct http_request *request)
{
	api_page_reply(request, &(struct api_page_list){ .walk = walk_hunts });
}

void api_hunt(struct http_request *request)
{
	api_reply_object(request, "hunt", hunts_object_of);
}

void api_hunt_cancel(struct http_request *request)
{
	CLEANUP_API_EDIT struct api_edit e = { .request = request };
	const char *id = http_param(request, "id");
	int r = api_edit_body(&e, NULL, 0);

	if (!api_edit_begin(&e, r))
		return;
	r = hunts_cancel(&e.change, id, &e.err);
	if (r == 0)
		r = api_edit_audit(&e, "cancel", id, "hunt");
	api_edit_end(&e, r, 200, r == 0 ? hunts_object_of(e.change.db, id) : NULL);
}
