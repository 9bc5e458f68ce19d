/* api.c - see api.h. */
#include "mgmt-server/api/api.h"

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

void api_reply_object(struct http_request *request, const char *what,
		      json_t *(*get)(struct db_conn *c, const char *id))
{
	struct server *s = http_request_app(request);
	struct db_conn *c = db_read(s->db);
	json_t *object = get(c, http_param(request, "id"));

	db_read_end(c);
	if (object)
		http_reply_json(request, 200, object);
	else
		http_fail(request, 404, "there is no %s %.40s", what, http_param(request, "id"));
}
