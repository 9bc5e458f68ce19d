#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "snapshot/manifest.h"

static void test_manifest_survives_json(void **state)
{
	struct manifest m, back;
	struct err err = { 0 };
	json_t *value;
	char *text;

	(void)state;
	manifest_init(&m);
	manifest_new_id(UINT64_C(1795366000000), m.id);
	assert_true(manifest_id_valid(m.id));
	strcpy(m.desktop, "alice-1");
	strcpy(m.parent, "20261122-164512-3f9a1c2e");
	m.created_wall_ms = UINT64_C(1795366000123);
	m.kind = MANIFEST_LIVE;
	m.epoch = 7;
	m.branch = true;
	m.machine = json_pack("{si}", "memory", 512);
	m.volume_count = 1;
	m.volumes[0] = (struct volume){ "ram/pc.ram", VOLUME_RAM, 123456, 16384, { { 1, 2, 3 } } };
	value = manifest_to_json(&m);
	assert_non_null(value);
	text = json_text(value);
	assert_int_equal(manifest_parse(&back, text, strlen(text), &err), 0);
	assert_string_equal(back.id, m.id);
	assert_string_equal(back.parent, m.parent);
	assert_string_equal(back.domain, "default");
	assert_int_equal(back.kind, MANIFEST_LIVE);
	assert_int_equal(back.epoch, 7);
	assert_true(back.branch);
	assert_int_equal(back.created_wall_ms, m.created_wall_ms);
	assert_memory_equal(&back.volumes[0], &m.volumes[0], sizeof(m.volumes[0]));
	assert_true(json_equal(back.machine, m.machine));
	assert_non_null(manifest_volume(&back, "ram/pc.ram"));
	assert_null(manifest_volume(&back, "ram"));
	manifest_deinit(&back);
	manifest_deinit(&m);
	json_decref(value);
	base_free(text);
}

#define ROOT "0101010101010101010101010101010101010101010101010101010101010101"
#define VOLUME(members)                                                                            \
	"{\"name\":\"disk0\",\"kind\":\"disk\",\"size\":5,\"grid\":65536,\"root\":\"" ROOT         \
	"\"" members "}"
#define MANIFEST(members, volumes)                                                                 \
	"{\"version\":1,\"desktop\":\"d\",\"created\":\"2026-11-22T16:45:12Z\",\"kind\":"          \
	"\"cold\"" members ",\"volumes\":[" volumes "]}"

static const struct {
	const char *text, *names; /* names: what the error must say; NULL: it is good */
} parse_cases[] = {
	{ MANIFEST("", VOLUME("")), NULL },
	{ MANIFEST("", ""), NULL },
	{ MANIFEST("", VOLUME("") "," VOLUME("")), "two volumes" },
	{ MANIFEST("", VOLUME(",\"x\":1")), "x" },
	{ MANIFEST(",\"snapshot\":\"abc\"", ""), "id" },
	{ MANIFEST(",\"parent\":\"20261122-164512-3f9a1c2E\"", ""), "parent" },
	{ MANIFEST(",\"epoch\":-1", ""), "epoch" },
	{ MANIFEST(",\"domain\":\"A\"", ""), "domain" },
	{ MANIFEST(",\"secret\":1", ""), "secret" },
	{ "{\"version\":2,\"desktop\":\"d\",\"created\":\"2026-11-22T16:45:12Z\",\"kind\":\"cold\","
	  "\"volumes\":[]}",
	  "version" },
	{ "{\"version\":1,\"desktop\":\"../"
	  "x\",\"created\":\"2026-11-22T16:45:12Z\",\"kind\":\"cold\",\"volumes\":[]}",
	  "desktop" },
	{ "{\"version\":1,\"desktop\":\"d\",\"created\":\"yesterday\",\"kind\":\"cold\","
	  "\"volumes\":[]}",
	  "created" },
	{ "{\"version\":1,\"desktop\":\"d\",\"created\":\"2026-11-22T16:45:12Z\",\"kind\":\"warm\","
	  "\"volumes\":[]}",
	  "kind" },
	{ MANIFEST("", "{\"name\":\"../"
		       "etc\",\"kind\":\"disk\",\"size\":5,\"grid\":65536,\"root\":\"" ROOT "\"}"),
	  "name" },
	{ MANIFEST("",
		   "{\"name\":\"d\",\"kind\":\"disk\",\"size\":5,\"grid\":65537,\"root\":\"" ROOT
		   "\"}"),
	  "grid" },
	{ MANIFEST("", "{\"name\":\"d\",\"kind\":\"disk\",\"size\":5,\"grid\":0,\"root\":\"" ROOT
		       "\"}"),
	  "grid" },
	{ MANIFEST("", "{\"name\":\"d\",\"kind\":\"disk\",\"size\":9223372036854775807,\"grid\":"
		       "4096,\"root\":\"" ROOT "\"}"),
	  "size" },
	{ MANIFEST("",
		   "{\"name\":\"d\",\"kind\":\"disk\",\"size\":5,\"grid\":4096,\"root\":\"01\"}"),
	  "root" },
	{ "[]", "manifest" },
	{ "{", "manifest" },
	{ "", "manifest" },
};

static void test_manifest_parse_is_strict(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(parse_cases); i++) {
		struct manifest m;
		struct err err = { 0 };
		int r = manifest_parse(&m, parse_cases[i].text, strlen(parse_cases[i].text), &err);

		manifest_deinit(&m);
		if (r != (parse_cases[i].names ? -EINVAL : 0))
			fail_msg("case %zu: %d %s", i, r, err_text(&err));
		if (parse_cases[i].names && !strstr(err_text(&err), parse_cases[i].names))
			fail_msg("case %zu: '%s' does not name %s", i, err_text(&err),
				 parse_cases[i].names);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_manifest_survives_json),
		cmocka_unit_test(test_manifest_parse_is_strict),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
