/* Attributes of NTFS read straight: resident, in runs, in pieces that an attribute list names; what contradicts itself is an
 * error. The volume is memory in which each byte of a cluster is the cluster's number.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "common/le.h"
#include "mgmt-server/scan/ntfs_value.h"
#include "tests/lib/reader_sink.h"

enum { CLUSTER = 1024, CLUSTERS = 64, RECORD = 1024, RECORDS = 4, FIRST = 56, FILE_RECORD = 1 };

static uint8_t volume[CLUSTERS * CLUSTER], table[RECORDS][RECORD];

static void put16(uint8_t *to, unsigned v)
{
	to[0] = (uint8_t)v;
	to[1] = (uint8_t)(v >> 8);
}

/* ---- records ---- */

static uint8_t *record_new(unsigned number, uint64_t base)
{
	uint8_t *r = table[number];

	memset(r, 0, RECORD);
	memcpy(r, "FILE", 4);
	put16(r + 4, 48);
	put16(r + 6, RECORD / 512 + 1);
	put16(r + 16, 7 + number); /* sequence */
	put16(r + 20, FIRST);
	put16(r + 22, 1);
	le_put32(r + 24, FIRST + 4);
	le_put64(r + 32, base);
	le_put32(r + FIRST, UINT32_MAX);
	return r;
}

static uint64_t reference(unsigned number)
{
	return (uint64_t)(7 + number) << 48 | number;
}

/* Space for an attribute at the record's end; the caller fills in what is behind the name. */
static uint8_t *attribute(unsigned number, uint32_t type, const char *name, unsigned header,
			  size_t len)
{
	uint8_t *r = table[number], *a = r + le_get32(r + 24) - 4;
	unsigned named = (unsigned)strlen(name) * 2,
		 whole = (header + named + (unsigned)len + 7) & ~7u;

	assert_true(a + whole + 4 <= r + RECORD);
	le_put32(a, type);
	le_put32(a + 4, whole);
	a[8] = header == 64;
	a[9] = (uint8_t)strlen(name);
	put16(a + 10, header);
	for (size_t i = 0; name[i]; i++)
		a[header + 2 * i] = (uint8_t)name[i];
	le_put32(a + whole, UINT32_MAX);
	le_put32(r + 24, (uint32_t)(a + whole + 4 - r));
	return a;
}

static void resident(unsigned number, uint32_t type, const char *name, const void *value,
		     size_t len)
{
	uint8_t *a = attribute(number, type, name, 24, len);
	unsigned at = 24 + 2 * (unsigned)strlen(name);

	le_put32(a + 16, (uint32_t)len);
	put16(a + 20, at);
	memcpy(a + at, value, len);
}

struct piece {
	unsigned number, id;
	const char *name;
	uint64_t first, last; /* clusters of the attribute */
	uint64_t size, written;
	const char *pairs;
};

/* Returned, so that a case can spoil it. */
static uint8_t *in_runs(uint32_t type, struct piece p)
{
	size_t len = strlen(p.pairs) + 1;
	uint8_t *a = attribute(p.number, type, p.name, 64, len);
	unsigned at = 64 + 2 * (unsigned)strlen(p.name);

	put16(a + 14, p.id);
	le_put64(a + 16, p.first);
	le_put64(a + 24, p.last);
	put16(a + 32, at);
	le_put64(a + 40, (p.last + 1) * CLUSTER);
	le_put64(a + 48, p.size);
	le_put64(a + 56, p.written);
	memcpy(a + at, p.pairs, len);
	return a;
}

struct listed {
	const char *name;
	uint64_t first, reference;
	unsigned id;
};

static size_t list_entry(uint8_t *to, struct listed l)
{
	size_t len = (26 + 2 * strlen(l.name) + 7) & ~7u;

	memset(to, 0, len);
	le_put32(to, NTFS_ATTRIBUTE_DATA);
	put16(to + 4, (unsigned)len);
	to[6] = (uint8_t)strlen(l.name);
	to[7] = 26;
	le_put64(to + 8, l.first);
	le_put64(to + 16, l.reference);
	put16(to + 24, l.id);
	for (size_t i = 0; l.name[i]; i++)
		to[26 + 2 * i] = (uint8_t)l.name[i];
	return len;
}

static void list(const struct listed *entries, size_t count)
{
	uint8_t bytes[512] = { 0 };
	size_t len = 0;

	for (size_t i = 0; i < count; i++)
		len += list_entry(bytes + len, entries[i]);
	resident(FILE_RECORD, NTFS_ATTRIBUTE_LIST, "", bytes, len);
}

/* ---- cases ---- */

/* 2 clusters at 10, 1 hole, 1 at 11 (one further), of which 3 KiB and a bit count. */
#define PAIRS "\x11\x02\x0a\x01\x01\x11\x01\x01"
enum { IN_PAIRS = 4, SIZE = 3 * CLUSTER + 100 };

static void plain(void)
{
	resident(FILE_RECORD, NTFS_ATTRIBUTE_DATA, "", "main", 4);
	in_runs(NTFS_ATTRIBUTE_DATA,
		(struct piece){ FILE_RECORD, 2, "Wof", 0, IN_PAIRS - 1, SIZE, SIZE, PAIRS });
}

static void no_such(void)
{
	resident(FILE_RECORD, NTFS_ATTRIBUTE_DATA, "Wofx", "main", 4);
	resident(FILE_RECORD, NTFS_ATTRIBUTE_REPARSE, "Wof", "main", 4);
}

static void in_the_record(void)
{
	resident(FILE_RECORD, NTFS_ATTRIBUTE_DATA, "wOF", "\x0a\x0a", 2);
}

static void of_no_bytes(void)
{
	resident(FILE_RECORD, NTFS_ATTRIBUTE_DATA, "Wof", "", 0);
}

static void partly_written(void)
{
	in_runs(NTFS_ATTRIBUTE_DATA,
		(struct piece){ FILE_RECORD, 2, "Wof", 0, IN_PAIRS - 1, SIZE, CLUSTER + 1, PAIRS });
}

static void never_written(void)
{
	in_runs(NTFS_ATTRIBUTE_DATA,
		(struct piece){ FILE_RECORD, 2, "Wof", 0, IN_PAIRS - 1, SIZE, 0, PAIRS });
}

/* In records 2 and 3; @last: what the list says of the second piece, if not the truth. */
static void two_pieces(struct piece second, uint64_t base, const struct listed *last)
{
	struct listed entries[] = { { "", 0, reference(FILE_RECORD), 1 },
				    { "Wof", 0, reference(2), 4 },
				    { "Wof", 2, reference(3), 5 } };

	if (last)
		entries[2] = *last;
	list(entries, 3);
	record_new(2, reference(FILE_RECORD));
	record_new(3, base);
	in_runs(NTFS_ATTRIBUTE_DATA,
		(struct piece){ 2, 4, "Wof", 0, 1, SIZE, SIZE, "\x11\x02\x0a" });
	in_runs(NTFS_ATTRIBUTE_DATA, second);
}

static const struct piece second_piece = { 3, 5, "Wof", 2, 3, 0, 0, "\x01\x01\x11\x01\x0b" };

static void by_list(void)
{
	two_pieces(second_piece, reference(FILE_RECORD), NULL);
}

/* The same, but the list lies in a cluster of its own. */
static void by_list_in_runs(void)
{
	const struct listed entries[] = { { "Wof", 0, reference(2), 4 },
					  { "Wof", 2, reference(3), 5 } };
	size_t len;

	record_new(FILE_RECORD, 0);
	len = list_entry(volume + 40 * CLUSTER, entries[0]);
	len += list_entry(volume + 40 * CLUSTER + len, entries[1]);
	in_runs(NTFS_ATTRIBUTE_LIST,
		(struct piece){ FILE_RECORD, 0, "", 0, 0, len, len, "\x11\x01\x28" });
	record_new(2, reference(FILE_RECORD));
	record_new(3, reference(FILE_RECORD));
	in_runs(NTFS_ATTRIBUTE_DATA,
		(struct piece){ 2, 4, "Wof", 0, 1, SIZE, SIZE, "\x11\x02\x0a" });
	in_runs(NTFS_ATTRIBUTE_DATA, second_piece);
}

static void list_with_a_gap(void)
{
	struct piece p = second_piece;
	const struct listed last = { "Wof", 3, reference(3), 5 };

	p.first = 3;
	p.last = 4;
	two_pieces(p, reference(FILE_RECORD), &last);
}

static void list_of_another_file(void)
{
	two_pieces(second_piece, reference(2), NULL);
}

static void list_of_an_older_file(void)
{
	two_pieces(second_piece, reference(FILE_RECORD) + (1ULL << 48), NULL);
}

static void list_into_nothing(void)
{
	const struct listed last = { "Wof", 2, reference(3), 6 };

	two_pieces(second_piece, reference(FILE_RECORD), &last);
}

static void list_beyond_the_table(void)
{
	const struct listed last = { "Wof", 2, reference(RECORDS), 5 };

	two_pieces(second_piece, reference(FILE_RECORD), &last);
}

static void list_in_a_loop(void)
{
	const struct listed last = { "Wof", 0, reference(2), 4 };

	two_pieces(second_piece, reference(FILE_RECORD), &last);
}

static void list_cut_short(void)
{
	uint8_t bytes[64] = { 0 };

	list_entry(bytes, (struct listed){ "Wof", 0, reference(2), 4 });
	resident(FILE_RECORD, NTFS_ATTRIBUTE_LIST, "", bytes, 30);
}

static void two_of_it(void)
{
	plain();
	resident(FILE_RECORD, NTFS_ATTRIBUTE_DATA, "Wof", "\x0a", 1);
}

static void compressed(void)
{
	put16(in_runs(NTFS_ATTRIBUTE_DATA,
		      (struct piece){ FILE_RECORD, 2, "Wof", 0, IN_PAIRS - 1, SIZE, SIZE, PAIRS }) +
		      12,
	      1);
}

static void compressed_unwritten(void)
{
	put16(in_runs(NTFS_ATTRIBUTE_DATA,
		      (struct piece){ FILE_RECORD, 2, "Wof", 0, IN_PAIRS - 1, SIZE, 0, PAIRS }) +
		      12,
	      1);
}

static void encrypted(void)
{
	put16(in_runs(NTFS_ATTRIBUTE_DATA,
		      (struct piece){ FILE_RECORD, 2, "Wof", 0, IN_PAIRS - 1, SIZE, SIZE, PAIRS }) +
		      12,
	      0x4000);
}

static void longer_than_its_runs(void)
{
	in_runs(NTFS_ATTRIBUTE_DATA, (struct piece){ FILE_RECORD, 2, "Wof", 0, IN_PAIRS - 1,
						     IN_PAIRS * CLUSTER + 1, 0, PAIRS });
}

static void more_written_than_there_is(void)
{
	in_runs(NTFS_ATTRIBUTE_DATA,
		(struct piece){ FILE_RECORD, 2, "Wof", 0, IN_PAIRS - 1, SIZE, SIZE + 1, PAIRS });
}

static void runs_of_other_length(void)
{
	in_runs(NTFS_ATTRIBUTE_DATA,
		(struct piece){ FILE_RECORD, 2, "Wof", 0, IN_PAIRS, SIZE, SIZE, PAIRS });
}

static void runs_beyond_the_volume(void)
{
	in_runs(NTFS_ATTRIBUTE_DATA,
		(struct piece){ FILE_RECORD, 2, "Wof", 0, 1, CLUSTER, CLUSTER, "\x11\x02\x3f" });
}

static void runs_before_the_volume(void)
{
	in_runs(NTFS_ATTRIBUTE_DATA,
		(struct piece){ FILE_RECORD, 2, "Wof", 0, 1, CLUSTER, CLUSTER, "\x11\x02\xf0" });
}

static void runs_without_end(void)
{
	in_runs(NTFS_ATTRIBUTE_DATA, (struct piece){ FILE_RECORD, 2, "Wof", 0, 1, CLUSTER, CLUSTER,
						     "\x08\xff\xff\xff\xff\xff\xff\xff\x7f" });
}

static void a_free_record(void)
{
	plain();
	put16(table[FILE_RECORD] + 22, 0);
}

static const struct {
	const char *what;
	void (*build)(void);
	int want;
	const char *reason;
	uint64_t size;
	const char *bytes; /* at 0, at 1 KiB, 2 KiB, 3 KiB and at the end */
} cases[] = {
	{ "in runs, with a hole", plain, 0, NULL, SIZE, "\x0a\x0b\x00\x0b\x0b" },
	{ "other names and types", no_such, NTFS_VALUE_ABSENT, NULL, 0, NULL },
	{ "resident; upper and lower case", in_the_record, 0, NULL, 2, "\x0a...\x0a" },
	{ "resident, empty", of_no_bytes, 0, NULL, 0, "....." },
	{ "the rest was never written", partly_written, 0, NULL, SIZE, "\x0a\x0b\0\0\0" },
	{ "nothing was ever written", never_written, 0, NULL, SIZE, "\0\0\0\0\0" },
	{ "by a list", by_list, 0, NULL, SIZE, "\x0a\x0b\x00\x0b\x0b" },
	{ "by a list in runs", by_list_in_runs, 0, NULL, SIZE, "\x0a\x0b\x00\x0b\x0b" },
	{ "list: a gap", list_with_a_gap, -EBADMSG, "gap", 0, NULL },
	{ "list: another file's", list_of_another_file, -EBADMSG, "does not continue", 0, NULL },
	{ "list: a file before", list_of_an_older_file, -EBADMSG, "does not continue", 0, NULL },
	{ "list: no such piece", list_into_nothing, -EBADMSG, "not there", 0, NULL },
	{ "list: no such record", list_beyond_the_table, -EIO, "no record", 0, NULL },
	{ "list: a piece again", list_in_a_loop, -EBADMSG, "gap", 0, NULL },
	{ "list: cut short", list_cut_short, -EBADMSG, "list is damaged", 0, NULL },
	{ "two of it", two_of_it, -EBADMSG, "two of it", 0, NULL },
	{ "compressed", compressed, -EOPNOTSUPP, "compressed", 0, NULL },
	{ "encrypted", encrypted, -EOPNOTSUPP, "encrypted", 0, NULL },
	{ "too long", longer_than_its_runs, -EBADMSG, "longer than its runs", 0, NULL },
	{ "too much written", more_written_than_there_is, -EBADMSG, "more of it", 0, NULL },
	{ "runs: their length", runs_of_other_length, -EBADMSG, "as long as", 0, NULL },
	{ "runs: beyond the volume", runs_beyond_the_volume, -EBADMSG, "no sense", 0, NULL },
	{ "runs: before the volume", runs_before_the_volume, -EBADMSG, "no sense", 0, NULL },
	{ "runs: more than can be", runs_without_end, -EBADMSG, "no sense", 0, NULL },
	{ "a free record", a_free_record, -EBADMSG, "free", 0, NULL },
};

static int give_record(void *ctx, uint64_t number, uint8_t *buf, struct err *err)
{
	(void)ctx;
	if (number >= RECORDS)
		return err_say(err, EIO, "there is no record %llu", (unsigned long long)number);
	memcpy(buf, table[number], RECORD);
	return 0;
}

static void expect_bytes(const struct ntfs_value *v, const char *what, const char *bytes)
{
	uint64_t size = ntfs_value_size(v);
	struct err err = { 0 };
	uint8_t got[SIZE + 1];

	for (unsigned i = 0; i < 5; i++) {
		uint64_t at = i < 4 ? i * CLUSTER : size - 1;

		if (at >= size)
			continue;
		assert_int_equal(ntfs_value_read(v, got, 1, at, &err), 0);
		if (got[0] != (uint8_t)bytes[i])
			fail_msg("%s: %u at %llu", what, got[0], (unsigned long long)at);
	}
	memset(got, 0xee, sizeof(got));
	assert_int_equal(ntfs_value_read(v, got, (size_t)size, 0, &err), 0);
	for (unsigned i = 0; i < 4; i++) {
		if (i * CLUSTER < size)
			assert_int_equal(got[i * CLUSTER], (uint8_t)bytes[i]);
	}
	assert_int_equal(got[size], 0xee);
	assert_int_equal(ntfs_value_read(v, got, 1, size, &err), -EINVAL);
}

static void put_there(void (*build)(void))
{
	for (unsigned c = 0; c < CLUSTERS; c++)
		memset(volume + c * CLUSTER, (int)c, CLUSTER);
	memset(table, 0, sizeof(table));
	record_new(FILE_RECORD, 0);
	build();
}

static const struct ntfs_value_key key = { FILE_RECORD, NTFS_ATTRIBUTE_DATA, "Wof" };

static struct ntfs_value_source source_new(void)
{
	return (struct ntfs_value_source){
		.volume = reader_volume(reader_sink_new(volume, sizeof(volume), 0)),
		.geometry = { .cluster = CLUSTER,
			      .record_size = RECORD,
			      .volume_size = sizeof(volume) },
		.record = give_record,
	};
}

static void test_cases(void **state)
{
	const struct ntfs_value_source source = source_new();

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct ntfs_value *v = NULL;
		struct err err = { 0 };
		int r;

		put_there(cases[i].build);
		r = ntfs_value_open(&v, &source, &key, &err);
		if (r != cases[i].want || (r < 0 && !strstr(err.text, cases[i].reason)))
			fail_msg("%s: %d %s", cases[i].what, r, err.text);
		if (r == 0) {
			assert_int_equal(ntfs_value_size(v), cases[i].size);
			expect_bytes(v, cases[i].what, cases[i].bytes);
		}
		ntfs_value_close(v);
	}
}

static const struct {
	const char *what;
	void (*build)(void);
	int want;
	bool unwritten;
} unwritten_cases[] = {
	{ "all of it was written", plain, 0, false },
	{ "the rest was never written", partly_written, 0, false },
	{ "nothing was ever written", never_written, 0, true },
	{ "compressed", compressed, 0, false },
	{ "compressed, and never written", compressed_unwritten, 0, true },
	{ "there is nothing to write", of_no_bytes, 0, false },
	{ "resident", in_the_record, 0, false },
	{ "by a list", by_list, 0, false },
	{ "no such stream", no_such, NTFS_VALUE_ABSENT, false },
	{ "damaged", longer_than_its_runs, -EBADMSG, false },
};

static void test_unwritten(void **state)
{
	const struct ntfs_value_source source = source_new();

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(unwritten_cases); i++) {
		bool unwritten = !unwritten_cases[i].unwritten;
		struct err err = { 0 };
		int r;

		put_there(unwritten_cases[i].build);
		r = ntfs_value_is_unwritten(&source, &key, &unwritten, &err);
		if (r != unwritten_cases[i].want || unwritten != unwritten_cases[i].unwritten)
			fail_msg("%s: %d %d %s", unwritten_cases[i].what, r, unwritten, err.text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_cases),
					    cmocka_unit_test(test_unwritten) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
