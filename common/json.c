#include "common/json.h"

#include <errno.h>
#include <string.h>

#include "common/io.h"

/* jansson quotes a piece of the input in its text, whatever bytes that holds. */
static void replace_controls(char *text)
{
	for (; *text; text++) {
		if ((unsigned char)*text < ' ' || *text == 127)
			*text = '?';
	}
}

int json_parse(json_t **out, const char *text, size_t len, const char *what, struct err *err)
{
	json_error_t why;
	json_t *value = json_loadb(text, len, JSON_REJECT_DUPLICATES, &why);

	if (!value) {
		replace_controls(why.text);
		return err_say(err, EINVAL, "%s, line %d column %d: %s", what,
			       why.line < 1 ? 1 : why.line, why.column, why.text);
	}
	*out = value;
	return 0;
}

int json_parse_file(json_t **out, const char *path, size_t max, struct err *err)
{
	CLEANUP_FREE uint8_t *text = NULL;
	size_t len;
	int r = io_read_file(path, max, &text, &len, err);

	if (r < 0)
		return r;
	return json_parse(out, (const char *)text, len, path, err);
}

static bool take_string(json_t *value, void *into)
{
	if (json_is_string(value))
		*(const char **)into = json_string_value(value);
	return json_is_string(value);
}

static bool take_uint(json_t *value, void *into)
{
	if (!json_is_integer(value) || json_integer_value(value) < 0)
		return false;
	*(uint64_t *)into = (uint64_t)json_integer_value(value);
	return true;
}

static bool take_bool(json_t *value, void *into)
{
	if (json_is_boolean(value))
		*(bool *)into = json_is_true(value);
	return json_is_boolean(value);
}

static bool take_object(json_t *value, void *into)
{
	if (json_is_object(value))
		*(json_t **)into = value;
	return json_is_object(value);
}

static bool take_array(json_t *value, void *into)
{
	if (json_is_array(value))
		*(json_t **)into = value;
	return json_is_array(value);
}

static bool take_any(json_t *value, void *into)
{
	*(json_t **)into = value;
	return true;
}

static const struct {
	bool (*take)(json_t *value, void *into);
	const char *must_be;
} kinds[] = {
	[JSON_KIND_STRING] = { take_string, "a string" },
	[JSON_KIND_UINT] = { take_uint, "a whole number from 0 on" },
	[JSON_KIND_BOOL] = { take_bool, "true or false" },
	[JSON_KIND_OBJECT] = { take_object, "an object" },
	[JSON_KIND_ARRAY] = { take_array, "an array" },
	[JSON_KIND_ANY] = { take_any, "there" },
};

static const struct json_field *find_field(const struct json_field *fields, size_t n,
					   const char *name)
{
	for (size_t i = 0; i < n; i++) {
		if (strcmp(fields[i].name, name) == 0)
			return &fields[i];
	}
	return NULL;
}

int json_fields(const json_t *object, const struct json_field *fields, size_t n, const char *what,
		struct err *err)
{
	const char *name;
	json_t *value;

	if (!json_is_object(object))
		return err_say(err, EINVAL, "%s: must be an object", what);

	/* jansson's iteration does not change the object, its signature only says so. */
	json_object_foreach ((json_t *)object, name, value) {
		if (!find_field(fields, n, name))
			return err_say(err, EINVAL, "%s: unknown key '%.64s'", what, name);
	}
	for (size_t i = 0; i < n; i++) {
		const struct json_field *f = &fields[i];

		value = json_object_get(object, f->name);
		if (f->optional && (!value || json_is_null(value)))
			continue;
		if (!value)
			return err_say(err, EINVAL, "%s: '%s' is missing", what, f->name);
		if (!kinds[f->kind].take(value, f->into))
			return err_say(err, EINVAL, "%s: '%s' must be %s", what, f->name,
				       kinds[f->kind].must_be);
	}
	return 0;
}

char *json_text(const json_t *value)
{
	return json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
}
