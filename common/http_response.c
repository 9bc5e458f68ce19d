#include "common/http_response.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/io.h"
#include "common/json.h"

static const struct {
	long status;
	int code;
} codes[] = {
	{ 400, EINVAL }, { 401, EACCES }, { 403, EACCES }, { 404, ENOENT },
	{ 409, EEXIST }, { 412, ESTALE }, { 413, EFBIG },  { 507, ENOSPC },
};

void http_response_deinit(struct http_response *response)
{
	free(response->body);
	*response = (struct http_response){ 0 };
}

static int code_of(long status)
{
	for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
		if (codes[i].status == status)
			return codes[i].code;
	}
	return EIO;
}

/* "TITLE: DETAIL", whatever of it is there. NULL: the body is no problem document. */
static char *problem_text(const struct http_response *response)
{
	CLEANUP(json_decref) json_t *problem = NULL;
	const char *title, *detail;
	char *text;

	if (json_parse(&problem, (const char *)response->body, response->body_len, "", NULL) < 0)
		return NULL;
	title = json_string_value(json_object_get(problem, "title"));
	detail = json_string_value(json_object_get(problem, "detail"));
	if (!title && !detail)
		return NULL;
	text = io_printf("%s%s%s", title ? title : "", title && detail ? ": " : "",
			 detail ? detail : "");
	/* The server's words may end on a terminal. */
	for (char *p = text; p && *p; p++) {
		if ((unsigned char)*p < ' ' || *p == 127)
			*p = '?';
	}
	return text;
}

int http_response_check(const struct http_response *response, const char *what, struct err *err)
{
	CLEANUP_FREE char *problem = NULL;
	int code;

	if (response->status >= 200 && response->status <= 299)
		return 0;
	code = code_of(response->status);
	problem = problem_text(response);
	if (!problem)
		return err_say(err, code, "%s: the server answered with HTTP status %ld", what,
			       response->status);
	return err_say(err, code, "%s: %s (HTTP status %ld)", what, problem, response->status);
}
