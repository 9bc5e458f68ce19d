/* problem.c - see problem.h. The reverse of common/http_client's mapping. */
#include "mgmt-server/http/problem.h"

#include <errno.h>
#include <string.h>

#include "common/base.h"
#include "common/json.h"

unsigned problem_status(int code)
{
	static const struct {
		int code;
		unsigned status;
	} statuses[] = {
		{ EINVAL, 400 },  { EPERM, 401 },  { EACCES, 403 }, { ENOENT, 404 },
		{ EEXIST, 409 },  { EBUSY, 409 },  { ESTALE, 412 }, { EFBIG, 413 },
		{ EBADMSG, 422 }, { EAGAIN, 503 }, { ENOMEM, 503 }, { ENOSPC, 507 },
		{ EDQUOT, 507 },
	};
	size_t i;

	for (i = 0; i < ARRAY_LEN(statuses); i++) {
		if (statuses[i].code == code)
			return statuses[i].status;
	}
	return 500;
}

static const char *title_of(unsigned status)
{
	static const struct {
		unsigned status;
		const char *title;
	} titles[] = {
		{ 400, "Bad request" },
		{ 401, "Sign in first" },
		{ 403, "Not allowed" },
		{ 404, "Not found" },
		{ 405, "Method not allowed" },
		{ 409, "Conflict" },
		{ 411, "Length required" },
		{ 412, "The epoch is over" },
		{ 413, "Too large" },
		{ 422, "Damaged or contradictory content" },
		{ 429, "Too many attempts" },
		{ 503, "Busy" },
		{ 507, "The server's disk is full" },
	};
	size_t i;

	for (i = 0; i < ARRAY_LEN(titles); i++) {
		if (titles[i].status == status)
			return titles[i].title;
	}
	return "Server failure";
}

char *problem_text(unsigned status, const char *detail, size_t *len)
{
	CLEANUP(json_decref) json_t *document = NULL;
	char *text;

	document = json_pack("{ss ss si ss?}", "type", "about:blank", "title", title_of(status),
			     "status", (int)status, "detail", detail);
	if (!document) /* the detail holds bytes that are no UTF-8 */
		document = json_pack("{ss ss si}", "type", "about:blank", "title", title_of(status),
				     "status", (int)status);
	text = document ? json_text(document) : NULL;
	*len = text ? strlen(text) : 0;
	return text;
}
