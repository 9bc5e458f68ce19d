/* query.c - what a handler asks of its request that needs no libmicrohttpd; part of http.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mgmt-server/http/request.h"

const char *http_method(const struct http_request *request)
{
	return request->method;
}

const char *http_path(const struct http_request *request)
{
	return request->path;
}

unsigned http_route_flags(const struct http_request *request)
{
	return request->match.route->flags;
}

const char *http_param(const struct http_request *request, const char *name)
{
	return route_param(&request->match, name);
}

const uint8_t *http_body(const struct http_request *request, size_t *len)
{
	*len = request->body_len;
	return request->body;
}

struct http_caller *http_caller(struct http_request *request)
{
	return &request->caller;
}

/* ---- The query string ---- */

static int query_value(const struct json_field *field, const char *value, struct err *err)
{
	char *end;

	switch (field->kind) {
	case JSON_KIND_STRING:
		*(const char **)field->into = value;
		return 0;
	case JSON_KIND_BOOL:
		*(bool *)field->into = strcmp(value, "true") == 0;
		if (strcmp(value, "true") != 0 && strcmp(value, "false") != 0)
			return err_say(err, EINVAL, "query: '%s' must be true or false",
				       field->name);
		return 0;
	default:
		errno = 0;
		*(uint64_t *)field->into = strtoull(value, &end, 10);
		if (errno || *end || value[0] < '0' || value[0] > '9')
			return err_say(err, EINVAL, "query: '%s' must be a number from 0 on",
				       field->name);
		return 0;
	}
}

static int query_one(struct http_request *request, size_t i, const struct json_field *fields,
		     size_t n, struct err *err)
{
	const char *name = request->query[i].name, *value = request->query[i].value;
	size_t f, other;

	for (other = 0; other < i; other++) {
		if (strcmp(request->query[other].name, name) == 0)
			return err_say(err, EINVAL, "query: '%.64s' is there twice", name);
	}
	for (f = 0; f < n; f++) {
		if (strcmp(fields[f].name, name) == 0)
			return query_value(&fields[f], value, err);
	}
	return err_say(err, EINVAL, "query: unknown key '%.64s'", name);
}

int http_query(struct http_request *request, const struct json_field *fields, size_t n,
	       struct err *err)
{
	size_t i;
	int r;

	for (i = 0; i < request->query_count; i++) {
		r = query_one(request, i, fields, n, err);
		if (r < 0)
			return r;
	}
	return 0;
}
