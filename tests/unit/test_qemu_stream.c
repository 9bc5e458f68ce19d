/* Streams are built record by record here; tests/unit/test_memory_trip.c does the same with what a real QEMU sends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/io.h"
#include "snapshot/qemu_stream.h"
#include "snapshot/qemu_stream_head.h"

enum { SECTION = 2, MIB = 1 << 20, PAGE = QEMU_STREAM_PAGE };

/* ---- A builder ------------------------------------------------------------------------------------------------ */

struct stream {
	uint8_t bytes[256 << 10];
	size_t len;
};

static void u8(struct stream *s, unsigned v)
{
	assert_true(s->len < sizeof(s->bytes));
	s->bytes[s->len++] = (uint8_t)v;
}

static void u32(struct stream *s, uint32_t v)
{
	for (int i = 24; i >= 0; i -= 8)
		u8(s, v >> i & 255);
}

static void u64(struct stream *s, uint64_t v)
{
	u32(s, (uint32_t)(v >> 32));
	u32(s, (uint32_t)v);
}

static void text(struct stream *s, const char *t)
{
	while (*t)
		u8(s, (uint8_t)*t++);
}

static void name(struct stream *s, const char *t)
{
	u8(s, (unsigned)strlen(t));
	text(s, t);
}

static void magic(struct stream *s)
{
	u32(s, 0x5145564d);
	u32(s, 3);
}

static void configuration(struct stream *s)
{
	u8(s, 7);
	u32(s, 7);
	text(s, "pc-q35-");
}

static void subsection(struct stream *s, const char *n)
{
	u8(s, 5);
	name(s, n);
	u32(s, 1);
}

static void footer(struct stream *s)
{
	u8(s, 0x7e);
	u32(s, SECTION);
}

static void ram_start(struct stream *s)
{
	u8(s, 1);
	u32(s, SECTION);
	name(s, "ram");
	u32(s, 0);
	u32(s, 4);
}

/* Two blocks: 8 pages of "pc.ram" and 2 of "pc.rom". */
static void block_list(struct stream *s)
{
	u64(s, 10 * PAGE | 4);
	name(s, "pc.ram");
	u64(s, 8 * PAGE);
	name(s, "pc.rom");
	u64(s, 2 * PAGE);
}

static void head(struct stream *s)
{
	magic(s);
	configuration(s);
	ram_start(s);
	block_list(s);
	u64(s, 0x10);
	footer(s);
}

static void part(struct stream *s, unsigned type)
{
	u8(s, type);
	u32(s, SECTION);
}

static void end_part(struct stream *s)
{
	u64(s, 0x10);
	footer(s);
}

static void page_in(struct stream *s, const char *block, uint64_t number, unsigned fill)
{
	u64(s, number * PAGE | 8 | (block ? 0 : 0x20));
	if (block)
		name(s, block);
	for (int i = 0; i < PAGE; i++)
		u8(s, fill);
}

static void zero_in(struct stream *s, const char *block, uint64_t number)
{
	u64(s, number * PAGE | 2 | (block ? 0 : 0x20));
	if (block)
		name(s, block);
	u8(s, 0);
}

static void tail(struct stream *s)
{
	u8(s, 4);
	u32(s, 9);
	name(s, "timer");
	text(s, "state");
	u8(s, 0);
	u8(s, 6);
	u32(s, 10);
	text(s, "{\"a\": [1]}");
}

static int index_of(const struct stream *s, uint64_t ram_max, struct qemu_stream **out,
		    struct err *err)
{
	int fd = memfd_create("stream", MFD_CLOEXEC), r;

	assert_true(fd >= 0);
	assert_int_equal(io_write_full(fd, s->bytes, s->len), 0);
	*out = NULL;
	r = qemu_stream_index(out, fd, ram_max, err);
	if (r < 0)
		close(fd);
	return r;
}

static void release(struct qemu_stream *q)
{
	close(q->fd);
	qemu_stream_free(q);
}

static unsigned first_byte(struct qemu_stream *q, size_t block, uint64_t number)
{
	struct volume_input in = qemu_stream_block_input(q, block);
	uint8_t byte = 0xff;

	assert_int_equal(in.read(in.ctx, &byte, 1, number * PAGE, NULL), 0);
	return byte;
}

/* ---- What is right ------------------------------------------------------------------------------------------- */

/* Out of order, CONTINUE across sections, no SECTION_END. */
static void test_qemu_stream_background_snapshot(void **state)
{
	static struct stream s;
	struct qemu_stream *q;
	struct err err = { 0 };
	size_t head_len;

	(void)state;
	s.len = 0;
	head(&s);
	head_len = s.len;
	part(&s, 2);
	page_in(&s, "pc.ram", 5, 0x55);
	page_in(&s, NULL, 1, 0x11);
	page_in(&s, "pc.rom", 0, 0xaa);
	end_part(&s);
	part(&s, 2);
	page_in(&s, NULL, 1, 0xab);
	zero_in(&s, "pc.ram", 0);
	end_part(&s);
	size_t tail_at = s.len;
	tail(&s);

	assert_int_equal(index_of(&s, 10 * PAGE, &q, &err), 0);
	assert_int_equal(q->block_count, 2);
	assert_string_equal(q->blocks[0].name, "pc.ram");
	assert_int_equal(q->blocks[1].size, 2 * PAGE);
	assert_int_equal(q->ram_section, SECTION);
	assert_int_equal(q->head_len, head_len);
	assert_int_equal(q->tail_at, tail_at);
	assert_int_equal(q->tail_len, s.len - tail_at);
	assert_int_equal(first_byte(q, 0, 0), 0);
	assert_int_equal(first_byte(q, 0, 1), 0x11);
	assert_int_equal(first_byte(q, 0, 2), 0);
	assert_int_equal(first_byte(q, 0, 5), 0x55);
	assert_int_equal(first_byte(q, 1, 0), 0xaa);
	assert_int_equal(first_byte(q, 1, 1), 0xab);

	struct volume_input in = qemu_stream_head_input(q);
	uint8_t bytes[64];
	assert_int_equal(in.size, head_len);
	assert_int_equal(in.read(in.ctx, bytes, sizeof(bytes), 8, NULL), 0);
	assert_memory_equal(bytes, s.bytes + 8, sizeof(bytes));
	in = qemu_stream_tail_input(q);
	assert_int_equal(in.read(in.ctx, bytes, 10, in.size - 10, NULL), 0);
	assert_memory_equal(bytes, "{\"a\": [1]}", 10);
	assert_int_equal(in.read(in.ctx, bytes, 11, in.size - 10, NULL), -EINVAL);
	release(q);
}

static void test_qemu_stream_precopy_last_page_wins(void **state)
{
	static struct stream s;
	struct qemu_stream *q;
	struct err err = { 0 };

	(void)state;
	s.len = 0;
	head(&s);
	part(&s, 2);
	page_in(&s, "pc.ram", 3, 1);
	page_in(&s, NULL, 4, 2);
	zero_in(&s, NULL, 6);
	end_part(&s);
	u8(&s, 8); /* SWITCHOVER_START */
	u32(&s, 11 << 16);
	part(&s, 3);
	page_in(&s, "pc.ram", 3, 7);
	zero_in(&s, NULL, 4);
	page_in(&s, NULL, 6, 9);
	end_part(&s);
	tail(&s);
	assert_int_equal(index_of(&s, MIB, &q, &err), 0);
	assert_int_equal(first_byte(q, 0, 3), 7);
	assert_int_equal(first_byte(q, 0, 4), 0);
	assert_int_equal(first_byte(q, 0, 6), 9);
	release(q);
}

static void test_qemu_stream_configurations(void **state)
{
	static struct stream s;
	struct qemu_stream *q;
	struct err err = { 0 };

	(void)state;
	for (int subsections = 0; subsections < 3; subsections++) {
		s.len = 0;
		magic(&s);
		if (subsections > 0)
			configuration(&s);
		if (subsections > 1) {
			subsection(&s, "configuration/target-page-bits");
			u32(&s, 12);
			subsection(&s, "configuration/uuid");
			u64(&s, 1);
			u64(&s, 2);
			subsection(&s, "configuration/capabilities");
			u32(&s, 0);
		}
		ram_start(&s);
		block_list(&s);
		u64(&s, 0x10);
		footer(&s);
		tail(&s);
		assert_int_equal(index_of(&s, MIB, &q, &err), 0);
		release(q);
	}
}

static void test_qemu_stream_multifd_needs_every_page(void **state)
{
	static struct stream s;
	struct qemu_stream *q;
	struct err err = { 0 };

	(void)state;
	for (unsigned pages = 9; pages <= 10; pages++) {
		s.len = 0;
		magic(&s);
		configuration(&s);
		ram_start(&s);
		block_list(&s);
		u64(&s, 0x200);
		u64(&s, 0x10);
		footer(&s);
		part(&s, 2);
		u64(&s, 0x200);
		for (unsigned i = 0; i < 8; i++)
			zero_in(&s, i ? NULL : "pc.ram", i);
		for (unsigned i = 8; i < pages; i++)
			page_in(&s, i > 8 ? NULL : "pc.rom", i - 8, 1);
		u64(&s, 0x200);
		end_part(&s);
		tail(&s);
		if (pages == 10) {
			assert_int_equal(index_of(&s, MIB, &q, &err), 0);
			release(q);
		} else {
			assert_int_equal(index_of(&s, MIB, &q, &err), -EBADMSG);
			assert_non_null(strstr(err.text, "page 1 of block pc.rom"));
		}
	}
}

static void test_qemu_stream_reads_any_range(void **state)
{
	static struct stream s;
	static uint8_t want[8 * PAGE], got[8 * PAGE];
	struct qemu_stream *q;
	struct volume_input in;
	struct err err = { 0 };
	uint64_t len;
	bool zero;

	(void)state;
	s.len = 0;
	head(&s);
	part(&s, 2);
	for (unsigned i = 1; i < 6; i++) {
		if (i == 4)
			continue;
		page_in(&s, i == 1 ? "pc.ram" : NULL, i, 0);
		for (unsigned k = 0; k < PAGE; k++)
			s.bytes[s.len - PAGE + k] = want[i * PAGE + k] =
				(uint8_t)(i * 31 + k * 7 + (k >> 8));
	}
	end_part(&s);
	tail(&s);
	assert_int_equal(index_of(&s, MIB, &q, &err), 0);
	in = qemu_stream_block_input(q, 0);
	for (size_t from = 0; from < sizeof(want); from += 1021) {
		for (size_t n = 0; n <= sizeof(want) - from; n += 1531) {
			memset(got, 0xee, sizeof(got));
			assert_int_equal(in.read(in.ctx, got, n, from, &err), 0);
			assert_memory_equal(got, want + from, n);
			assert_true(n == sizeof(got) || got[n] == 0xee);
		}
	}
	assert_int_equal(in.read(in.ctx, got, 2, sizeof(want) - 1, &err), -EINVAL);

	/* zero, data 1..3, zero 4, data 5, zero 6..7 */
	static const struct {
		uint64_t offset, len;
		bool zero;
	} extents[] = {
		{ 0, PAGE, true },        { 100, PAGE - 100, true }, { PAGE, 3 * PAGE, false },
		{ 4 * PAGE, PAGE, true }, { 5 * PAGE, PAGE, false }, { 6 * PAGE, 2 * PAGE, true },
	};
	for (size_t i = 0; i < ARRAY_LEN(extents); i++) {
		assert_int_equal(in.extent(in.ctx, extents[i].offset, &len, &zero, &err), 0);
		assert_int_equal(len, extents[i].len);
		assert_int_equal(zero, extents[i].zero);
	}
	assert_int_equal(in.extent(in.ctx, in.size, &len, &zero, &err), -EINVAL);
	release(q);
}

/* ---- What is wrong ------------------------------------------------------------------------------------------- */

/* A line each. */
/* clang-format off */
static void broken_magic(struct stream *s) { u32(s, 0x7f454c46); u32(s, 3); }
static void broken_version(struct stream *s) { u32(s, 0x5145564d); u32(s, 2); }
static void mapped_ram(struct stream *s)
{
	magic(s); configuration(s); subsection(s, "configuration/capabilities"); u32(s, 1); name(s, "mapped-ram");
}
static void big_pages(struct stream *s)
{
	magic(s); configuration(s); subsection(s, "configuration/target-page-bits"); u32(s, 16);
}
static void unknown_subsection(struct stream *s) { magic(s); configuration(s); subsection(s, "configuration/x"); }
static void command_first(struct stream *s) { magic(s); configuration(s); u8(s, 8); u32(s, 1 << 16); }
static void device_first(struct stream *s) { magic(s); configuration(s); u8(s, 4); }
static void other_live(struct stream *s) { magic(s); u8(s, 1); u32(s, SECTION); name(s, "dirty-bitmap"); }
static void page_first(struct stream *s) { magic(s); ram_start(s); u64(s, 8); }
static void odd_block(struct stream *s) { magic(s); ram_start(s); u64(s, 2 * PAGE | 4); name(s, "a"); u64(s, 4097); }
static void large_block(struct stream *s) { magic(s); ram_start(s); u64(s, PAGE | 4); name(s, "a"); u64(s, 2 * PAGE); }
static void empty_block(struct stream *s) { magic(s); ram_start(s); u64(s, PAGE | 4); name(s, "a"); u64(s, 0); }
static void twin_block(struct stream *s)
{
	magic(s); ram_start(s); u64(s, 2 * PAGE | 4); name(s, "a"); u64(s, PAGE); name(s, "a"); u64(s, PAGE);
}
static void many_blocks(struct stream *s)
{
	magic(s); ram_start(s); u64(s, 65 * PAGE | 4);
	for (unsigned i = 0; i < 65; i++) {
		u8(s, 2); u8(s, 'a' + i / 16); u8(s, 'a' + i % 16); u64(s, PAGE);
	}
}
static void no_footer(struct stream *s) { magic(s); ram_start(s); block_list(s); u64(s, 0x10); u8(s, 2); }
static void beyond(struct stream *s) { head(s); part(s, 2); page_in(s, "pc.rom", 2, 1); }
static void far_beyond(struct stream *s) { head(s); part(s, 2); page_in(s, "pc.rom", UINT64_MAX / PAGE, 1); }
static void no_such_block(struct stream *s) { head(s); part(s, 2); page_in(s, "vga", 0, 1); }
static void no_block(struct stream *s) { head(s); part(s, 2); page_in(s, NULL, 0, 1); }
static void odd_fill(struct stream *s) { head(s); part(s, 2); u64(s, 2); name(s, "pc.ram"); u8(s, 1); }
static void xbzrle(struct stream *s) { head(s); part(s, 2); u64(s, 0x40); }
static void compress(struct stream *s) { head(s); part(s, 2); u64(s, 0x120); }
static void second_list(struct stream *s) { head(s); part(s, 2); u64(s, PAGE | 4); }
static void both_flags(struct stream *s) { head(s); part(s, 2); u64(s, 0x0a); }
static void other_section(struct stream *s) { head(s); u8(s, 2); u32(s, 5); }
static void after_end(struct stream *s) { head(s); part(s, 3); end_part(s); part(s, 2); }
static void postcopy(struct stream *s) { head(s); u8(s, 8); u32(s, 4 << 16); }
static void odd_section(struct stream *s) { head(s); u8(s, 9); }
static void no_end(struct stream *s) { head(s); u8(s, 4); text(s, "and then nothing but device state"); }
static void wrong_end(struct stream *s) { head(s); tail(s); u8(s, '}'); }
/* clang-format on */

static const struct {
	const char *name;
	void (*build)(struct stream *s);
	uint64_t at; /* the offset that the error names; 0: none */
	const char *says;
} wrong[] = {
	{ "magic", broken_magic, 0, "QEVM" },
	{ "version", broken_version, 4, "version 3" },
	{ "mapped-ram", mapped_ram, 56, "capability mapped-ram" },
	{ "page size", big_pages, 56, "not of 4096 bytes" },
	{ "subsection", unknown_subsection, 21, "configuration/x" },
	{ "command first", command_first, 20, "return-path" },
	{ "device first", device_first, 20, "virtio-mem" },
	{ "other live device", other_live, 13, "dirty-bitmap" },
	{ "no list", page_first, 25, "list of blocks" },
	{ "odd block", odd_block, 33, "block a cannot be of 4097 bytes" },
	{ "large block", large_block, 33, "block a cannot be of 8192 bytes" },
	{ "empty block", empty_block, 33, "block a cannot be of 0 bytes" },
	{ "twin block", twin_block, 43, "block a is listed twice" },
	{ "many blocks", many_blocks, 737, "more than 64 blocks" },
	{ "no footer", no_footer, 71, "no footer" },
	{ "page beyond", beyond, 93, "page beyond the end of block pc.rom" },
	{ "page far beyond", far_beyond, 93, "page beyond the end of block pc.rom" },
	{ "unknown block", no_such_block, 101, "not in the list" },
	{ "no block", no_block, 93, "names no block" },
	{ "odd fill", odd_fill, 108, "not zero" },
	{ "xbzrle", xbzrle, 93, "capability xbzrle" },
	{ "compress", compress, 93, "capability compress" },
	{ "second list", second_list, 93, "second list" },
	{ "two flags", both_flags, 93, "unknown flags" },
	{ "other section", other_section, 89, "other than RAM" },
	{ "RAM after its end", after_end, 106, "after its end" },
	{ "postcopy", postcopy, 88, "turn postcopy-ram off" },
	{ "section type", odd_section, 88, "unknown section type" },
	{ "no end", no_end, 0, "cut off" },
	{ "wrong end", wrong_end, 0, "cut off" },
};

static void test_qemu_stream_names_what_is_wrong(void **state)
{
	static struct stream s;
	struct qemu_stream *q;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		struct err err = { 0 };
		char place[64];

		s.len = 0;
		wrong[i].build(&s);
		if (index_of(&s, MIB, &q, &err) != -EBADMSG)
			fail_msg("%s: accepted, or %s", wrong[i].name, err.text);
		snprintf(place, sizeof(place), "offset %llu:", (unsigned long long)wrong[i].at);
		if (!strstr(err.text, wrong[i].says) || (wrong[i].at && !strstr(err.text, place)))
			fail_msg("%s: %s", wrong[i].name, err.text);
	}
}

/* Each shorter stream is refused, and its beginning says when the instant was reached. */
static void test_qemu_stream_cut_anywhere(void **state)
{
	static struct stream s;
	struct qemu_stream *q;
	size_t head_len, full;

	(void)state;
	s.len = 0;
	head(&s);
	head_len = s.len;
	part(&s, 2);
	page_in(&s, "pc.ram", 0, 1);
	end_part(&s);
	tail(&s);
	full = s.len;
	for (size_t n = 0; n < full; n++) {
		struct err err = { 0 };

		s.len = n;
		assert_int_equal(index_of(&s, MIB, &q, &err), -EBADMSG);
		assert_non_null(strstr(err.text, "cut off"));
		assert_int_equal(qemu_stream_instant_reached(s.bytes, n), n > head_len ? 1 : 0);
	}
	s.bytes[head_len] = 4;
	assert_int_equal(qemu_stream_instant_reached(s.bytes, full), -EBADMSG);
	s.bytes[0] = 0;
	assert_int_equal(qemu_stream_instant_reached(s.bytes, 4), -EBADMSG);
}

static void test_qemu_stream_bounds_memory(void **state)
{
	static struct stream s;
	struct qemu_stream *q;
	struct err err = { 0 };

	(void)state;
	s.len = 0;
	head(&s);
	tail(&s);
	assert_int_equal(index_of(&s, 10 * PAGE - 1, &q, &err), -EMSGSIZE);

	s.len = 0;
	magic(&s);
	ram_start(&s);
	u64(&s, (UINT64_MAX & ~(uint64_t)(PAGE - 1)) | 4);
	name(&s, "pc.ram");
	u64(&s, UINT64_MAX & ~(uint64_t)(PAGE - 1));
	u64(&s, 0x10);
	footer(&s);
	tail(&s);
	assert_int_equal(index_of(&s, 1ull << 40, &q, &err), -EMSGSIZE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_qemu_stream_background_snapshot),
		cmocka_unit_test(test_qemu_stream_precopy_last_page_wins),
		cmocka_unit_test(test_qemu_stream_configurations),
		cmocka_unit_test(test_qemu_stream_multifd_needs_every_page),
		cmocka_unit_test(test_qemu_stream_reads_any_range),
		cmocka_unit_test(test_qemu_stream_names_what_is_wrong),
		cmocka_unit_test(test_qemu_stream_cut_anywhere),
		cmocka_unit_test(test_qemu_stream_bounds_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
