/* Which files are signatures, and how old they say they are; and bundles that must be refused, with the reason. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/base.h"
#include "mgmt-server/scan/sig_files.h"
#include "mgmt-server/scan/sig_tar.h"

static void test_sig_files_names(void **state)
{
	static const struct {
		const char *name;
		bool valid;
	} cases[] = {
		{ "main.cvd", true },       { "own-2.ndb", true }, { "rule.yara", true },
		{ "freshclam.dat", false }, { ".ndb", false },     { "a b.ndb", false },
		{ "../x.ndb", false },      { "noending", false }, { "x.NDB", false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		assert_int_equal(sig_files_name_valid(cases[i].name), cases[i].valid);
}

static void test_sig_files_header(void **state)
{
	char header[512];
	uint64_t version, built;

	(void)state;
	memset(header, ' ', sizeof(header));
	memcpy(header, "ClamAV-VDB:22 Nov 2026 08-31 -0500:27462:9:90:ab:cd:me:1700000000", 65);
	assert_int_equal(sig_files_header(header, sizeof(header), &version, &built), 0);
	assert_int_equal(version, 27462);
	assert_int_equal(built, 1700000000);
	assert_int_equal(sig_files_header(header, 100, &version, &built), -EINVAL);
	memcpy(header + 34, "::::::::", 8);
	assert_int_equal(sig_files_header(header, sizeof(header), &version, &built), -EINVAL);
	header[0] = 'X';
	assert_int_equal(sig_files_header(header, sizeof(header), &version, &built), -EINVAL);
}

/* ---- Archives made here ---- */

struct archive {
	uint8_t bytes[4096];
	size_t len, at;
	unsigned files;
};

static int take(void *arg, uint8_t *buf, size_t len)
{
	struct archive *a = arg;
	size_t n = a->len - a->at < len ? a->len - a->at : len;

	memcpy(buf, a->bytes + a->at, n);
	a->at += n;
	return (int)n;
}

static int begin(void *arg, const char *name, uint64_t size, uint64_t modified_s, struct err *err)
{
	(void)arg, (void)name, (void)size, (void)modified_s, (void)err;
	return 0;
}

static int data(void *arg, const uint8_t *buf, size_t len, struct err *err)
{
	(void)arg, (void)buf, (void)len, (void)err;
	return 0;
}

static int end(void *arg, struct err *err)
{
	(void)err;
	((struct archive *)arg)->files++;
	return 0;
}

static void add_header(struct archive *a, const char *name, const char *size, char type)
{
	uint8_t *block = a->bytes + a->len;
	unsigned sum = 0;

	memset(block, 0, 512);
	strcpy((char *)block, name);
	strcpy((char *)block + 124, size);
	strcpy((char *)block + 136, "14000000000");
	memset(block + 148, ' ', 8);
	block[156] = (uint8_t)type;
	memcpy(block + 257, "ustar", 6);
	for (size_t i = 0; i < 512; i++)
		sum += block[i];
	snprintf((char *)block + 148, 7, "%06o", sum);
	a->len += 512;
}

static void test_sig_tar_refuses(void **state)
{
	static const struct {
		const char *what, *size;
		char type;
		size_t data, zeros; /* bytes behind the header; whether the end is there */
		int want;
		const char *says;
	} cases[] = {
		{ "good", "00000000012", '0', 512, 512, 0, "" },
		{ "cut in its data", "00000002000", '0', 512, 0, -EINVAL, "cut off" },
		{ "without its end", "00000000012", '0', 512, 0, -EINVAL, "cut off" },
		{ "too large", "77777777777", '0', 512, 512, -EFBIG, "more than" },
		{ "no number", "12x", '0', 512, 512, -EINVAL, "damaged" },
		{ "link", "00000000000", '2', 0, 512, -EINVAL, "no plain file" },
		{ "device", "00000000000", '3', 0, 512, -EINVAL, "no plain file" },
		{ "long name", "00000000012", 'L', 512, 512, -EINVAL, "no plain file" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct archive a = { .len = 0 };
		struct sig_tar_order order = { take, begin, data, end, &a, 1 << 20 };
		struct err err = { 0 };

		add_header(&a, "dir/x.ndb", cases[i].size, cases[i].type);
		a.len += cases[i].data + cases[i].zeros;
		assert_int_equal(sig_tar_read(&order, &err), cases[i].want);
		if (cases[i].want)
			assert_non_null(strstr(err_text(&err), cases[i].says));
		assert_int_equal(a.files, cases[i].want
						  ? (cases[i].zeros == 0 && cases[i].size[9] == '1')
						  : 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sig_files_names),
		cmocka_unit_test(test_sig_files_header),
		cmocka_unit_test(test_sig_tar_refuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
