/* json_parse on any bytes: what it accepts is the same value after a round trip, what it refuses is said on one line. */
#include <stdlib.h>
#include <string.h>

#include "common/json.h"

static void check_text(const struct err *err)
{
	for (const char *p = err_text(err); *p; p++) {
		if ((unsigned char)*p < ' ')
			abort();
	}
}

static void take_apart(const json_t *value)
{
	const char *name = NULL;
	uint64_t size = 0;
	bool live = false;
	json_t *list = NULL;
	const struct json_field fields[] = {
		{ "name", JSON_KIND_STRING, false, &name },
		{ "size", JSON_KIND_UINT, true, &size },
		{ "live", JSON_KIND_BOOL, true, &live },
		{ "list", JSON_KIND_ARRAY, true, &list },
	};
	struct err err = { 0 };

	if (json_fields(value, fields, ARRAY_LEN(fields), "input", &err) == 0) {
		if (!name || size > INT64_MAX || (list && !json_is_array(list)))
			abort();
	} else {
		err_text(&err);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP(json_decref) json_t *value = NULL, *again = NULL;
	CLEANUP_FREE char *text = NULL;
	struct err err = { 0 };

	if (json_parse(&value, (const char *)data, size, "input", &err) < 0) {
		check_text(&err);
		return 0;
	}
	text = json_text(value);
	if (!text || json_parse(&again, text, strlen(text), "again", &err) < 0 ||
	    !json_equal(value, again))
		abort();
	take_apart(value);
	return 0;
}
