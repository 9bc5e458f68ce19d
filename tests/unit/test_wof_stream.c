/* Files of CompactOS: what wimlib packed comes out again, whatever its size and wherever one reads; tables and chunks that
 * cannot be are errors.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <wimlib.h>

#include "common/le.h"
#include "mgmt-server/scan/wof_stream.h"

enum { XPRESS4K, LZX, XPRESS8K, XPRESS16K, ALGORITHMS };

static const struct {
	enum wimlib_compression_type type;
	uint32_t chunk;
} packers[ALGORITHMS] = {
	[XPRESS4K] = { WIMLIB_COMPRESSION_TYPE_XPRESS, 4096 },
	[LZX] = { WIMLIB_COMPRESSION_TYPE_LZX, 32768 },
	[XPRESS8K] = { WIMLIB_COMPRESSION_TYPE_XPRESS, 8192 },
	[XPRESS16K] = { WIMLIB_COMPRESSION_TYPE_XPRESS, 16384 },
};

struct bytes {
	uint8_t *at;
	size_t len;
};

static int read_bytes(void *ctx, void *buf, size_t len, uint64_t offset, struct err *err)
{
	const struct bytes *b = ctx;

	assert_true(offset <= b->len && len <= b->len - offset);
	(void)err;
	memcpy(buf, b->at + offset, len);
	return 0;
}

/* ---- contents ---- */

static void fill_zeros(uint8_t *to, size_t len)
{
	memset(to, 0, len);
}

/* Does not shrink: chunks are kept as they are. */
static void fill_noise(uint8_t *to, size_t len)
{
	uint64_t x = 88172645463325252;

	for (size_t i = 0; i < len; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		to[i] = (uint8_t)x;
	}
}

/* Calls of x86 everywhere, each chunk's last bytes included: LZX keeps those in another form, but not the last ten. */
static void fill_calls(uint8_t *to, size_t len)
{
	static const uint8_t call[] = { 0xe8, 0x10, 0x02, 0, 0, 0x90, 0x55 };

	for (size_t i = 0; i < len; i++)
		to[i] = call[i % sizeof(call)];
}

/* An e8 in place 1 to 16 from the end of one chunk after the other; the four bytes behind it are a small number. */
static void fill_last_calls(uint8_t *to, size_t len)
{
	static const uint8_t words[] = "push mov lea sub add xor jmp nop ret ";

	for (size_t i = 0; i < len; i++)
		to[i] = words[(i * i / 5) % (sizeof(words) - 1)];
	for (size_t chunk = 0, end = 32768; end <= len; chunk++, end += 32768) {
		size_t from_end = chunk % 16 + 1;

		memset(to + end - 24, 0, 24);
		to[end - from_end] = 0xe8;
	}
}

static const struct {
	const char *name;
	void (*fill)(uint8_t *to, size_t len);
} contents[] = {
	{ "zeros", fill_zeros },
	{ "noise", fill_noise },
	{ "calls", fill_calls },
	{ "a call at each chunk's end", fill_last_calls },
};

/* ---- packing ---- */

static struct bytes pack(int algorithm, const uint8_t *data, size_t len)
{
	uint32_t chunk = packers[algorithm].chunk;
	size_t chunks = (len + chunk - 1) / chunk, table = chunks ? (chunks - 1) * 4 : 0;
	struct bytes out = { malloc(table + len + 1), table };
	struct wimlib_compressor *c;

	assert_non_null(out.at);
	assert_int_equal(wimlib_create_compressor(packers[algorithm].type, chunk, 10, &c), 0);
	for (size_t i = 0; i < chunks; i++) {
		size_t n = len - i * chunk < chunk ? len - i * chunk : chunk;
		size_t packed = wimlib_compress(data + i * chunk, n, out.at + out.len, n - 1, c);

		if (!packed)
			memcpy(out.at + out.len, data + i * chunk, n);
		out.len += packed ? packed : n;
		if (i + 1 < chunks)
			le_put32(out.at + i * 4, (uint32_t)(out.len - table));
	}
	wimlib_free_compressor(c);
	return out;
}

static struct wof_stream *open_bytes(int algorithm, uint64_t size, struct bytes *stream)
{
	struct wof_stream_options options = { .algorithm = (uint32_t)algorithm,
					      .size = size,
					      .stored = stream->len,
					      .read = read_bytes,
					      .ctx = stream };
	struct wof_stream *s = NULL;
	struct err err = { 0 };

	if (wof_stream_open(&s, &options, &err) < 0)
		fail_msg("%s", err.text);
	return s;
}

/* ---- what was packed comes out ---- */

static const struct {
	unsigned chunks;
	int more; /* bytes */
} sizes[] = {
	{ 0, 0 }, { 0, 1 }, { 0, 10 }, { 1, -1 }, { 1, 0 }, { 1, 1 }, { 3, 0 }, { 17, 4095 }
};

static void expect_same(struct wof_stream *s, const uint8_t *data, size_t len, size_t step)
{
	uint8_t *got = malloc(len + 1);
	struct err err = { 0 };

	assert_non_null(got);
	for (size_t at = 0; at < len; at += step) {
		size_t n = len - at < step ? len - at : step;

		assert_int_equal(wof_stream_read(s, got, n, at, &err), 0);
		assert_memory_equal(got, data + at, n);
	}
	/* Backwards, over the edges of chunks. */
	for (size_t at = len; at > 20000; at -= at < 20000 + step ? at : step) {
		assert_int_equal(wof_stream_read(s, got, 20000, at - 20000, &err), 0);
		assert_memory_equal(got, data + at - 20000, 20000);
	}
	assert_int_equal(wof_stream_read(s, got, 1, len, &err), -EINVAL);
	free(got);
}

static void test_round_trip(void **state)
{
	uint8_t *data = malloc(18 * 32768);

	(void)state;
	assert_non_null(data);
	for (int a = 0; a < ALGORITHMS; a++) {
		for (size_t c = 0; c < ARRAY_LEN(contents); c++) {
			for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
				size_t len = (size_t)((int)(sizes[i].chunks * packers[a].chunk) +
						      sizes[i].more);
				struct wof_stream *s;
				struct bytes packed;

				contents[c].fill(data, len);
				packed = pack(a, data, len);
				s = open_bytes(a, len, &packed);
				expect_same(s, data, len, 1 << 20);
				expect_same(s, data, len, 7777);
				wof_stream_close(s);
				free(packed.at);
			}
		}
	}
	free(data);
}

/* More chunks than offsets are read at once. */
static void test_long_table(void **state)
{
	size_t len = 1500 * 4096 + 5;
	uint8_t *data = malloc(len);
	struct bytes packed;
	struct wof_stream *s;

	(void)state;
	assert_non_null(data);
	fill_calls(data, len);
	packed = pack(XPRESS4K, data, len);
	s = open_bytes(XPRESS4K, len, &packed);
	expect_same(s, data, len, 1 << 20);
	wof_stream_close(s);
	free(packed.at);
	free(data);
}

/* ---- offsets of 32 and 64 bits ---- */

/* A stream of which every chunk but the last is the same; it is computed, not kept. */
struct computed {
	uint64_t pieces;
	unsigned entry_len;
	struct bytes chunk;
};

static int read_computed(void *ctx, void *buf, size_t len, uint64_t offset, struct err *err)
{
	const struct computed *c = ctx;
	uint64_t table = (c->pieces - 1) * c->entry_len;
	uint8_t *to = buf;

	(void)err;
	for (uint64_t at = offset; at < offset + len; at++) {
		uint64_t number = (at / c->entry_len + 1) * c->chunk.len, behind = at - table;

		if (at < table)
			*to++ = (uint8_t)(number >> at % c->entry_len * 8);
		else
			*to++ = behind / c->chunk.len < c->pieces - 1
					? c->chunk.at[behind % c->chunk.len]
					: 'z';
	}
	return 0;
}

static const struct {
	uint64_t size;
	unsigned entry_len;
	uint64_t last; /* bytes in the last chunk */
} wide_cases[] = {
	{ UINT32_MAX - 32766ULL, 4, 1 },
	{ UINT32_MAX, 4, 32767 },
	{ 1ULL << 32, 8, 32768 },
	{ (1ULL << 32) + 1, 8, 1 },
};

static void test_entry_width(void **state)
{
	uint8_t piece[32768], got[32770];
	struct err err = { 0 };

	(void)state;
	fill_calls(piece, sizeof(piece));
	for (size_t i = 0; i < ARRAY_LEN(wide_cases); i++) {
		struct computed c = { (wide_cases[i].size + 32767) / 32768, wide_cases[i].entry_len,
				      pack(LZX, piece, sizeof(piece)) };
		struct wof_stream_options options = {
			.algorithm = LZX,
			.size = wide_cases[i].size,
			.stored = (c.pieces - 1) * (c.entry_len + c.chunk.len) + wide_cases[i].last,
			.read = read_computed,
			.ctx = &c,
		};
		uint64_t from = wide_cases[i].size - wide_cases[i].last - 2;
		struct wof_stream *s = NULL;

		assert_int_equal(wof_stream_open(&s, &options, &err), 0);
		assert_int_equal(wof_stream_read(s, got, 32768, 0, &err), 0);
		assert_memory_equal(got, piece, 32768);
		assert_int_equal(wof_stream_read(s, got, wide_cases[i].last + 2, from, &err), 0);
		assert_memory_equal(got, piece + 32766, 2);
		assert_int_equal(got[2], 'z');
		wof_stream_close(s);
		free(c.chunk.at);
	}
}

/* ---- what cannot be ---- */

enum { PIECES = 4 };

static const struct {
	const char *what;
	int entry;       /* of the table; -1: none is changed */
	uint32_t offset; /* what it says then */
	int longer;      /* bytes of the stream, more or fewer */
	int piece;       /* that cannot be read; those before it can */
} damaged_cases[] = {
	{ "a chunk of no bytes", 0, 0, 0, 0 },
	{ "an offset that goes back", 1, 1, 0, 1 },
	{ "an offset behind the stream's end", 2, 0x7fffffff, 0, 2 },
	{ "the highest offset there is", 2, UINT32_MAX, 0, 2 },
	{ "a chunk that is longer than what becomes of it", 0, 4097, 0, 0 },
	{ "bytes behind the last chunk", -1, 0, 5000, 3 },
};

static void test_damaged_table(void **state)
{
	uint8_t data[PIECES * 4096], got[4096];

	(void)state;
	fill_calls(data, sizeof(data));
	for (size_t i = 0; i < ARRAY_LEN(damaged_cases); i++) {
		struct bytes packed = pack(XPRESS4K, data, sizeof(data));
		struct wof_stream *s;

		packed.at = realloc(packed.at, packed.len + 8192);
		assert_non_null(packed.at);
		memset(packed.at + packed.len, 0, 8192);
		if (damaged_cases[i].entry >= 0)
			le_put32(packed.at + damaged_cases[i].entry * 4, damaged_cases[i].offset);
		packed.len += (size_t)damaged_cases[i].longer;
		s = open_bytes(XPRESS4K, sizeof(data), &packed);
		for (int p = 0; p <= damaged_cases[i].piece; p++) {
			struct err err = { 0 };
			int r = wof_stream_read(s, got, 4096, (uint64_t)p * 4096, &err);

			if (p < damaged_cases[i].piece)
				assert_int_equal(r, 0);
			else if (r != -EBADMSG || !strstr(err.text, "compressed stream"))
				fail_msg("%s: %d %s", damaged_cases[i].what, r, err.text);
		}
		wof_stream_close(s);
		free(packed.at);
	}
}

static void test_damaged_chunk(void **state)
{
	uint8_t data[3 * 32768], got[32768];

	(void)state;
	fill_last_calls(data, sizeof(data));
	for (int a = 0; a < ALGORITHMS; a++) {
		uint32_t chunk = packers[a].chunk;
		struct bytes packed = pack(a, data, 3 * chunk);
		uint32_t from = le_get32(packed.at), to = le_get32(packed.at + 4);
		struct wof_stream *s = open_bytes(a, 3 * chunk, &packed);
		struct err err = { 0 };

		memset(packed.at + 8 + from, 0xff, to - from);
		assert_int_equal(wof_stream_read(s, got, chunk, chunk, &err), -EBADMSG);
		assert_non_null(strstr(err.text, "chunk 1 of 3"));
		assert_int_equal(wof_stream_read(s, got, chunk, 2 * chunk, &err), 0);
		assert_memory_equal(got, data + 2 * chunk, chunk);
		wof_stream_close(s);
		free(packed.at);
	}
}

static const struct {
	const char *what;
	uint32_t algorithm;
	uint64_t size, stored;
	int want;
} open_cases[] = {
	{ "nothing", LZX, 0, 0, 0 },
	{ "a byte", LZX, 1, 1, 0 },
	{ "a byte and no stream", LZX, 1, 0, -EBADMSG },
	{ "the table alone", XPRESS4K, 2 * 4096, 4, -EBADMSG },
	{ "not even the table", XPRESS4K, 3 * 4096, 7, -EBADMSG },
	{ "as long as can be said", XPRESS4K, UINT64_MAX, 1 << 20, -EBADMSG },
	{ "an algorithm that there is not", ALGORITHMS, 1, 1, -EBADMSG },
	{ "another", UINT32_MAX, 1, 1, -EBADMSG },
};

static void test_open(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(open_cases); i++) {
		struct wof_stream_options options = { .algorithm = open_cases[i].algorithm,
						      .size = open_cases[i].size,
						      .stored = open_cases[i].stored };
		struct wof_stream *s = NULL;
		struct err err = { 0 };
		int r = wof_stream_open(&s, &options, &err);

		if (r != open_cases[i].want)
			fail_msg("%s: %d %s", open_cases[i].what, r, err.text);
		wof_stream_close(s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),    cmocka_unit_test(test_long_table),
		cmocka_unit_test(test_entry_width),   cmocka_unit_test(test_damaged_table),
		cmocka_unit_test(test_damaged_chunk), cmocka_unit_test(test_open),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
