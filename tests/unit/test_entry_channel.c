/* What a reader process may send, and what its parent makes of messages that no honest reader would send. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base.h"
#include "mgmt-server/scan/entry_channel.h"
#include "mgmt-server/scan/reader.h"

static char buf[ENTRY_CHANNEL_MESSAGE_MAX];

struct pair {
	int reader, parent;
};

static struct pair open_pair(void)
{
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
	return (struct pair){ .reader = fds[0], .parent = fds[1] };
}

static void close_pair(struct pair *p)
{
	base_close(p->reader);
	base_close(p->parent);
}

static struct content_room room;

static int with_room(void **state)
{
	(void)state;
	content_room_init(&room, 1 << 20, NULL);
	return 0;
}

/* Whatever happened, nothing is held any more. */
static int without_room(void **state)
{
	int left = room.used != 0;

	(void)state;
	content_room_deinit(&room);
	return left;
}

static struct content_source *source; /* of the partition that runs speak of; NULL: there is none */

static int receive(const struct pair *p, struct entry *e, struct err *err)
{
	const struct entry_receiver from = { .fd = p->parent, .room = &room, .source = source };

	return entry_channel_receive(&from, buf, e, err);
}

static void done_with(struct entry *e)
{
	base_close(e->content);
	content_room_give(&room, e->held);
}

static void test_entry_channel_carries_names_of_any_bytes(void **state)
{
	struct pair p = open_pair();
	struct entry out = { .kind = ENTRY_FILE,
			     .inode = 7,
			     .size = 5,
			     .mtime = -1,
			     .path = "a/\0\xff",
			     .path_len = 4,
			     .stream = "s",
			     .stream_len = 1,
			     .has_content = true };
	struct entry in;
	struct err err = { 0 };
	char bytes[6] = "";

	(void)state;
	/* In any order. */
	assert_int_equal(entry_channel_data(p.reader, "llo", 3, 2, &err), 0);
	assert_int_equal(entry_channel_data(p.reader, "he", 2, 0, &err), 0);
	assert_int_equal(entry_channel_send(p.reader, &out, &err), 0);
	assert_int_equal(receive(&p, &in, &err), 0);
	assert_int_equal(in.path_len, 4);
	assert_memory_equal(in.path, "a/\0\xff", 4);
	assert_int_equal(in.inode, 7);
	assert_int_equal(in.mtime, -1);
	assert_true(in.content >= 0);
	assert_int_equal(pread(in.content, bytes, sizeof(bytes), 0), 5);
	assert_string_equal(bytes, "hello");
	/* A worker of the engine, which gets it, can neither change it nor fill memory with it. */
	assert_int_equal(pwrite(in.content, "x", 1, 0), -1);
	assert_int_equal(ftruncate(in.content, 1 << 20), -1);
	done_with(&in);
	close_pair(&p);
}

enum { NO_CONTENT, CONTENT };

static const struct {
	const char *name;
	size_t pieces, piece_len; /* piece i is at i * stride */
	uint64_t stride, size;
	bool claimed;
	int want;
} content_cases[] = {
	{ "nothing but a hole", 0, 0, 0, 10ULL << 40, true, CONTENT },
	{ "empty", 0, 0, 0, 0, true, CONTENT },
	{ "as large as the room", 240, 4096, 4096, 240 << 12, true, CONTENT },
	{ "larger than the room", 300, 4096, 4096, 300 << 12, true, NO_CONTENT },
	{ "single bytes, each in a page of its own", 300, 1, 1 << 20, 300 << 20, true, NO_CONTENT },
	{ "the same page again and again", 2000, 4096, 0, 4096, true, CONTENT },
	{ "more than it says", 4, 4096, 4096, 5000, true, CONTENT },
	{ "taken back", 4, 4096, 4096, 4 << 12, false, NO_CONTENT },
	{ "an impossible size", 1, 1, 0, UINT64_MAX, true, NO_CONTENT },
	{ "an impossible place", 2, 1, 1ULL << 63, 5, true, NO_CONTENT },
};

struct sender {
	int fd;
	size_t i;
};

static void *send_content(void *arg)
{
	const struct sender *s = arg;
	size_t i = s->i;
	struct entry out = { .kind = ENTRY_FILE,
			     .size = content_cases[i].size,
			     .has_content = content_cases[i].claimed };
	static const char bytes[4096] = { 1 };
	struct err err = { 0 };

	for (size_t n = 0; n < content_cases[i].pieces; n++)
		entry_channel_data(s->fd, bytes, content_cases[i].piece_len,
				   n * content_cases[i].stride, &err);
	entry_channel_send(s->fd, &out, &err);
	return NULL;
}

static void test_entry_channel_keeps_contents_within_the_room(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(content_cases); i++) {
		struct pair p = open_pair();
		struct sender sender = { p.reader, i };
		struct entry in = { .content = -1 };
		struct err err = { 0 };
		struct stat st;
		pthread_t thread;

		assert_int_equal(pthread_create(&thread, NULL, send_content, &sender), 0);
		assert_int_equal(receive(&p, &in, &err), 0);
		pthread_join(thread, NULL);
		if ((in.content >= 0) != (content_cases[i].want == CONTENT))
			fail_msg("%s: content %d", content_cases[i].name, in.content);
		if (in.content < 0 && content_cases[i].claimed &&
		    (!(in.flags & READER_UNREADABLE) || !in.reason_len))
			fail_msg("%s: no reason", content_cases[i].name);
		if (in.content >= 0 &&
		    (fstat(in.content, &st) < 0 || (uint64_t)st.st_size != content_cases[i].size ||
		     (uint64_t)st.st_blocks * 512 > in.held || in.held > room.max))
			fail_msg("%s: it is not what was said", content_cases[i].name);
		if (room.used != in.held)
			fail_msg("%s: %llu bytes held", content_cases[i].name,
				 (unsigned long long)room.used);
		done_with(&in);
		close_pair(&p);
	}
}

/* A content waits for others to be done with, however many there are. */
static void *give_later(void *arg)
{
	usleep(20000);
	content_room_give(&room, *(uint64_t *)arg);
	return NULL;
}

static void test_entry_channel_waits_for_room(void **state)
{
	struct pair p = open_pair();
	struct sender sender = { p.reader, 2 };
	struct entry in = { .content = -1 };
	struct err err = { 0 };
	uint64_t others = room.max;
	pthread_t thread, giver;

	(void)state;
	assert_int_equal(content_room_take(&room, 0, others), 0);
	assert_int_equal(pthread_create(&thread, NULL, send_content, &sender), 0);
	assert_int_equal(pthread_create(&giver, NULL, give_later, &others), 0);
	assert_int_equal(receive(&p, &in, &err), 0);
	assert_true(in.content >= 0);
	pthread_join(thread, NULL);
	pthread_join(giver, NULL);
	done_with(&in);
	close_pair(&p);
}

/* No descriptor is taken from a reader. */
static void test_entry_channel_takes_no_descriptors(void **state)
{
	struct pair p = open_pair();
	char message[72] = { 0 };
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = { 0 };
	struct iovec part = { message, sizeof(message) };
	struct msghdr msg = { .msg_iov = &part,
			      .msg_iovlen = 1,
			      .msg_control = &control,
			      .msg_controllen = sizeof(control) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	struct entry in = { .content = -1 };
	struct err err = { 0 };
	int null = open("/dev/null", O_RDONLY);

	(void)state;
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &null, sizeof(int));
	assert_int_equal(sendmsg(p.reader, &msg, 0), sizeof(message));
	assert_int_equal(receive(&p, &in, &err), -EBADMSG);
	close(null);
	close_pair(&p);
}

/* ---- runs ---- */

enum { VOLUME = 256 << 10, PARTITION_AT = 4096, PARTITION = 200 << 10, FILE_MAX = 300 << 10 };

static uint8_t volume_bytes[VOLUME];
static uint64_t volume_broken_at; /* reads that touch this byte fail */

static int volume_read(void *ctx, uint8_t *to, size_t len, uint64_t offset, struct err *err)
{
	(void)ctx;
	assert_true(offset <= VOLUME && len <= VOLUME - offset);
	if (offset <= volume_broken_at && volume_broken_at < offset + len)
		return err_say(err, EBADMSG, "a damaged chunk");
	memcpy(to, volume_bytes + offset, len);
	return 0;
}

static const struct volume_input volume = { .size = VOLUME, .read = volume_read };

static int with_volume(void **state)
{
	struct err err = { 0 };

	for (size_t i = 0; i < VOLUME; i++)
		volume_bytes[i] = (uint8_t)(i * 2654435761u >> 20);
	volume_broken_at = UINT64_MAX;
	return with_room(state) ||
	       content_source_open(&source, &volume, PARTITION_AT, PARTITION, &err);
}

static int without_volume(void **state)
{
	content_source_close(source);
	source = NULL;
	return without_room(state);
}

/* What a reader sends, in this order; the last one has no length. */
struct step {
	enum { RUN, BYTES } what;
	uint64_t offset, at, len;
};

static const struct {
	const char *name;
	struct step steps[6];
	uint64_t size;
} run_cases[] = {
	{ "one run", { { RUN, 0, 8192, 4096 } }, 4096 },
	{ "a hole before, between and behind",
	  { { RUN, 5000, 100, 300 }, { RUN, 20000, 70000, 90000 } },
	  200000 },
	{ "the same bytes twice", { { RUN, 0, 0, 4096 }, { RUN, 4096, 0, 4096 } }, 8192 },
	{ "going back", { { RUN, 8192, 0, 4096 }, { RUN, 0, 512, 4096 } }, 12288 },
	{ "over itself: the last counts",
	  { { RUN, 0, 0, 9000 }, { RUN, 4000, 60000, 300 }, { RUN, 4100, 0, 20 } },
	  9000 },
	{ "bytes behind a run", { { RUN, 0, 0, 4096 }, { BYTES, 4096, 0, 500 } }, 4596 },
	{ "bytes over a run", { { RUN, 0, 0, 8192 }, { BYTES, 100, 0, 500 } }, 8192 },
	{ "a run over bytes",
	  { { BYTES, 0, 0, 3000 }, { RUN, 1000, 65000, 1000 }, { BYTES, 1500, 0, 10 } },
	  3000 },
};

static void send_steps(int fd, const struct step *steps, uint8_t *expected)
{
	uint8_t bytes[4096];
	struct err err = { 0 };

	memset(bytes, 0xee, sizeof(bytes));
	for (; steps->len; steps++) {
		const struct content_run run = { steps->offset, steps->at, steps->len };

		if (steps->what == RUN) {
			memcpy(expected + steps->offset, volume_bytes + PARTITION_AT + steps->at,
			       steps->len);
			assert_int_equal(entry_channel_runs(fd, &run, 1, &err), 0);
		} else {
			memcpy(expected + steps->offset, bytes, steps->len);
			assert_int_equal(
				entry_channel_data(fd, bytes, steps->len, steps->offset, &err), 0);
		}
	}
}

static void test_entry_channel_reads_runs(void **state)
{
	static uint8_t expected[FILE_MAX], got[FILE_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(run_cases); i++) {
		struct pair p = open_pair();
		struct entry out = { .kind = ENTRY_FILE,
				     .size = run_cases[i].size,
				     .has_content = true };
		struct entry in;
		struct err err = { 0 };

		memset(expected, 0, sizeof(expected));
		send_steps(p.reader, run_cases[i].steps, expected);
		assert_int_equal(entry_channel_send(p.reader, &out, &err), 0);
		assert_int_equal(receive(&p, &in, &err), 0);
		if (in.content < 0 ||
		    pread(in.content, got, sizeof(got), 0) != (ssize_t)run_cases[i].size ||
		    memcmp(got, expected, run_cases[i].size) != 0)
			fail_msg("%s: not the file's bytes", run_cases[i].name);
		/* A worker of the engine gets it. */
		assert_int_equal(pwrite(in.content, "x", 1, 0), -1);
		done_with(&in);
		close_pair(&p);
	}
}

static const struct {
	const char *name;
	struct content_run runs[2];
	uint64_t size;
	bool broken;
} lost_cases[] = {
	{ "beyond the file's size", { { 0, 0, 4096 } }, 4095, false },
	{ "at an impossible place", { { 1ULL << 63, 0, 1 } }, (1ULL << 63) + 1, false },
	{ "damaged", { { 0, 0, 4096 }, { 4096, 8192, 4096 } }, 8192, true },
};

static void test_entry_channel_gives_reasons_for_runs_it_cannot_read(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(lost_cases); i++) {
		struct pair p = open_pair();
		struct entry out = { .kind = ENTRY_FILE,
				     .size = lost_cases[i].size,
				     .has_content = true };
		struct entry in;
		struct err err = { 0 };
		size_t count = lost_cases[i].runs[1].length ? 2 : 1;

		volume_broken_at = lost_cases[i].broken ? PARTITION_AT + 8192 : UINT64_MAX;
		assert_int_equal(entry_channel_runs(p.reader, lost_cases[i].runs, count, &err), 0);
		assert_int_equal(entry_channel_send(p.reader, &out, &err), 0);
		assert_int_equal(receive(&p, &in, &err), 0);
		if (in.content >= 0 || !(in.flags & READER_UNREADABLE) || !in.reason_len)
			fail_msg("%s: it was taken", lost_cases[i].name);
		close_pair(&p);
	}
}

static const struct {
	const char *name;
	struct content_run runs[3];
	size_t cut; /* bytes of the message that are missing */
	bool no_source;
} refused_cases[] = {
	{ "outside of the partition", { { 0, PARTITION - 10, 11 } }, 0, false },
	{ "in the next one", { { 0, PARTITION, 1 } }, 0, false },
	{ "of no length", { { 0, 0, 0 } }, 0, false },
	{ "without an end", { { 0, 5, UINT64_MAX } }, 0, false },
	{ "all of it, and a sector again", { { 0, 0, PARTITION }, { PARTITION, 0, 1 } }, 0, false },
	{ "half a run", { { 0, 0, 1 } }, 12, false },
	{ "no run", { { 0, 0, 1 } }, CONTENT_RUN_LEN, false },
	{ "of a reader that has no volume", { { 0, 0, 1 } }, 0, true },
};

static void test_entry_channel_refuses_runs_of_what_is_not_there(void **state)
{
	struct content_source *ours = source;

	for (size_t i = 0; i < ARRAY_LEN(refused_cases); i++) {
		struct pair p = open_pair();
		uint8_t wire[3 * CONTENT_RUN_LEN];
		struct entry out = { .kind = ENTRY_RUNS, .path = (const char *)wire };
		struct entry in;
		struct err err = { 0 };
		size_t n = 0;

		do {
			content_run_encode(&refused_cases[i].runs[n], wire + n * CONTENT_RUN_LEN);
		} while (++n < 3 && refused_cases[i].runs[n].length);
		out.path_len = n * CONTENT_RUN_LEN - refused_cases[i].cut;
		source = refused_cases[i].no_source ? NULL : ours;
		assert_int_equal(entry_channel_send(p.reader, &out, &err), 0);
		if (receive(&p, &in, &err) != -EBADMSG || !err.text[0])
			fail_msg("%s: it was taken", refused_cases[i].name);
		source = ours;
		close_pair(&p);
		assert_int_equal(without_volume(state), 0);
		assert_int_equal(with_volume(state), 0);
		ours = source;
	}
}

/* ---- contents that need not be read ---- */

static unsigned asked;

static bool is_known(void *arg, const struct entry *e, const struct content_runs *runs)
{
	asked++;
	assert_true(runs->count && content_runs_end(runs) <= e->size);
	return *(bool *)arg;
}

static const struct {
	const char *name;
	struct step steps[6];
	bool asks;
} known_cases[] = {
	{ "runs only", { { RUN, 0, 0, 4096 }, { RUN, 8192, 4096, 512 } }, true },
	{ "a hole", { { RUN, 0, 0, 0 } }, false },
	{ "bytes only", { { BYTES, 0, 0, 512 } }, false },
	{ "bytes behind runs", { { RUN, 0, 0, 4096 }, { BYTES, 4096, 0, 512 } }, false },
	{ "runs behind bytes", { { BYTES, 0, 0, 512 }, { RUN, 4096, 0, 512 } }, false },
	{ "runs that go back", { { RUN, 4096, 0, 512 }, { RUN, 0, 0, 512 } }, false },
};

static void test_entry_channel_asks_only_for_contents_of_runs(void **state)
{
	static uint8_t unused[FILE_MAX];

	(void)state;
	for (size_t i = 0; i < 2 * ARRAY_LEN(known_cases); i++) {
		bool known = i % 2;
		struct pair p = open_pair();
		const struct entry_receiver from = { .fd = p.parent,
						     .room = &room,
						     .source = source,
						     .known = is_known,
						     .arg = &known };
		struct entry out = { .kind = ENTRY_FILE, .size = 9000, .has_content = true }, in;
		struct err err = { 0 };

		asked = 0;
		send_steps(p.reader, known_cases[i / 2].steps, unused);
		assert_int_equal(entry_channel_send(p.reader, &out, &err), 0);
		assert_int_equal(entry_channel_receive(&from, buf, &in, &err), 0);
		if (asked != known_cases[i / 2].asks || in.known != (asked && known) ||
		    (in.content >= 0) == in.known || in.flags & READER_UNREADABLE)
			fail_msg("%s: asked %u times", known_cases[i / 2].name, asked);
		done_with(&in);
		close_pair(&p);
	}
}

/* The header as it is on the wire; see entry_channel.c. */
struct header {
	uint32_t kind, flags;
	uint64_t inode, size, mtime, ctime;
	uint32_t path_len, stream_len, reason_len, has_content;
	uint8_t digest[FILE_DIGEST_LEN];
};

static const struct {
	const char *name;
	struct header header;
	size_t send; /* bytes of header and text together */
} wire_cases[] = {
	{ "shorter than a header", { 0 }, 10 },
	{ "path longer than the message", { .path_len = 100 }, sizeof(struct header) + 4 },
	{ "lengths that overflow",
	  { .path_len = UINT32_MAX, .stream_len = 1 },
	  sizeof(struct header) },
	{ "bytes nobody owns", { .path_len = 2 }, sizeof(struct header) + 4 },
	{ "unknown kind", { .kind = 99 }, sizeof(struct header) },
	{ "neither with nor without content", { .has_content = 2 }, sizeof(struct header) },
};

static void test_entry_channel_refuses_messages_that_do_not_add_up(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wire_cases); i++) {
		struct pair p = open_pair();
		char message[sizeof(struct header) + 4] = { 0 };
		struct entry in;
		struct err err = { 0 };
		int r;

		memcpy(message, &wire_cases[i].header, sizeof(struct header));
		assert_int_equal(send(p.reader, message, wire_cases[i].send, 0),
				 (ssize_t)wire_cases[i].send);
		r = receive(&p, &in, &err);
		if (r != -EBADMSG)
			fail_msg("%s: got %d, want -EBADMSG", wire_cases[i].name, r);
		close_pair(&p);
	}
}

/* What a reader that has ended sent before still arrives, and then the end. */
static void test_entry_channel_keeps_what_a_finished_reader_sent(void **state)
{
	struct pair p = open_pair();
	struct entry out = { .kind = ENTRY_DONE }, in;
	struct err err = { 0 };

	(void)state;
	assert_int_equal(entry_channel_send(p.reader, &out, &err), 0);
	base_close(p.reader);
	p.reader = -1;
	assert_int_equal(receive(&p, &in, &err), 0);
	assert_int_equal(in.kind, ENTRY_DONE);
	assert_int_equal(receive(&p, &in, &err), ENTRY_CHANNEL_CLOSED);
	close_pair(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			test_entry_channel_keeps_what_a_finished_reader_sent, with_room,
			without_room),
		cmocka_unit_test_setup_teardown(test_entry_channel_carries_names_of_any_bytes,
						with_room, without_room),
		cmocka_unit_test_setup_teardown(test_entry_channel_keeps_contents_within_the_room,
						with_room, without_room),
		cmocka_unit_test_setup_teardown(test_entry_channel_waits_for_room, with_room,
						without_room),
		cmocka_unit_test_setup_teardown(test_entry_channel_takes_no_descriptors, with_room,
						without_room),
		cmocka_unit_test_setup_teardown(
			test_entry_channel_refuses_messages_that_do_not_add_up, with_room,
			without_room),
		cmocka_unit_test_setup_teardown(test_entry_channel_reads_runs, with_volume,
						without_volume),
		cmocka_unit_test_setup_teardown(
			test_entry_channel_gives_reasons_for_runs_it_cannot_read, with_volume,
			without_volume),
		cmocka_unit_test_setup_teardown(
			test_entry_channel_refuses_runs_of_what_is_not_there, with_volume,
			without_volume),
		cmocka_unit_test_setup_teardown(test_entry_channel_asks_only_for_contents_of_runs,
						with_volume, without_volume),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
