#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>

#include "client-agent/orphan.h"

static void test_orphan_extents(void **state)
{
	static const struct {
		const char *name, *map;
		int want;
		size_t count;
		uint64_t first_offset, first_length;
	} cases[] = {
		{ "nothing written", "[{\"start\":0,\"length\":1048576,\"present\":false}]", 0, 0,
		  0, 0 },
		{ "data and zeros of the overlay count, holes do not",
		  "[{\"start\":0,\"length\":65536,\"present\":false},"
		  "{\"start\":65536,\"length\":131072,\"present\":true,\"zero\":false,\"data\":"
		  "true},"
		  "{\"start\":196608,\"length\":65536,\"present\":true,\"zero\":true,\"data\":"
		  "false},"
		  "{\"start\":262144,\"length\":786432,\"present\":false}]",
		  0, 2, 65536, 131072 },
		{ "empty", "[]", 0, 0, 0, 0 },
		{ "no array", "{}", -EBADMSG, 0, 0, 0 },
		{ "beyond the disk", "[{\"start\":1048575,\"length\":2,\"present\":true}]",
		  -EBADMSG, 0, 0, 0 },
		{ "starts beyond", "[{\"start\":2097152,\"length\":1,\"present\":true}]", -EBADMSG,
		  0, 0, 0 },
		{ "no length", "[{\"start\":0,\"present\":true}]", -EBADMSG, 0, 0, 0 },
		{ "negative", "[{\"start\":-1,\"length\":5,\"present\":true}]", -EBADMSG, 0, 0, 0 },
		{ "an older qemu-img", "[{\"start\":0,\"length\":5,\"data\":true}]", -EBADMSG, 0, 0,
		  0 },
	};
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_LEN(cases); i++) {
		CLEANUP(json_decref) json_t *map = json_loads(cases[i].map, 0, NULL);
		struct volume_extent *list = NULL;
		struct err err = { 0 };
		size_t count = 0;
		int r = orphan_extents(map, 1 << 20, &list, &count, &err);

		if (r != cases[i].want || count != cases[i].count)
			fail_msg("%s: %d, %zu extents", cases[i].name, r, count);
		if (count > 0) {
			assert_int_equal(list[0].offset, cases[i].first_offset);
			assert_int_equal(list[0].length, cases[i].first_length);
		}
		free(list);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_orphan_extents) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
