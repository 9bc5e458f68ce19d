/* What FAT's files are called: as Linux shows them (system/scan_kernel.sh asks it), and never with a slash. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "common/base.h"
#include "mgmt-server/scan/fat_names.h"

static const struct {
	const char *raw; /* eleven bytes */
	uint8_t case_bits;
	const char *shown;
} short_names[] = {
	{ "README  TXT", 0, "README.TXT" },
	{ "README  TXT", FAT_NAMES_LOWER_BASE, "readme.TXT" },
	{ "README  TXT", FAT_NAMES_LOWER_EXTENSION, "README.txt" },
	{ "README  TXT", 0xff, "readme.txt" },
	{ "NOEXT      ", 0x18, "noext" },
	{ "        TXT", 0, ".TXT" },
	{ "A B     C D", 0, "A B.C D" },
	{ " LEADING   ", 0, " LEADING" },
	{ "           ", 0, "" },
	{ "CUT\0XXXXB\0C", 0, "CUT.B" },
	{ "\x05"
	  "BC        ",
	  0,
	  "\xcf\x83"
	  "BC" },
	{ "A\x05         ", 0, "A\x05" },
	{ "\x9a\x8e\xa5\xe4\xe8\xea  \x80  ", 0x18,
	  "\xc3\xbc\xc3\xa4\xc3\xb1\xcf\x83\xcf\x86\xce\xa9.\xc3\xa7" },
	{ "\x9a\xff         ", 0, "\xc3\x9c\xc2\xa0" },
	{ "*?<>|:\"+,;=", 0, "*?<>|:\"+.,;=" },
	{ "\x01\x1f\x7f a.b .  ", 0, "\x01\x1f\x7f a.b.." },
	{ "A/B     /\\ ", 0,
	  "A\xc0\xaf"
	  "B.\xc0\xaf\\" },
};

static void test_fat_names_short(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(short_names); i++) {
		char out[FAT_NAMES_BYTES_MAX];
		size_t len = fat_names_short((const uint8_t *)short_names[i].raw,
					     short_names[i].case_bits, out);

		if (len != strlen(short_names[i].shown) ||
		    memcmp(out, short_names[i].shown, len) != 0)
			fail_msg("%s: shown as %.*s", short_names[i].shown, (int)len, out);
	}
}

static const struct {
	const char *what;
	uint16_t units[6];
	const char *shown;
} long_names[] = {
	{ "all units are used", { 'a', 'b', 'c', 'd', 'e', 'f' }, "abcdef" },
	{ "zero ends it", { 'a', 0, 0xffff, 0xffff }, "a" },
	{ "zero at once", { 0, 'a' }, "" },
	{ "slashes at every place",
	  { '/', 'a', '/', '/', 'b', '/' },
	  "\xc0\xaf"
	  "a\xc0\xaf\xc0\xaf"
	  "b\xc0\xaf" },
	{ "a slash between the halves of a pair",
	  { 0xd83d, '/', 0xde00 },
	  "\xed\xa0\xbd\xc0\xaf\xed\xb8\x80" },
};

static void test_fat_names_long(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(long_names); i++) {
		char out[FAT_NAMES_BYTES_MAX];
		size_t len =
			fat_names_long(long_names[i].units, ARRAY_LEN(long_names[i].units), out);

		if (len != strlen(long_names[i].shown) ||
		    memcmp(out, long_names[i].shown, len) != 0)
			fail_msg("%s: %.*s", long_names[i].what, (int)len, out);
	}
}

static void test_fat_names_longest(void **state)
{
	uint16_t units[FAT_NAMES_UNITS_MAX];
	char out[FAT_NAMES_BYTES_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(units); i++)
		units[i] = 0xffff;
	assert_int_equal(fat_names_long(units, ARRAY_LEN(units), out), sizeof(out));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_fat_names_short),
					    cmocka_unit_test(test_fat_names_long),
					    cmocka_unit_test(test_fat_names_longest) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
