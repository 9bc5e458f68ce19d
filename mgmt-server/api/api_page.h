/* api_page.h - lists: one page of items and the cursor of the next, under ?limit and ?after.
 *
 * What a list's handler gives are a table of what may be asked beside those two, and a function that walks the
 * catalogue from the page's cursor on and adds items until it is told to stop.
 */
#ifndef GODWIT_MGMT_SERVER_API_PAGE_H
#define GODWIT_MGMT_SERVER_API_PAGE_H

#include "mgmt-server/core/server.h"

enum { API_PAGE_FIELDS_MAX = 4 };

struct api_page {
	struct server *server;
	struct db_conn *db; /* reading */
	uint64_t limit;
	const char *after; /* cursor, "" at the beginning */
	uint64_t before;   /* the same as a number, INT64_MAX at the beginning; not of the fleet */
	json_t *items;
	char next[128]; /* cursor of the last item */
	bool more;
};

struct api_page_list {
	/* Call api_page_add for each item that comes after the cursor, until it says DB_STOP. Return 0 or -errno. */
	int (*walk)(struct api_page *page, void *arg, struct err *err);
	void *arg;
	/* What may be asked beside ?limit and ?after; at most API_PAGE_FIELDS_MAX. */
	const struct json_field *fields;
	size_t field_count;
	bool fleet; /* of the fleet: by name, under its lock. Else: by number, the newest first */
};

/* Answer with one page of @list, or with what is wrong in the query. */
void api_page_reply(struct http_request *request, const struct api_page_list *list);
/* Return 0, or DB_STOP when the page is full (the item was dropped). item is taken. */
int api_page_add(struct api_page *page, json_t *item, const char *cursor);
/* The same for items whose cursor is a number. */
int api_page_add_number(struct api_page *page, json_t *item, uint64_t number);

#endif
