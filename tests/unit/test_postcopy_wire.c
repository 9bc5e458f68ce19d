#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "common/base.h"
#include "common/hex.h"
#include "migrate/postcopy_wire.h"

/* ---- To the destination --------------------------------------------------------------------------------------- */

static void assert_bytes(const struct postcopy_wire_out *out, const char *want)
{
	char got[512];

	assert_true(postcopy_wire_pending(out) < sizeof(got) / 2);
	hex_encode(out->bytes + out->start, postcopy_wire_pending(out), got);
	assert_string_equal(got, want);
}

static void test_postcopy_wire_commands(void **state)
{
	struct postcopy_wire_out out = { 0 };

	(void)state;
	postcopy_wire_put_command(&out, POSTCOPY_WIRE_PING, 4);
	postcopy_wire_put_be(&out, 3, 4);
	assert_bytes(&out, "080002000400000003");
	out.start = out.end;
	postcopy_wire_put_section(&out, 2, 0x0a0b0c0d);
	assert_bytes(&out, "020a0b0c0d");
	out.start = out.end;
	postcopy_wire_put_discard(&out, "ab", 0x1000);
	assert_bytes(&out, "08000600150002616200"
			   "00000000000000000000000000001000");
	postcopy_wire_deinit(&out);
}

static void test_postcopy_wire_pages(void **state)
{
	static uint8_t page[POSTCOPY_WIRE_PAGE];
	struct postcopy_wire_out out = { 0 };

	(void)state;
	postcopy_wire_put_page(&out, "a", 0x3000, NULL);
	postcopy_wire_put_page(&out, NULL, 0x4000, NULL);
	assert_bytes(&out, "0000000000003002016100"
			   "000000000000402200");
	out.start = out.end;
	memset(page, 7, sizeof(page));
	postcopy_wire_put_page(&out, NULL, 0x5000, page);
	assert_int_equal(postcopy_wire_pending(&out), 8 + sizeof(page));
	assert_memory_equal(out.bytes + out.start, "\0\0\0\0\0\0\x50\x28", 8);
	assert_memory_equal(out.bytes + out.start + 8, page, sizeof(page));
	postcopy_wire_deinit(&out);
}

/* Bytes come out as they went in, however they are taken. */
static void test_postcopy_wire_queue(void **state)
{
	struct postcopy_wire_out out = { 0 };
	uint8_t block[5000];
	uint64_t written = 0, taken = 0;

	(void)state;
	for (unsigned round = 0; round < 2000; round++) {
		size_t n = round * 7919 % sizeof(block);

		for (size_t i = 0; i < n; i++)
			block[i] = (uint8_t)((written + i) * 131 >> 3);
		postcopy_wire_put(&out, block, n);
		written += n;
		for (size_t i = round * 104729 % (postcopy_wire_pending(&out) + 1); i; i--) {
			assert_int_equal(out.bytes[out.start], (uint8_t)(taken * 131 >> 3));
			out.start++;
			taken++;
		}
		assert_int_equal(postcopy_wire_pending(&out), written - taken);
	}
	assert_false(out.failed);
	postcopy_wire_deinit(&out);
}

/* ---- From the destination ------------------------------------------------------------------------------------- */

enum { BITMAP_MAX = 16 };
#define ENDING "0123456789abcdef"

static const struct {
	const char *name, *hex;
	int want;
	enum postcopy_wire_kind kind;
	uint64_t a, b; /* value, or offset and length, or the bitmap's length */
	const char *block;
} messages[] = {
	{ "goodbye", "0001000400000000", 0, POSTCOPY_WIRE_SHUT, 0, 0, "" },
	{ "failure", "0001000400000001", 0, POSTCOPY_WIRE_SHUT, 1, 0, "" },
	{ "pong", "0002000400000003", 0, POSTCOPY_WIRE_PONG, 3, 0, "" },
	{ "resumed", "0006000400000001", 0, POSTCOPY_WIRE_RESUMED, 1, 0, "" },
	{ "request", "0004000c000000000000200000001000", 0, POSTCOPY_WIRE_REQUEST, 0x2000, 0x1000,
	  "" },
	{ "request of a block",
	  "0003000f00000000000020000000400002"
	  "6162",
	  0, POSTCOPY_WIRE_REQUEST, 0x2000, 0x4000, "ab" },
	{ "bitmap",
	  "00050002"
	  "0161"
	  "0000000000000008"
	  "ff00000000000000" ENDING,
	  0, POSTCOPY_WIRE_BITMAP, 8, 0, "a" },
	{ "pong too long", "000200050000000300", -EBADMSG, 0, 0, 0, "" },
	{ "pong too short", "00020003000000", -EBADMSG, 0, 0, 0, "" },
	{ "unknown type", "0009000400000003", -EBADMSG, 0, 0, 0, "" },
	{ "type 0", "0000000400000003", -EBADMSG, 0, 0, 0, "" },
	{ "empty request", "0004000c000000000000200000000000", -EBADMSG, 0, 0, 0, "" },
	{ "half a page", "0004000c000000000000200000000800", -EBADMSG, 0, 0, 0, "" },
	{ "odd offset", "0004000c000000000000200100001000", -EBADMSG, 0, 0, 0, "" },
	{ "name longer than message",
	  "0003000f00000000000020000000400003"
	  "6162",
	  -EBADMSG, 0, 0, 0, "" },
	{ "name shorter than message",
	  "0003000f00000000000020000000400001"
	  "6162",
	  -EBADMSG, 0, 0, 0, "" },
	{ "name with a zero",
	  "0003000f00000000000020000000400002"
	  "6100",
	  -EBADMSG, 0, 0, 0, "" },
	{ "bitmap too large",
	  "00050002"
	  "0161"
	  "0000000000000018",
	  -EBADMSG, 0, 0, 0, "" },
	{ "bitmap without end",
	  "00050002"
	  "0161"
	  "0000000000000000",
	  -EBADMSG, 0, 0, 0, "" },
	{ "bitmap of 2^64 bytes",
	  "00050002"
	  "0161"
	  "fffffffffffffff8",
	  -EBADMSG, 0, 0, 0, "" },
	{ "bitmap with a wrong end",
	  "00050002"
	  "0161"
	  "0000000000000008"
	  "ff00000000000000"
	  "0123456789abcdee",
	  -EBADMSG, 0, 0, 0, "" },
};

static void test_postcopy_wire_messages(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(messages); i++) {
		size_t len = strlen(messages[i].hex) / 2, used = 0;
		struct postcopy_wire_message m;
		struct err err = { 0 };
		uint8_t bytes[64];

		assert_int_equal(hex_decode(messages[i].hex, bytes, len), 0);
		if (postcopy_wire_parse(&m, bytes, len, BITMAP_MAX, &used, &err) !=
		    messages[i].want)
			fail_msg("%s: %s", messages[i].name, err.text);
		if (messages[i].want)
			continue;
		assert_int_equal(used, len);
		assert_int_equal(m.kind, messages[i].kind);
		assert_string_equal(m.block, messages[i].block);
		if (m.kind == POSTCOPY_WIRE_REQUEST) {
			assert_int_equal(m.offset, messages[i].a);
			assert_int_equal(m.len, messages[i].b);
		} else if (m.kind == POSTCOPY_WIRE_BITMAP) {
			assert_int_equal(m.bitmap_len, messages[i].a);
			assert_int_equal(m.bitmap[0], 0xff);
		} else {
			assert_int_equal(m.value, messages[i].a);
		}
		/* A message that is not all there yet is no error. */
		for (size_t n = 0; n < len; n++)
			assert_int_equal(postcopy_wire_parse(&m, bytes, n, BITMAP_MAX, &used, &err),
					 POSTCOPY_WIRE_SHORT);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_postcopy_wire_commands),
		cmocka_unit_test(test_postcopy_wire_pages),
		cmocka_unit_test(test_postcopy_wire_queue),
		cmocka_unit_test(test_postcopy_wire_messages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
