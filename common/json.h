/* json.h - JSON as Godwit reads it: strict. A thin rule book over jansson.
 *
 * Duplicate keys, trailing bytes, NUL characters, unknown keys and wrong types are errors that name the document and
 * the place. Values are jansson's json_t (json_object_get … are used directly); names here never clash with jansson's.
 * Source: RFC 8259, jansson 2.14 manual.
 */
#ifndef GODWIT_COMMON_JSON_H
#define GODWIT_COMMON_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/base.h"
#include "common/err.h"

DEFINE_CLEANUP(json_t *, json_decref);

/**
 * json_parse(out, text, len, what, err):
 * what  names the document in error texts: "the request body", a path …
 * out   a new reference, the caller's
 *
 * Return 0 or -EINVAL ("WHAT, line 3 column 7: …").
 */
int json_parse(json_t **out, const char *text, size_t len, const char *what, struct err *err);

/* Read and parse a file of at most @max bytes. Return 0, -errno of reading, or -EINVAL. */
int json_parse_file(json_t **out, const char *path, size_t max, struct err *err);

enum json_kind {
	JSON_KIND_STRING, /* const char **: borrowed from the object */
	JSON_KIND_UINT,   /* uint64_t *; a number that is negative or no integer is an error */
	JSON_KIND_BOOL,   /* bool * */
	JSON_KIND_OBJECT, /* json_t **: borrowed */
	JSON_KIND_ARRAY,  /* json_t **: borrowed */
	JSON_KIND_ANY,    /* json_t **: borrowed */
};

struct json_field {
	const char *name;
	enum json_kind kind;
	bool optional; /* absent or null: *into keeps its value */
	void *into;
};

/**
 * json_fields(object, fields, n, what, err):
 * Take an object apart. Every field that is not optional must be there; a key that no field names is an error.
 *
 * Return 0 or -EINVAL ("WHAT: 'size' must be a number from 0 on").
 */
int json_fields(const json_t *object, const struct json_field *fields, size_t n, const char *what,
		struct err *err);

/* The compact text of @value, to be freed; NULL: out of memory. */
char *json_text(const json_t *value);

#endif
