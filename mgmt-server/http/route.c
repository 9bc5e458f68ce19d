/* route.c - see route.h. */
#include "mgmt-server/http/route.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "common/base.h"
#include "common/hex.h"

/* One {name} of the pattern against the path; return how many path bytes it takes, -1: no match. */
static long take_param(const char *name, size_t name_len, const char *path, char *into)
{
	bool rest = name_len > 3 && memcmp(name + name_len - 3, "...", 3) == 0;
	size_t len = rest ? strlen(path) : strcspn(path, "/");

	if (len >= ROUTE_PARAM_LEN || (len == 0 && !rest))
		return -1;
	memcpy(into, path, len);
	into[len] = '\0';
	return (long)len;
}

static bool matches(const char *pattern, const char *path, struct route_match *match)
{
	size_t params = 0, name_len;
	long len;

	while (*pattern) {
		if (*pattern != '{') {
			if (*pattern++ != *path++)
				return false;
			continue;
		}
		name_len = strcspn(pattern, "}");
		if (params == ROUTE_PARAMS_MAX)
			return false;
		len = take_param(pattern + 1, name_len - 1, path, match->params[params++]);
		if (len < 0)
			return false;
		path += len;
		pattern += name_len + 1;
	}
	return *path == '\0';
}

int route_find(const struct http_route *routes, size_t n, const char *method, const char *path,
	       struct route_match *match)
{
	bool path_seen = false;
	size_t i;

	if (strcmp(method, "HEAD") == 0)
		method = "GET";
	for (i = 0; i < n; i++) {
		if (!matches(routes[i].pattern, path, match))
			continue;
		if (strcmp(routes[i].method, method) == 0) {
			match->route = &routes[i];
			return 0;
		}
		/* What serves files is no sign that the API has this path with another method. */
		if (!strstr(routes[i].pattern, "...}"))
			path_seen = true;
	}
	return path_seen ? ROUTE_METHOD : ROUTE_NONE;
}

const char *route_param(const struct route_match *match, const char *name)
{
	const char *at = match->route->pattern;
	size_t i = 0, len = strlen(name);

	while ((at = strchr(at, '{'))) {
		at++;
		if (strncmp(at, name, len) == 0 && (at[len] == '}' || at[len] == '.'))
			return match->params[i];
		i++;
	}
	return NULL;
}

enum route_role route_role_of(const char *name)
{
	static const struct {
		const char *name;
		enum route_role role;
	} roles[] = {
		{ "admin", ROUTE_ADMIN },
		{ "operator", ROUTE_OPERATOR },
		{ "auditor", ROUTE_AUDITOR },
		{ "user", ROUTE_SIGNED_IN },
	};
	size_t i;

	for (i = 0; i < ARRAY_LEN(roles); i++) {
		if (strcmp(name, roles[i].name) == 0)
			return roles[i].role;
	}
	return ROUTE_PUBLIC;
}

int route_unescape(char *text)
{
	char *from, *to = text;
	char pair[3] = "";
	uint8_t byte;

	for (from = text; *from; from++) {
		byte = (uint8_t)*from;
		if (byte == '%') {
			if (!from[1] || !from[2])
				return -EINVAL;
			memcpy(pair, from + 1, 2);
			if (hex_decode(pair, &byte, 1) < 0)
				return -EINVAL;
			from += 2;
		}
		if (byte < 0x20 || byte == 0x7f)
			return -EINVAL;
		*to++ = (char)byte;
	}
	*to = '\0';
	return 0;
}
