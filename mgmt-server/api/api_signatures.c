/* api_signatures.c - the virus signatures: how old they are, fetching and uploading new ones. */
#include <errno.h>
#include <string.h>

#include "mgmt-server/api/api.h"
#include "mgmt-server/core/change.h"
#include "mgmt-server/core/signatures.h"

void api_signatures(struct http_request *request)
{
	http_reply_json(request, 200, signatures_object(http_request_app(request)));
}

/* Write down who did it, then answer with how it goes. */
static void finish(struct http_request *request, int r, const char *action, const char *object,
		   struct err *err)
{
	CLEANUP_CHANGE struct change change = { .held = false };
	struct server *s = http_request_app(request);

	if (r == 0)
		r = change_begin(&change, s, err);
	if (r == 0)
		r = change_audit(&change, http_caller(request)->name, http_address(request), action,
				 object, "", err);
	if (r == 0)
		r = change_commit(&change, err);
	if (r < 0)
		http_fail_err(request, r, err);
	else
		http_reply_json(request, 202, signatures_object(s));
}

void api_signatures_update(struct http_request *request)
{
	CLEANUP(json_decref) json_t *body = NULL;
	struct err err = { 0 };
	int r = api_body(request, NULL, 0, &body, &err);

	if (r == 0)
		r = signatures_update(http_request_app(request), &err);
	finish(request, r, "signatures-update", "", &err);
}

void api_signatures_upload(struct http_request *request)
{
	CLEANUP(json_decref) json_t *body = NULL;
	struct signatures_upload upload = { .modified_s = 0 };
	const struct json_field fields[] = {
		{ "name", JSON_KIND_STRING, false, &upload.name },
		{ "size", JSON_KIND_UINT, false, &upload.size },
		{ "modified_s", JSON_KIND_UINT, true, &upload.modified_s },
	};
	char id[SIGNATURES_ID_LEN] = "";
	struct err err = { 0 };
	int r = api_body(request, fields, ARRAY_LEN(fields), &body, &err);

	if (r == 0)
		r = signatures_upload_open(http_request_app(request), &upload, id, &err);
	if (r < 0)
		http_fail_err(request, r, &err);
	else
		http_reply_json(request, 201,
				json_pack("{ss sI}", "upload", id, "part_max",
					  (json_int_t)SIGNATURES_PART_MAX));
}

void api_signatures_data(struct http_request *request)
{
	uint64_t offset = 0;
	struct json_field fields[] = { { "offset", JSON_KIND_UINT, false, &offset } };
	struct err err = { 0 };
	size_t len;
	const uint8_t *data = http_body(request, &len);
	int r = http_query(request, fields, ARRAY_LEN(fields), &err);

	if (r == 0)
		r = signatures_upload_data(http_request_app(request), http_param(request, "id"),
					   offset, data, len, &err);
	if (r < 0)
		http_fail_err(request, r, &err);
	else
		http_reply_empty(request, 204);
}

void api_signatures_end(struct http_request *request)
{
	CLEANUP(json_decref) json_t *body = NULL;
	const char *id = http_param(request, "id");
	struct err err = { 0 };
	int r = api_body(request, NULL, 0, &body, &err);

	if (r == 0)
		r = signatures_upload_end(http_request_app(request), id, &err);
	finish(request, r, "signatures-upload", id, &err);
}
