/* api_edit.h - a request that changes something: its body, then one change (change.h), then one answer.
 *
 * With an Idempotency-Key the answer is kept in the change's own transaction and given again when the same request
 * comes again, so that a request whose answer was lost does its thing once. Of a route with ROUTE_SECRET only that it was
 * done is kept: the second request fails with 409.
 *
 *	CLEANUP_API_EDIT struct api_edit e = { .request = request };
 *	const struct json_field fields[] = { … };
 *	int r = api_edit_body(&e, fields, ARRAY_LEN(fields));
 *
 *	if (!api_edit_begin(&e, r))
 *		return;
 *	r = do_it(&e.change, …, &e.err);
 *	if (r == 0)
 *		r = api_edit_audit(&e, "verb", object, detail);
 *	api_edit_end(&e, r, 200, r == 0 ? object : NULL);
 */
#ifndef GODWIT_MGMT_SERVER_API_EDIT_H
#define GODWIT_MGMT_SERVER_API_EDIT_H

#include "mgmt-server/core/change.h"
#include "mgmt-server/core/server.h"

struct api_edit {
	struct http_request
		*request; /* gone after api_edit_begin() said no, and after api_edit_end() */
	json_t *body;     /* what the fields borrow */
	struct change change;
	struct err err;
};

void api_edit_deinit(struct api_edit *e); /* a change that was not committed is aborted */
#define CLEANUP_API_EDIT __attribute__((cleanup(api_edit_deinit)))

/* As api_body(). Return 0 or -EINVAL with @e's err set. */
int api_edit_body(struct api_edit *e, const struct json_field *fields, size_t n);
/**
 * api_edit_begin(e, r):
 * Begin the change, unless @r (of the body and its judges) is a failure already.
 *
 * Return false when the request has been answered: with that failure, or as it was answered before.
 */
bool api_edit_begin(struct api_edit *e, int r);
/* Who asks did @action: an entry in the audit trail, part of the change. */
int api_edit_audit(struct api_edit *e, const char *action, const char *object, const char *detail);
/* Commit and answer with @object (taken; may be NULL when r < 0), or abort and fail. */
void api_edit_end(struct api_edit *e, int r, unsigned status, json_t *object);

#endif
