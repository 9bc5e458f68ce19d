/* What is as even as a cipher's bytes, what has a known beginning, and what a change looks like encryption. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>

#include "common/base.h"
#include "common/io.h"
#include "mgmt-server/scan/file_measure.h"

enum { SIZE = 256 << 10 };

static uint8_t text[SIZE], cipher[SIZE], packed[SIZE], random_bytes[SIZE];
static size_t packed_len;

static void encrypt(const uint8_t *from, uint8_t *to, size_t len)
{
	static const uint8_t key[32] = "a key for tests of this, no more", iv[16] = "begin";
	EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
	int n;

	assert_true(EVP_EncryptInit_ex(c, EVP_aes_256_ctr(), NULL, key, iv));
	assert_true(EVP_EncryptUpdate(c, to, &n, from, (int)len));
	EVP_CIPHER_CTX_free(c);
}

static int set_up(void **state)
{
	uLongf len = SIZE - 10;

	(void)state;
	for (int at = 0, line = 0; at < SIZE - 64; line++)
		at += snprintf((char *)text + at, SIZE - (size_t)at,
			       "line %d of a text, as people write it\n", line);
	encrypt(text, cipher, SIZE);
	encrypt((const uint8_t[SIZE]){ 0 }, random_bytes, SIZE);
	memcpy(packed, "\x1f\x8b\x08\0\0\0\0\0\0\3", 10);
	assert_int_equal(compress(packed + 10, &len, text, SIZE), Z_OK);
	packed_len = len + 10;
	return 0;
}

static struct file_measure measure(const uint8_t *bytes, size_t len)
{
	CLEANUP_FD int fd = memfd_create("file", MFD_CLOEXEC);
	struct file_measure m;

	assert_int_equal(io_write_full(fd, bytes, len), 0);
	assert_int_equal(file_measure(&m, fd, len), 0);
	return m;
}

static void test_file_measure_random(void **state)
{
	static const size_t lengths[] = { 512, 1000, 4096, 65536, SIZE };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
		assert_true(file_measure_random(random_bytes, lengths[i]));
		assert_true(file_measure_random(cipher, lengths[i]));
		assert_false(file_measure_random(text, lengths[i]));
	}
	assert_false(file_measure_random(cipher, 511));
	for (size_t i = 0; i + 4096 <= SIZE; i += 4096)
		assert_true(file_measure_random(cipher + i, 4096));
}

static void test_file_measure_kinds(void **state)
{
	static const uint8_t mp4[] = "\0\0\0\x18"
				     "ftypmp42";

	(void)state;
	assert_int_equal(file_measure_kind(text, 4096), FILE_MEASURE_TEXT);
	assert_int_equal(file_measure_kind((const uint8_t *)"gr\xc3\xbc\xc3\x9f"
							    "e",
					   7),
			 FILE_MEASURE_TEXT);
	assert_int_equal(file_measure_kind(cipher, 4096), FILE_MEASURE_UNKNOWN);
	assert_int_equal(file_measure_kind(packed, 4096), FILE_MEASURE_KNOWN);
	assert_int_equal(file_measure_kind(mp4, sizeof(mp4)), FILE_MEASURE_KNOWN);
	assert_int_equal(file_measure_kind(text, 0), FILE_MEASURE_UNKNOWN);
}

static void test_file_measure_compare(void **state)
{
	static uint8_t pieces[SIZE], head[SIZE], picture[SIZE], other[SIZE], salted[SIZE];
	struct {
		const char *name;
		const uint8_t *before, *after;
		size_t before_len, after_len;
		enum file_measure_change want;
	} cases[] = {
		{ "a text encrypted", text, cipher, SIZE, SIZE, FILE_MEASURE_WHOLLY },
		{ "with a trailer", text, cipher, SIZE - 1000, SIZE, FILE_MEASURE_WHOLLY },
		{ "a small one", text, cipher, 700, 716, FILE_MEASURE_WHOLLY },
		{ "too small to say", text, cipher, 200, 200, FILE_MEASURE_SAME },
		{ "a picture encrypted", picture, random_bytes, SIZE, SIZE, FILE_MEASURE_WHOLLY },
		{ "a picture edited", picture, other, SIZE, SIZE, FILE_MEASURE_SAME },
		{ "openssl enc", text, salted, SIZE, SIZE, FILE_MEASURE_WHOLLY },
		{ "every fourth piece", text, pieces, SIZE, SIZE, FILE_MEASURE_PARTLY },
		{ "the beginning only", text, head, SIZE, SIZE, FILE_MEASURE_PARTLY },
		{ "compressed", text, packed, packed_len, packed_len, FILE_MEASURE_SAME },
		{ "edited", text, text + 100, SIZE - 100, SIZE - 100, FILE_MEASURE_SAME },
		{ "what was random all along", cipher, random_bytes, SIZE, SIZE,
		  FILE_MEASURE_SAME },
		{ "another file under that name", text, cipher, SIZE, SIZE / 2, FILE_MEASURE_SAME },
		{ "decrypted", cipher, text, SIZE, SIZE, FILE_MEASURE_SAME },
	};

	(void)state;
	memcpy(pieces, text, SIZE);
	memcpy(head, text, SIZE);
	memcpy(head, cipher, 4096);
	for (size_t i = 4096; i + 4096 <= SIZE; i += 4 * 4096)
		memcpy(pieces + i, cipher + i, 4096);
	memcpy(picture, cipher, SIZE);
	memcpy(other, random_bytes, SIZE);
	memcpy(picture, "\xff\xd8\xff\xe0", 4);
	memcpy(other, "\xff\xd8\xff\xe0", 4);
	memcpy(salted, cipher, SIZE);
	memcpy(salted, "Salted__", 8);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct file_measure before = measure(cases[i].before, cases[i].before_len);
		struct file_measure after = measure(cases[i].after, cases[i].after_len);
		enum file_measure_change got = file_measure_compare(&before, &after);

		if (got != cases[i].want)
			fail_msg("%s: %d instead of %d", cases[i].name, got, cases[i].want);
	}
}

static void test_file_measure_large_files_are_sampled(void **state)
{
	CLEANUP_FD int fd = memfd_create("large", MFD_CLOEXEC);
	struct file_measure m;

	(void)state;
	assert_int_equal(ftruncate(fd, 3LL << 30), 0);
	assert_int_equal(file_measure(&m, fd, 3ULL << 30), 0);
	assert_true(m.pieces > FILE_MEASURE_PIECES / 2 && m.pieces <= FILE_MEASURE_PIECES);
	assert_int_equal(m.random_count, 0);
	assert_true(file_measure(&m, fd, 4ULL << 30) < 0); /* shorter than it says */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_file_measure_random),
		cmocka_unit_test(test_file_measure_kinds),
		cmocka_unit_test(test_file_measure_compare),
		cmocka_unit_test(test_file_measure_large_files_are_sampled),
	};

	return cmocka_run_group_tests(tests, set_up, NULL);
}
