/* route.h - route tables: which handler answers "POST /api/v1/desktops/anna/start", and who may ask. Pure text work. */
#ifndef GODWIT_MGMT_SERVER_ROUTE_H
#define GODWIT_MGMT_SERVER_ROUTE_H

#include <stdbool.h>
#include <stddef.h>

struct http_request;

enum route_role { /* each includes the ones before it, ROUTE_ENDPOINT excepted */
		  ROUTE_PUBLIC,
		  ROUTE_SIGNED_IN,
		  ROUTE_AUDITOR,
		  ROUTE_OPERATOR,
		  ROUTE_ADMIN,
		  ROUTE_ENDPOINT, /* a client certificate */
};

enum route_flags {
	ROUTE_BULK = 1,   /* may block long: its own worker threads */
	ROUTE_SECRET = 2, /* answers with a secret: no copy of an answer is kept (api_edit.h) */
};

struct http_route {
	const char *method;  /* GET serves HEAD too */
	const char *pattern; /* "/api/v1/desktops/{name}"; a last "{rest...}" takes everything */
	enum route_role role;
	void (*handler)(struct http_request *request);
	size_t body_max; /* bytes; 0: no body is allowed */
	unsigned flags;
};

enum { ROUTE_PARAMS_MAX = 3, ROUTE_PARAM_LEN = 256 };

struct route_match {
	const struct http_route *route;
	char params[ROUTE_PARAMS_MAX][ROUTE_PARAM_LEN]; /* in the pattern's order */
};

enum { ROUTE_NONE = 1, ROUTE_METHOD };

/**
 * route_find(routes, n, method, path, match):
 * Parameters are one to 255 characters without a slash; ({rest...} may hold slashes and be empty).
 *
 * Return 0, ROUTE_NONE (no such path), ROUTE_METHOD (the path is there, with other methods).
 */
int route_find(const struct http_route *routes, size_t n, const char *method, const char *path,
	       struct route_match *match);

/* The value of {name}; NULL: the pattern has no such name. */
const char *route_param(const struct route_match *match, const char *name);

/* "admin", "operator", "auditor", "user" → what they may; ROUTE_PUBLIC for any other word. */
enum route_role route_role_of(const char *name);

/* Undo %XX in place. Return 0, or -EINVAL for a broken escape and for bytes below 0x20, 0x7f and NUL. */
int route_unescape(char *text);

#endif
