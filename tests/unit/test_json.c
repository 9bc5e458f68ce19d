#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/io.h"
#include "common/json.h"

static json_t *parse(const char *text)
{
	json_t *value = NULL;
	struct err err = { 0 };

	if (json_parse(&value, text, strlen(text), "the test", &err) < 0)
		fail_msg("%s", err_text(&err));
	return value;
}

static const struct {
	const char *text;
	size_t len; /* 0: strlen */
	const char *says;
} bad[] = {
	{ "", 0, "the test, line 1" },
	{ "   ", 0, "line 1" },
	{ "{\"a\":1,\"a\":2}", 0, "duplicate" },
	{ "{\"a\":{\"b\":1,\"b\":1}}", 0, "duplicate" },
	{ "{\"a\":1,\"\\u0061\":2}", 0, "duplicate" },
	{ "{}x", 0, "line 1 column 3" },
	{ "{}{}", 0, "end of file expected" },
	{ "{} // no", 0, "end of file expected" },
	{ "{\"a\":\n 1,\n }", 0, "line 3" },
	{ "{\"a\":1,}", 0, "line 1" },
	{ "[1,]", 0, "line 1" },
	{ "[1 2]", 0, "line 1" },
	{ "{'a':1}", 0, "line 1" },
	{ "{a:1}", 0, "line 1" },
	{ "{\"a\":01}", 0, "line 1" },
	{ "{\"a\":+1}", 0, "line 1" },
	{ "{\"a\":NaN}", 0, "line 1" },
	{ "{\"a\":1e999}", 0, "overflow" },
	{ "{\"a\":9223372036854775808}", 0, "too big" },
	{ "{\"a\":\"\\u0000\"}", 0, "\\u0000" },
	{ "{\"\\u0000\":1}", 0, "\\u0000" },
	{ "{\"a\":1}\0", 8, "end of file expected" },
	{ "{\"a\0\":1}", 8, "line 1" },
	{ "{\"a\":\"\xff\"}", 0, "line 1" },
	{ "{\"a\":\"\xed\xa0\x80\"}", 0, "line 1" }, /* half a surrogate pair */
	{ "{\"a\":\"\\ud800\"}", 0, "line 1" },
	{ "{\"a\":\"line\nbreak\"}", 0, "line 1" },
	{ "\xef\xbb\xbf{}", 0, "line 1" },
	{ "{\"a\":1", 0, "line 1" },
	{ "{\"a\":tru", 0, "line 1" },
	{ "\"text\"", 0, "line 1" },
	{ "17", 0, "line 1" },
	{ "null", 0, "line 1" },
};

static void test_json_refuses_what_is_not_strict(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		size_t len = bad[i].len ? bad[i].len : strlen(bad[i].text);
		struct err err = { 0 };
		json_t *value = NULL;

		if (json_parse(&value, bad[i].text, len, "the test", &err) != -EINVAL)
			fail_msg("case %zu: %s was taken", i, bad[i].text);
		assert_null(value);
		if (strncmp(err_text(&err), "the test, line ", 15) != 0 ||
		    !strstr(err_text(&err), bad[i].says))
			fail_msg("case %zu: %s", i, err_text(&err));
		for (const char *p = err_text(&err); *p; p++)
			assert_true((unsigned char)*p >= ' ');
	}
}

static void test_json_ends_where_the_length_says(void **state)
{
	json_t *value = NULL;

	(void)state;
	assert_int_equal(json_parse(&value, "{\"a\":1}trailing", 7, "x", NULL), 0);
	json_decref(value);
}

static void test_json_depth_is_bounded(void **state)
{
	enum { DEPTH = 1 << 20 };
	CLEANUP_FREE char *text = malloc(DEPTH);
	struct err err = { 0 };
	json_t *value = NULL;

	(void)state;
	memset(text, '[', DEPTH);
	assert_int_equal(json_parse(&value, text, DEPTH, "deep", &err), -EINVAL);
	assert_non_null(strstr(err_text(&err), "depth"));
	/* … and what it allows can be freed. */
	memset(text, '[', 2000);
	memset(text + 2000, ']', 2000);
	assert_int_equal(json_parse(&value, text, 4000, "deep", &err), 0);
	json_decref(value);
}

/* ---- Fields ------------------------------------------------------------------------------------ */

struct taken {
	const char *name;
	uint64_t size;
	bool live;
	json_t *object, *array, *any;
};

static int take(const char *text, struct taken *t, json_t **owner, struct err *err)
{
	const struct json_field fields[] = {
		{ "name", JSON_KIND_STRING, false, &t->name },
		{ "size", JSON_KIND_UINT, false, &t->size },
		{ "live", JSON_KIND_BOOL, true, &t->live },
		{ "object", JSON_KIND_OBJECT, true, &t->object },
		{ "array", JSON_KIND_ARRAY, true, &t->array },
		{ "any", JSON_KIND_ANY, true, &t->any },
	};

	*owner = parse(text);
	return json_fields(*owner, fields, ARRAY_LEN(fields), "the request body", err);
}

static void test_json_fields_takes_an_object_apart(void **state)
{
	CLEANUP(json_decref) json_t *owner = NULL;
	struct taken t = { .live = true };

	(void)state;
	assert_int_equal(take("{\"array\":[1],\"name\":\"d1\",\"size\":9223372036854775807,"
			      "\"object\":{},\"any\":-1.5,\"live\":false}",
			      &t, &owner, NULL),
			 0);
	assert_string_equal(t.name, "d1");
	assert_int_equal(t.size, INT64_MAX);
	assert_false(t.live);
	assert_int_equal(json_object_size(t.object), 0);
	assert_int_equal(json_array_size(t.array), 1);
	assert_true(json_real_value(t.any) == -1.5);
}

static void test_json_fields_leaves_what_is_absent(void **state)
{
	CLEANUP(json_decref) json_t *owner = NULL;
	struct taken t = { .live = true };

	(void)state;
	assert_int_equal(
		take("{\"name\":\"\",\"size\":0,\"live\":null,\"any\":null}", &t, &owner, NULL), 0);
	assert_string_equal(t.name, "");
	assert_true(t.live);
	assert_null(t.any);
}

static const struct {
	const char *text, *says;
} field_cases[] = {
	{ "[]", "the request body: must be an object" },
	{ "{}", "'name' is missing" },
	{ "{\"name\":\"a\"}", "'size' is missing" },
	{ "{\"name\":null,\"size\":1}", "'name' must be a string" },
	{ "{\"name\":1,\"size\":1}", "'name' must be a string" },
	{ "{\"name\":\"a\",\"size\":-1}", "'size' must be a whole number from 0 on" },
	{ "{\"name\":\"a\",\"size\":1.0}", "'size' must be a whole number from 0 on" },
	{ "{\"name\":\"a\",\"size\":\"1\"}", "'size' must be a whole number from 0 on" },
	{ "{\"name\":\"a\",\"size\":1,\"live\":0}", "'live' must be true or false" },
	{ "{\"name\":\"a\",\"size\":1,\"live\":\"yes\"}", "'live' must be true or false" },
	{ "{\"name\":\"a\",\"size\":1,\"object\":[]}", "'object' must be an object" },
	{ "{\"name\":\"a\",\"size\":1,\"array\":{}}", "'array' must be an array" },
	{ "{\"name\":\"a\",\"size\":1,\"nmae\":\"b\"}", "unknown key 'nmae'" },
	{ "{\"name\":\"a\",\"size\":1,\"\":1}", "unknown key ''" },
};

static void test_json_fields_says_what_is_wrong(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(field_cases); i++) {
		CLEANUP(json_decref) json_t *owner = NULL;
		struct taken t = { 0 };
		struct err err = { 0 };

		assert_int_equal(take(field_cases[i].text, &t, &owner, &err), -EINVAL);
		if (strncmp(err_text(&err), "the request body: ", 18) != 0 ||
		    !strstr(err_text(&err), field_cases[i].says))
			fail_msg("case %zu: %s", i, err_text(&err));
	}
	assert_int_equal(json_fields(NULL, NULL, 0, "nothing", NULL), -EINVAL);
}

/* ---- Text and files ---------------------------------------------------------------------------- */

static void test_json_text_is_compact_and_reads_back(void **state)
{
	static const char text[] = "{\"b\":[1,2.5,\"d\xc3\xa4\\n\\\"\"],\"a\":{\"c\":null}}";
	CLEANUP(json_decref) json_t *value = parse(text);
	CLEANUP(json_decref) json_t *scalar = json_string("x");
	CLEANUP_FREE char *out = json_text(value), *one = json_text(scalar);

	(void)state;
	assert_string_equal(out, text);
	assert_string_equal(one, "\"x\"");
}

static void test_json_parse_file_names_the_file(void **state)
{
	char path[] = "/tmp/godwit-test-json.XXXXXX";
	CLEANUP_FD int fd = mkstemp(path);
	CLEANUP(json_decref) json_t *value = NULL;
	struct err err = { 0 };

	(void)state;
	assert_int_equal(io_write_full(fd, "{\"a\":\n1}", 8), 0);
	assert_int_equal(json_parse_file(&value, path, 8, &err), 0);
	assert_int_equal(json_integer_value(json_object_get(value, "a")), 1);
	json_decref(value);
	value = NULL;
	assert_int_equal(json_parse_file(&value, path, 7, &err), -EFBIG);
	assert_int_equal(io_write_full(fd, "}", 1), 0);
	assert_int_equal(json_parse_file(&value, path, 100, &err), -EINVAL);
	assert_non_null(strstr(err_text(&err), path));
	assert_non_null(strstr(err_text(&err), "line 2"));
	unlink(path);
	assert_int_equal(json_parse_file(&value, path, 100, &err), -ENOENT);
	assert_null(value);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_json_refuses_what_is_not_strict),
		cmocka_unit_test(test_json_ends_where_the_length_says),
		cmocka_unit_test(test_json_depth_is_bounded),
		cmocka_unit_test(test_json_fields_takes_an_object_apart),
		cmocka_unit_test(test_json_fields_leaves_what_is_absent),
		cmocka_unit_test(test_json_fields_says_what_is_wrong),
		cmocka_unit_test(test_json_text_is_compact_and_reads_back),
		cmocka_unit_test(test_json_parse_file_names_the_file),
	};

	return cmocka_run_group_tests_name("json", tests, NULL, NULL);
}
