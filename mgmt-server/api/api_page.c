/* api_page.c - see api_page.h. */
#include "mgmt-server/api/api_page.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mgmt-server/core/fleet.h"

enum { LIMIT_PRESET = 100, LIMIT_MAX = 1000 };

/* A cursor that is a number; "" is the newest. */
static int parse_number(struct api_page *page, struct err *err)
{
	char *end;

	page->before = INT64_MAX;
	if (!page->after[0])
		return 0;
	errno = 0;
	page->before = strtoull(page->after, &end, 10);
	if (errno || *end || page->before > INT64_MAX || page->after[0] < '0' ||
	    page->after[0] > '9')
		return err_say(err, EINVAL, "query: 'after' is no cursor of this list");
	return 0;
}

static int parse_query(struct http_request *request, const struct api_page_list *list,
		       struct api_page *page, struct err *err)
{
	struct json_field fields[2 + API_PAGE_FIELDS_MAX] = {
		{ "limit", JSON_KIND_UINT, true, &page->limit },
		{ "after", JSON_KIND_STRING, true, &page->after },
	};
	int r;

	assert(list->field_count <= API_PAGE_FIELDS_MAX);
	if (list->field_count)
		memcpy(fields + 2, list->fields, list->field_count * sizeof(fields[0]));
	r = http_query(request, fields, 2 + list->field_count, err);
	if (r == 0 && (page->limit == 0 || page->limit > LIMIT_MAX))
		r = err_say(err, EINVAL, "query: 'limit' must be 1 to %d", LIMIT_MAX);
	return r < 0 || list->fleet ? r : parse_number(page, err);
}

/* The fleet's lock first: nobody waits for it with a db_conn in hand (server.h). */
static int walk(const struct api_page_list *list, struct api_page *page, struct err *err)
{
	int r;

	if (list->fleet)
		fleet_lock(page->server->fleet);
	page->db = db_read(page->server->db);
	r = list->walk(page, list->arg, err);
	db_read_end(page->db);
	if (list->fleet)
		fleet_unlock(page->server->fleet);
	return r;
}

void api_page_reply(struct http_request *request, const struct api_page_list *list)
{
	struct api_page page = { .server = http_request_app(request),
				 .limit = LIMIT_PRESET,
				 .after = "" };
	struct err err = { 0 };
	int r = parse_query(request, list, &page, &err);

	page.items = json_array();
	if (r == 0)
		r = walk(list, &page, &err);
	if (r < 0) {
		json_decref(page.items);
		http_fail_err(request, r, &err);
		return;
	}
	http_reply_json(request, 200,
			json_pack("{so so}", "items", page.items, "next",
				  page.more ? json_string(page.next) : json_null()));
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
