#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/io.h"
#include "mgmt-server/cli/cli_image.h"

static char folder[] = "/tmp/godwit-test-image.XXXXXX";
static char path[64];

static int set_up(void **state)
{
	(void)state;
	if (!mkdtemp(folder))
		return -1;
	snprintf(path, sizeof(path), "%s/image", folder);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(folder);
}

static const struct {
	const char *name;
	size_t at;
	const char *bytes;
	size_t len;
	const char *want; /* NULL: no disk image */
} start_cases[] = {
	{ "qcow2", 0, "QFI\xfb", 4, "qcow2" },
	{ "vmdk", 0, "KDMV", 4, "vmdk" },
	{ "vmdk descriptor", 0, "# Disk DescriptorFile", 21, "vmdk" },
	{ "vhdx", 0, "vhdxfile", 8, "vhdx" },
	{ "vhd", 0, "conectix", 8, "vhd" },
	{ "vdi", 64, "\x7f\x10\xda\xbe", 4, "vdi" },
	{ "boot sector", 510, "\x55\xaa", 2, "raw" },
	{ "zeros", 0, "", 0, "raw" },
	{ "qcow2's mark elsewhere", 1, "QFI\xfb", 4, "raw" },
	{ "gzip", 0, "\x1f\x8b", 2, NULL },
	{ "xz", 0,
	  "\xfd"
	  "7zXZ\0",
	  6, NULL },
	{ "zstd", 0, "\x28\xb5\x2f\xfd", 4, NULL },
	{ "tar, ova", 257, "ustar", 5, NULL },
	{ "zip", 0, "PK\x03\x04", 4, NULL },
};

static void test_cli_image_recognise(void **state)
{
	const char *format, *advice;
	uint8_t start[1024], end[512] = "conectix";
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_LEN(start_cases); i++) {
		int r;

		memset(start, 0, sizeof(start));
		memcpy(start + start_cases[i].at, start_cases[i].bytes, start_cases[i].len);
		format = advice = NULL;
		r = cli_image_recognise(start, sizeof(start), NULL, &format, &advice);
		assert_int_equal(r, start_cases[i].want ? 0 : CLI_IMAGE_NOT_ONE);
		if (start_cases[i].want)
			assert_string_equal(format, start_cases[i].want);
		else
			assert_non_null(strstr(advice, "unpack it first"));
		/* A mark that would begin inside the file but end outside must not be read. */
		cli_image_recognise(start, start_cases[i].at + 1, NULL, &format, &advice);
	}
	memset(start, 0, sizeof(start));
	assert_int_equal(cli_image_recognise(start, sizeof(start), end, &format, &advice), 0);
	assert_string_equal(format, "vhd"); /* of fixed size: the mark is in the footer */
}

/* 100,000 bytes (no whole number of sectors): 64 KiB hole, then bytes. */
static void test_cli_image_raw_is_filled_up_with_zeros(void **state)
{
	const struct cli_image_options options = { .path = path };
	CLEANUP(cli_image_close) struct cli_image *image = NULL;
	struct volume_input input;
	uint8_t buf[1024];
	uint64_t len;
	bool zero;
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);

	(void)state;
	assert_true(fd >= 0);
	memset(buf, 'x', sizeof(buf));
	for (len = 65536; len < 100000; len += 512)
		assert_int_equal(
			io_pwrite_full(fd, buf, len + 512 > 100000 ? 100000 - len : 512, len), 0);
	close(fd);

	assert_int_equal(cli_image_open(&image, &options, NULL), 0);
	assert_string_equal(cli_image_format(image), "raw");
	input = cli_image_input(image);
	assert_int_equal(input.size, 100352); /* 196 sectors */
	assert_int_equal(input.read(input.ctx, buf, 512, 99840, NULL), 0);
	assert_int_equal(buf[159], 'x');
	assert_int_equal(buf[160], 0);
	assert_int_equal(buf[511], 0);
	assert_non_null(input.extent);
	assert_int_equal(input.extent(input.ctx, 100000, &len, &zero, NULL), 0);
	assert_true(zero);
	assert_int_equal(len, 352);
	assert_int_equal(input.extent(input.ctx, 65536, &len, &zero, NULL), 0);
	assert_false(zero);
	assert_true(len >= 1 && len <= 100352 - 65536);
}

static void test_cli_image_refuses(void **state)
{
	static const struct {
		const char *bytes, *says;
		size_t len;
	} cases[] = {
		{ "", "is empty", 0 },
		{ "\x1f\x8b\x08 compressed", "unpack it first", 13 },
	};
	const struct cli_image_options options = { .path = path },
				       folder_options = { .path = folder },
				       absent = { .path = "/nonexistent/image" };
	struct cli_image *image = NULL;
	struct err err = { .code = 0 };
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_LEN(cases); i++) {
		assert_int_equal(io_replace_file(path, cases[i].bytes, cases[i].len, 0600, NULL),
				 0);
		assert_int_equal(cli_image_open(&image, &options, &err), -EINVAL);
		assert_non_null(strstr(err_text(&err), cases[i].says));
		assert_non_null(strstr(err_text(&err), path));
	}
	assert_int_equal(cli_image_open(&image, &absent, &err), -ENOENT);
	assert_int_equal(cli_image_open(&image, &folder_options, &err), -EINVAL);
	assert_null(image);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cli_image_recognise),
		cmocka_unit_test(test_cli_image_raw_is_filled_up_with_zeros),
		cmocka_unit_test(test_cli_image_refuses),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
