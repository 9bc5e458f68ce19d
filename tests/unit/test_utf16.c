/* UTF-16 becomes UTF-8, and half a surrogate pair its own three bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "common/base.h"
#include "mgmt-server/scan/utf16.h"

static const struct {
	const char *what;
	uint16_t units[4];
	size_t count;
	const char *bytes;
} cases[] = {
	{ "nothing", { 0 }, 0, "" },
	{ "the last of one byte, the first of two", { 0x7f, 0x80 }, 2, "\x7f\xc2\x80" },
	{ "the last of two bytes, the first of three",
	  { 0x7ff, 0x800 },
	  2,
	  "\xdf\xbf\xe0\xa0\x80" },
	{ "around the surrogates",
	  { 0xd7ff, 0xe000, 0xffff },
	  3,
	  "\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf" },
	{ "the first pair", { 0xd800, 0xdc00 }, 2, "\xf0\x90\x80\x80" },
	{ "the last pair, and a letter",
	  { 0xdbff, 0xdfff, 'a' },
	  3,
	  "\xf4\x8f\xbf\xbf"
	  "a" },
	{ "a high half at the end", { 'a', 0xd83d }, 2, "a\xed\xa0\xbd" },
	{ "a high half before a letter",
	  { 0xd83d, 'a' },
	  2,
	  "\xed\xa0\xbd"
	  "a" },
	{ "a low half first", { 0xde00, 0xd83d }, 2, "\xed\xb8\x80\xed\xa0\xbd" },
	{ "a high half before a pair",
	  { 0xd83d, 0xd83d, 0xde00 },
	  3,
	  "\xed\xa0\xbd\xf0\x9f\x98\x80" },
};

static void test_utf16_to_bytes(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char out[UTF16_BYTES_MAX * ARRAY_LEN(cases[0].units)];
		size_t len = utf16_to_bytes(cases[i].units, cases[i].count, out);

		if (len != strlen(cases[i].bytes) || memcmp(out, cases[i].bytes, len) != 0)
			fail_msg("%s: %zu bytes: %.*s", cases[i].what, len, (int)len, out);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_utf16_to_bytes) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
