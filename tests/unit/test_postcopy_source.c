/* The source against a destination that is played here, so that each byte can be looked at and lies can be told.
 * tests/unit/test_memory_trip.c does the same with a real QEMU. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/hex.h"
#include "common/io.h"
#include "migrate/postcopy_source.h"
#include "migrate/postcopy_wire.h"
#include "snapshot/qemu_stream_head.h"

enum { PAGE = 4096, RAM_PAGES = 1030, ROM_PAGES = 3, SECTION = 2, CHUNKS_MAX = 512 };

/* ---- A store in memory ---------------------------------------------------------------------------------------- */

static struct {
	struct chunk_id ids[CHUNKS_MAX];
	uint8_t *data[CHUNKS_MAX];
	size_t len[CHUNKS_MAX], n;
	pthread_mutex_t lock;
	atomic_uint latency_ms;
	atomic_bool broken; /* from now on */
} chunks = { .lock = PTHREAD_MUTEX_INITIALIZER };

static int find(const struct chunk_id *id)
{
	for (size_t i = 0; i < chunks.n; i++) {
		if (chunk_id_equal(id, &chunks.ids[i]))
			return (int)i;
	}
	return -1;
}

static int query(void *ctx, const struct chunk_id *ids, size_t n, uint8_t *present, struct err *err)
{
	(void)ctx;
	(void)ids;
	(void)err;
	memset(present, 0, (n + 7) / 8);
	return 0;
}

static int put(void *ctx, const struct chunk_encoded *encoded, size_t n, struct err *err)
{
	(void)ctx;
	(void)err;
	pthread_mutex_lock(&chunks.lock);
	for (size_t i = 0; i < n; i++) {
		if (find(&encoded[i].id) >= 0)
			continue;
		assert_true(chunks.n < CHUNKS_MAX);
		chunks.ids[chunks.n] = encoded[i].id;
		chunks.len[chunks.n] = encoded[i].len;
		chunks.data[chunks.n] = malloc(encoded[i].len);
		memcpy(chunks.data[chunks.n++], encoded[i].data, encoded[i].len);
	}
	pthread_mutex_unlock(&chunks.lock);
	return 0;
}

static int get(void *ctx, const struct chunk_id *ids, size_t n, chunk_arrived *fn, void *arg,
	       struct err *err)
{
	(void)ctx;
	clock_sleep_ms(chunks.latency_ms);
	if (chunks.broken)
		return err_say(err, ENOENT, "that chunk is not there");
	for (size_t i = 0; i < n; i++) {
		int at = find(&ids[i]), r;

		assert_true(at >= 0);
		r = fn(arg, i, chunks.data[at], chunks.len[at], err);
		if (r < 0)
			return r;
	}
	return 0;
}

static const struct chunk_source source = { .get = get };

/* ---- A snapshot ----------------------------------------------------------------------------------------------- */

static uint8_t ram[RAM_PAGES * PAGE], rom[ROM_PAGES * PAGE];
static struct postcopy_wire_out head, tail;
static struct manifest snapshot;

struct bytes {
	const uint8_t *p;
};

static int read_bytes(void *ctx, uint8_t *buf, size_t len, uint64_t offset, struct err *err)
{
	const struct bytes *b = ctx;

	(void)err;
	memcpy(buf, b->p + offset, len);
	return 0;
}

static void add(const char *name, enum volume_kind kind, const uint8_t *data, size_t len)
{
	struct bytes bytes = { data };
	struct volume_input input = { .ctx = &bytes, .size = len, .read = read_bytes };
	struct volume_put order = { .input = &input, .sink = { .query = query, .put = put } };
	struct volume *v = &snapshot.volumes[snapshot.volume_count++];
	struct err err = { 0 };

	*v = (struct volume){ .kind = kind,
			      .grid = kind == VOLUME_RAM ? CHUNK_GRID_MEMORY : CHUNK_GRID_BLOB };
	snprintf(v->name, sizeof(v->name), "%s", name);
	if (volume_put(&order, v, NULL, &err) < 0)
		fail_msg("%s", err_text(&err));
}

static void make_head(void)
{
	postcopy_wire_put_be(&head, 0x5145564d00000003, 8);
	postcopy_wire_put_be(&head, 0x0700000002, 5);
	postcopy_wire_put(&head, "pc", 2);
	postcopy_wire_put_section(&head, QEMU_STREAM_HEAD_START, SECTION);
	postcopy_wire_put_name(&head, "ram");
	postcopy_wire_put_be(&head, 4, 8);
	postcopy_wire_put_be(&head, (RAM_PAGES + ROM_PAGES) * PAGE | 4, 8);
	postcopy_wire_put_name(&head, "pc.ram");
	postcopy_wire_put_be(&head, sizeof(ram), 8);
	postcopy_wire_put_name(&head, "pc.rom");
	postcopy_wire_put_be(&head, sizeof(rom), 8);
	postcopy_wire_put_be(&head, 0x10, 8);
	postcopy_wire_put_section(&head, QEMU_STREAM_HEAD_FOOTER, SECTION);
	postcopy_wire_put(&tail,
			  "\x04"
			  "device\0\x06\0\0\0\x02{}",
			  15);
}

static int set_up(void **state)
{
	(void)state;
	/* Every third page is zeros, and so is a run of 40. */
	for (size_t i = 0; i < sizeof(ram); i++)
		ram[i] = i / PAGE % 3 && (i / PAGE < 400 || i / PAGE >= 440)
				 ? (uint8_t)(i / PAGE * 7 + i)
				 : 0;
	memset(rom, 0xf4, sizeof(rom));
	make_head();
	manifest_init(&snapshot);
	add("qemu/head", VOLUME_BLOB, head.bytes, head.end);
	add("qemu/tail", VOLUME_BLOB, tail.bytes, tail.end);
	add("ram/pc.ram", VOLUME_RAM, ram, sizeof(ram));
	add("ram/pc.rom", VOLUME_RAM, rom, sizeof(rom));
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	for (size_t i = 0; i < chunks.n; i++)
		free(chunks.data[i]);
	postcopy_wire_deinit(&head);
	postcopy_wire_deinit(&tail);
	manifest_deinit(&snapshot);
	return 0;
}

/* ---- A destination -------------------------------------------------------------------------------------------- */

struct session {
	pthread_t thread;
	struct postcopy_source order;
	struct postcopy_source_stats stats;
	atomic_bool cancel;
	int fd; /* the destination's end */
	int result;
	struct err err;
	uint8_t seen[RAM_PAGES + ROM_PAGES];
	unsigned pages;
	const uint8_t *block; /* of the page before */
};

static void *run(void *arg)
{
	struct session *s = arg;

	s->result = postcopy_source_run(&s->order, &s->err);
	shutdown(s->order.fd, SHUT_RDWR);
	return NULL;
}

static void begin(struct session *s, bool recover)
{
	int fds[2];

	*s = (struct session){ 0 };
	chunks.broken = false;
	chunks.latency_ms = 0;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	s->fd = fds[1];
	s->order = (struct postcopy_source){ .manifest = &snapshot,
					     .source = source,
					     .fd = fds[0],
					     .recover = recover,
					     .cancel = &s->cancel,
					     .stats = &s->stats };
	assert_int_equal(pthread_create(&s->thread, NULL, run, s), 0);
}

/* Wait until it ends and take what it still sends. */
static int end(struct session *s)
{
	uint8_t waste[4096];

	while (read(s->fd, waste, sizeof(waste)) > 0)
		;
	pthread_join(s->thread, NULL);
	close(s->fd);
	close(s->order.fd);
	return s->result;
}

static void say(struct session *s, const char *hex)
{
	uint8_t bytes[512];
	size_t len = strlen(hex) / 2;

	assert_int_equal(hex_decode(hex, bytes, len), 0);
	assert_int_equal(write(s->fd, bytes, len), (ssize_t)len);
}

static void expect(struct session *s, const void *bytes, size_t len)
{
	uint8_t got[1024];

	assert_true(len <= sizeof(got));
	assert_int_equal(io_read_full(s->fd, got, len), 0);
	assert_memory_equal(got, bytes, len);
}

static void expect_hex(struct session *s, const char *hex)
{
	uint8_t bytes[512];

	assert_int_equal(hex_decode(hex, bytes, strlen(hex) / 2), 0);
	expect(s, bytes, strlen(hex) / 2);
}

#define RAM_NAME "0670632e72616d"
#define ROM_NAME "0670632e726f6d"

static void expect_opening(struct session *s)
{
	expect(s, head.bytes, 15);
	expect_hex(s, "0800010000"
		      "080002000400000001");
	expect_hex(s, "0800030010"
		      "0000000000001000"
		      "0000000000001000");
	expect(s, head.bytes + 15, head.end - 15);
	expect_hex(s, "0800060019"
		      "00" RAM_NAME "00"
		      "0000000000000000"
		      "0000000000406000");
	expect_hex(s, "0800060019"
		      "00" ROM_NAME "00"
		      "0000000000000000"
		      "0000000000003000");
	expect_hex(s, "080002000400000002");
	/* LISTEN, the devices without end mark and description, PING 3, RUN */
	expect_hex(s, "080007000400000"
		      "01a"
		      "0800040000"
		      "04646576696365"
		      "080002000400000003"
		      "0800050000");
}

/* Take one page, check it, and return its number; rom's follow ram's. -1: the end mark came. */
static int take_page(struct session *s)
{
	uint8_t word[8], name_len, name[8], page[PAGE];
	uint64_t address;
	unsigned number;

	assert_int_equal(io_read_full(s->fd, word, 8), 0);
	address = qemu_stream_head_be64(word);
	if (address == QEMU_STREAM_HEAD_RAM_EOS)
		return -1;
	if (!(address & QEMU_STREAM_HEAD_RAM_CONTINUE)) {
		assert_int_equal(io_read_full(s->fd, &name_len, 1), 0);
		assert_int_equal(name_len, 6);
		assert_int_equal(io_read_full(s->fd, name, 6), 0);
		s->block = memcmp(name, "pc.ram", 6) == 0 ? ram : rom;
	}
	number = (unsigned)(address / PAGE) + (s->block == rom ? RAM_PAGES : 0);
	assert_true(number < RAM_PAGES + ROM_PAGES);
	if (address & QEMU_STREAM_HEAD_RAM_ZERO) {
		memset(page, 0, sizeof(page));
		assert_int_equal(io_read_full(s->fd, word, 1), 0);
		assert_int_equal(word[0], 0);
	} else {
		assert_int_equal(io_read_full(s->fd, page, PAGE), 0);
		assert_false(chunk_is_zero(page, PAGE));
	}
	assert_memory_equal(page, s->block + address / PAGE * PAGE, PAGE);
	assert_int_equal(s->seen[number]++, 0);
	s->pages++;
	return (int)number;
}

static void expect_closing(struct session *s)
{
	expect_hex(s, "7e00000002"
		      "0300000002"
		      "0000000000000010"
		      "7e00000002"
		      "00");
	say(s, "0001000400000000");
}

/* ---- Tests ---------------------------------------------------------------------------------------------------- */

static void test_postcopy_source_sends_everything_once(void **state)
{
	struct session s;

	(void)state;
	begin(&s, false);
	expect_opening(&s);
	expect_hex(&s, "0200000002");
	say(&s, "0002000400000003");
	while (take_page(&s) >= 0)
		;
	assert_int_equal(s.pages, RAM_PAGES + ROM_PAGES);
	expect_closing(&s);
	if (end(&s) < 0)
		fail_msg("%s", err_text(&s.err));
	assert_true(s.stats.running);
	assert_int_equal(s.stats.pages_total, RAM_PAGES + ROM_PAGES);
	assert_int_equal(s.stats.pages_sent, RAM_PAGES + ROM_PAGES);
	assert_true(s.stats.pages_zero > 300);
}

/* Each request is answered before most of the background, whole chunks at a time. */
static void test_postcopy_source_demands_come_first(void **state)
{
	struct session s;
	int number, after = 0;

	(void)state;
	begin(&s, false);
	chunks.latency_ms = 15;
	expect_opening(&s);
	expect_hex(&s, "0200000002");
	say(&s, "0003001300000000003850000000"
		"1000" RAM_NAME); /* page 901 of pc.ram */
	do {
		number = take_page(&s);
		after++;
	} while (number != 901);
	assert_true(after < 600);
	for (int i = 900; i < 904; i++)
		assert_int_equal(s.seen[i], i < 902);
	assert_int_equal(take_page(&s), 902);
	say(&s, "0004000c"
		"0000000000385000"
		"00001000"); /* once more: it is not sent again */
	say(&s, "0003001300000000000000000000"
		"1000" ROM_NAME);
	while (take_page(&s) >= 0)
		;
	assert_int_equal(s.pages, RAM_PAGES + ROM_PAGES);
	expect_closing(&s);
	assert_int_equal(end(&s), 0);
	assert_int_equal(s.stats.requests, 3);
}

static void test_postcopy_source_recovers(void **state)
{
	char bitmap[2 * 136 + 1];
	struct session s;

	(void)state;
	begin(&s, true);
	expect_hex(&s, "08000a0007" RAM_NAME "08000a0007" ROM_NAME);
	/* It has all of the ROM, and pages 0..1015 of RAM but for number 8. */
	say(&s, "00050007" ROM_NAME "0000000000000008"
		"0700000000000000"
		"0123456789abcdef");
	memset(bitmap, '0', sizeof(bitmap));
	memset(bitmap, 'f', 2 * 127);
	bitmap[3] = 'e';
	bitmap[2 * 136] = '\0';
	say(&s, "00050007" RAM_NAME "0000000000000088");
	say(&s, bitmap);
	say(&s, "0123456789abcdef");
	expect_hex(&s, "0800090000");
	say(&s, "0003001300000000000080000000"
		"1000" RAM_NAME); /* requests may come at any time */
	say(&s, "0006000400000001");
	expect_hex(&s, "0200000002");
	while (take_page(&s) >= 0)
		;
	assert_int_equal(s.pages, 1 + RAM_PAGES - 1016);
	assert_int_equal(s.seen[8], 1);
	assert_int_equal(s.seen[RAM_PAGES - 1], 1);
	expect_closing(&s);
	assert_int_equal(end(&s), 0);
	assert_int_equal(s.stats.pages_sent, s.stats.pages_total);
}

static const struct {
	const char *name, *hex;
	bool recover;
	int want;
	const char *says;
} lies[] = {
	{ "unknown message", "0063000400000000", false, -EBADMSG, "unknown type 99" },
	{ "endless message", "0002ffff", false, -EBADMSG, "type 2 with 65535 bytes" },
	{ "no block yet", "0004000c000000000000000000001000", false, -EBADMSG, "does not have" },
	{ "unknown block", "000300100000000000000000000010000378797a", false, -EBADMSG,
	  "does not have" },
	{ "beyond", "00030013000000000000300000001000" ROM_NAME, false, -EBADMSG,
	  "beyond the end" },
	{ "over the end", "00030013000000000000200000002000" ROM_NAME, false, -EBADMSG,
	  "beyond the end" },
	{ "far beyond",
	  "00030013fffffffffffff000"
	  "00001000" ROM_NAME,
	  false, -EBADMSG, "beyond the end" },
	{ "early goodbye", "0001000400000000", false, -EBADMSG, "goodbye before" },
	{ "failure", "0001000400000001", false, -EIO, "could not load" },
	{ "bitmap unasked",
	  "00050007" ROM_NAME "0000000000000008"
	  "0700000000000000"
	  "0123456789abcdef",
	  false, -EBADMSG, "nobody asked for" },
	{ "acknowledged unasked", "0006000400000001", false, -EBADMSG, "nobody asked for" },
	{ "acknowledged early", "0006000400000001", true, -EBADMSG, "nobody asked for" },
	{ "bitmap of a wrong size",
	  "00050007" ROM_NAME "0000000000000010"
	  "0700000000000000"
	  "0000000000000000"
	  "0123456789abcdef",
	  true, -EBADMSG, "does not fit" },
	{ "bitmap of what",
	  "00050002"
	  "0161"
	  "0000000000000008"
	  "0700000000000000"
	  "0123456789abcdef",
	  true, -EBADMSG, "unknown block" },
	{ "bitmap larger than any", "00050007" ROM_NAME "0000000000000090", true, -EBADMSG,
	  "larger than any" },
};

static void test_postcopy_source_believes_nothing(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		struct session s;

		begin(&s, lies[i].recover);
		chunks.latency_ms = 5;
		say(&s, lies[i].hex);
		if (end(&s) != lies[i].want || !strstr(err_text(&s.err), lies[i].says))
			fail_msg("%s: %d, %s", lies[i].name, s.result, err_text(&s.err));
	}
}

static void test_postcopy_source_ends(void **state)
{
	struct session s;

	(void)state;
	/* A chunk is missing: said by name, not waited for. */
	begin(&s, false);
	expect_opening(&s);
	chunks.broken = true;
	assert_int_equal(end(&s), -ENOENT);
	assert_string_equal(err_text(&s.err), "that chunk is not there");

	begin(&s, false);
	s.cancel = true;
	assert_int_equal(end(&s), -ECANCELED);

	begin(&s, false);
	expect_opening(&s);
	shutdown(s.fd, SHUT_RDWR);
	assert_int_equal(end(&s), -EPIPE);
}

/* A snapshot that was damaged on purpose is refused before QEMU hears a word. */
static void test_postcopy_source_bad_snapshots(void **state)
{
	static const struct {
		const char *from, *to, *says;
		uint64_t size;
	} cases[] = {
		{ "qemu/head", "qemu/heap", "there is no volume qemu/head", 0 },
		{ "qemu/tail", "qemu/tall", "there is no volume qemu/tail", 0 },
		{ "ram/pc.rom", "ram/pc.rum", "has no volume ram/pc.rom", 0 },
		{ "ram/pc.rom", "ram/pc.rom", "does not fit the block", 2 * PAGE },
		{ "qemu/head", "qemu/head", "at most 65536", 1 << 20 },
		{ "qemu/tail", "qemu/tail", "at most", 1ull << 40 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct volume *v = (struct volume *)manifest_volume(&snapshot, cases[i].from),
			      saved = *v;
		struct session s;

		strcpy(v->name, cases[i].to);
		if (cases[i].size)
			v->size = cases[i].size;
		begin(&s, false);
		assert_true(end(&s) < 0);
		*v = saved;
		if (!strstr(err_text(&s.err), cases[i].says))
			fail_msg("%s: %s", cases[i].to, err_text(&s.err));
		assert_int_equal(s.stats.bytes_sent, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_postcopy_source_sends_everything_once),
		cmocka_unit_test(test_postcopy_source_demands_come_first),
		cmocka_unit_test(test_postcopy_source_recovers),
		cmocka_unit_test(test_postcopy_source_believes_nothing),
		cmocka_unit_test(test_postcopy_source_ends),
		cmocka_unit_test(test_postcopy_source_bad_snapshots),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
