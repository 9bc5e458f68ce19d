#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "common/base.h"
#include "common/hex.h"
#include "snapshot/chunk.h"

static void test_chunk_id_is_sha256(void **state)
{
	char text[CHUNK_ID_TEXT_LEN];
	struct chunk_id id;

	(void)state;
	chunk_id_of("abc", 3, &id); /* FIPS 180-2, appendix B.1 */
	hex_encode(id.bytes, sizeof(id.bytes), text);
	assert_string_equal(text,
			    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

static void test_chunk_zero_detection_finds_any_byte(void **state)
{
	uint8_t buf[4097] = { 0 };

	(void)state;
	for (size_t len = 1; len <= sizeof(buf); len = len * 3 / 2 + 1) {
		assert_true(chunk_is_zero(buf, len));
		for (size_t i = 0; i < len; i += len / 40 + 1) {
			buf[i] = 1;
			assert_false(chunk_is_zero(buf, len));
			buf[i] = 0;
		}
		buf[len - 1] = 0x80;
		assert_false(chunk_is_zero(buf, len));
		buf[len - 1] = 0;
	}
}

static void fill(uint8_t *buf, size_t len, int compressible)
{
	unsigned x = 12345;

	for (size_t i = 0; i < len; i++) {
		x = x * 1103515245 + 12345;
		buf[i] = compressible ? (uint8_t)(i / 64) : (uint8_t)(x >> 16);
	}
}

static const struct {
	enum chunk_codec codec;
	size_t len;
	int compressible;
	enum chunk_codec want;
} codec_cases[] = {
	{ CHUNK_CODEC_NONE, 4096, 1, CHUNK_CODEC_NONE },
	{ CHUNK_CODEC_ZLIB, 65536, 1, CHUNK_CODEC_ZLIB },
	{ CHUNK_CODEC_ZSTD, 65536, 1, CHUNK_CODEC_ZSTD },
	{ CHUNK_CODEC_ZSTD, CHUNK_MAX, 1, CHUNK_CODEC_ZSTD },
	{ CHUNK_CODEC_ZSTD, 65536, 0, CHUNK_CODEC_NONE }, /* nothing gained: stored as it is */
	{ CHUNK_CODEC_ZLIB, 65536, 0, CHUNK_CODEC_NONE },
	{ CHUNK_CODEC_ZSTD, 1, 1, CHUNK_CODEC_NONE },
	{ CHUNK_CODEC_ZSTD, 2, 1, CHUNK_CODEC_NONE },
	{ CHUNK_CODEC_ZLIB, 127, 0, CHUNK_CODEC_NONE },
};

static void test_chunk_codecs_give_back_what_they_took(void **state)
{
	uint8_t *raw = malloc(CHUNK_MAX), *buf = malloc(CHUNK_MAX), *back = malloc(CHUNK_MAX);

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(codec_cases); i++) {
		struct chunk_encoded e;
		struct err err = { 0 };

		fill(raw, codec_cases[i].len, codec_cases[i].compressible);
		chunk_id_of(raw, codec_cases[i].len, &e.id);
		assert_int_equal(
			chunk_encode(codec_cases[i].codec, raw, codec_cases[i].len, buf, &e, &err),
			0);
		assert_int_equal(e.codec, codec_cases[i].want);
		assert_true(e.len <= e.raw_len);
		assert_int_equal(chunk_decode(&e, back, &err), 0);
		assert_memory_equal(raw, back, codec_cases[i].len);
	}
	free(raw);
	free(buf);
	free(back);
}

static const struct {
	const char *name;
	int codec, flip, raw_len,
		len; /* changes to a good chunk: flip the byte there (-1: none), add to lengths */
} damage_cases[] = {
	{ "payload", 0, 20, 0, 0 },
	{ "first byte", 0, 0, 0, 0 },
	{ "cut off", 0, -1, 0, -5 },
	{ "longer plaintext", 0, -1, 1, 0 },
	{ "shorter plaintext", 0, -1, -1, 0 },
	{ "other codec", -1, -1, 0, 0 },
	{ "unknown codec", 77, -1, 0, 0 },
	{ "no plaintext", 0, -1, -65536, 0 },
	{ "huge plaintext", 0, -1, CHUNK_MAX, 0 },
};

/* A damaged chunk is told from its good neighbour, before it or behind it. */
static void decode_pairs(const char *name, const struct chunk_encoded *damaged)
{
	static uint8_t raw[65536], buf[65536], back[2][CHUNK_MAX + 65536];
	uint8_t *const to[2] = { back[0], back[1] };
	struct chunk_encoded good, pair[2];
	struct err err = { 0 };
	size_t bad = 2;

	fill(raw, sizeof(raw), 0);
	chunk_id_of(raw, sizeof(raw), &good.id);
	chunk_encode(CHUNK_CODEC_ZSTD, raw, sizeof(raw), buf, &good, &err);
	for (size_t at = 0; at < 2; at++) {
		pair[at] = *damaged;
		pair[!at] = good;
		if (chunk_decode_pair(pair, to, &bad, &err) != CHUNK_CORRUPT || bad != at)
			fail_msg("%s, place %zu: not refused or the wrong one named", name, at);
	}
	pair[0] = pair[1] = good;
	assert_int_equal(chunk_decode_pair(pair, to, &bad, &err), 0);
	assert_memory_equal(back[0], raw, sizeof(raw));
	assert_memory_equal(back[1], raw, sizeof(raw));
}

static void test_chunk_decode_refuses_damage(void **state)
{
	static uint8_t raw[65536], buf[65536], back[CHUNK_MAX + 65536];

	(void)state;
	fill(raw, sizeof(raw), 1);
	for (size_t i = 0; i < ARRAY_LEN(damage_cases); i++) {
		struct chunk_encoded e;
		struct err err = { 0 };

		chunk_id_of(raw, sizeof(raw), &e.id);
		chunk_encode(CHUNK_CODEC_ZSTD, raw, sizeof(raw), buf, &e, &err);
		e.codec = (enum chunk_codec)((int)e.codec + damage_cases[i].codec);
		e.raw_len += (uint32_t)damage_cases[i].raw_len;
		e.len += (uint32_t)damage_cases[i].len;
		if (damage_cases[i].flip >= 0)
			buf[damage_cases[i].flip] ^= 0x10;
		if (chunk_decode(&e, back, &err) != CHUNK_CORRUPT)
			fail_msg("%s: not refused", damage_cases[i].name);
		assert_string_not_equal(err_text(&err), "");
		decode_pairs(damage_cases[i].name, &e);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_chunk_id_is_sha256),
		cmocka_unit_test(test_chunk_zero_detection_finds_any_byte),
		cmocka_unit_test(test_chunk_codecs_give_back_what_they_took),
		cmocka_unit_test(test_chunk_decode_refuses_damage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
