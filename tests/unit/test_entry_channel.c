/* What a reader process may send, and what its parent makes of messages that no honest reader would send. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base.h"
#include "mgmt-server/scan/entry_channel.h"

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

static int content(const char *text, int seals)
{
	int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
	return fd;
}

enum { ALL_SEALS = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE };

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
			     .content = content("hello", ALL_SEALS) };
	struct entry in;
	struct err err = { 0 };

	(void)state;
	assert_int_equal(entry_channel_send(p.reader, &out, &err), 0);
	assert_int_equal(entry_channel_receive(p.parent, buf, &in, &err), 0);
	assert_int_equal(in.path_len, 4);
	assert_memory_equal(in.path, "a/\0\xff", 4);
	assert_int_equal(in.inode, 7);
	assert_int_equal(in.mtime, -1);
	assert_true(in.content >= 0);
	base_close(in.content);
	base_close(out.content);
	close_pair(&p);
}

static const struct {
	const char *name;
	int seals;
	uint64_t claimed_size;
	int want;
} content_cases[] = {
	{ "sealed, right size", ALL_SEALS, 5, 0 },
	{ "not sealed", 0, 5, -EBADMSG },
	{ "can still be written", F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL, 5, -EBADMSG },
	{ "smaller than claimed", ALL_SEALS, 6, -EBADMSG },
	{ "larger than claimed", ALL_SEALS, 4, -EBADMSG },
};

static void test_entry_channel_takes_only_contents_that_cannot_change(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(content_cases); i++) {
		struct pair p = open_pair();
		struct entry out = { .kind = ENTRY_FILE,
				     .size = content_cases[i].claimed_size,
				     .content = content("hello", content_cases[i].seals) };
		struct entry in = { .content = -1 };
		struct err err = { 0 };
		int r;

		assert_int_equal(entry_channel_send(p.reader, &out, &err), 0);
		r = entry_channel_receive(p.parent, buf, &in, &err);
		if (r != content_cases[i].want)
			fail_msg("%s: got %d, want %d", content_cases[i].name, r,
				 content_cases[i].want);
		if (r == 0)
			base_close(in.content);
		base_close(out.content);
		close_pair(&p);
	}
}

/* The header as it is on the wire; see entry_channel.c. */
struct header {
	uint32_t kind, flags;
	uint64_t inode, size, mtime, ctime;
	uint32_t path_len, stream_len, reason_len, has_content;
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
	{ "a content that did not come along", { .has_content = 1 }, sizeof(struct header) },
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
		r = entry_channel_receive(p.parent, buf, &in, &err);
		if (r != -EBADMSG)
			fail_msg("%s: got %d, want -EBADMSG", wire_cases[i].name, r);
		close_pair(&p);
	}
}

static void test_entry_channel_stops_a_reader_at_the_window(void **state)
{
	struct pair p = open_pair();
	unsigned outstanding = ENTRY_CHANNEL_WINDOW - 1;

	(void)state;
	assert_int_equal(entry_channel_await(p.reader, &outstanding), 0);
	assert_int_equal(outstanding, ENTRY_CHANNEL_WINDOW - 1);

	outstanding = ENTRY_CHANNEL_WINDOW;
	assert_int_equal(entry_channel_credit(p.parent), 0);
	assert_int_equal(entry_channel_await(p.reader, &outstanding), 0);
	assert_int_equal(outstanding, ENTRY_CHANNEL_WINDOW - 1);

	outstanding = ENTRY_CHANNEL_WINDOW;
	base_close(p.parent);
	p.parent = -1;
	assert_int_equal(entry_channel_await(p.reader, &outstanding), -EPIPE);
	close_pair(&p);
}

/* A reader ends without having read its credits: what it sent before still arrives, and then the end. */
static void test_entry_channel_keeps_what_a_finished_reader_sent(void **state)
{
	struct pair p = open_pair();
	struct entry out = { .kind = ENTRY_DONE, .content = -1 }, in;
	struct err err = { 0 };

	(void)state;
	assert_int_equal(entry_channel_send(p.reader, &out, &err), 0);
	assert_int_equal(entry_channel_credit(p.parent), 0);
	base_close(p.reader);
	p.reader = -1;
	assert_int_equal(entry_channel_receive(p.parent, buf, &in, &err), 0);
	assert_int_equal(in.kind, ENTRY_DONE);
	assert_int_equal(entry_channel_receive(p.parent, buf, &in, &err), ENTRY_CHANNEL_CLOSED);
	close_pair(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_entry_channel_keeps_what_a_finished_reader_sent),
		cmocka_unit_test(test_entry_channel_carries_names_of_any_bytes),
		cmocka_unit_test(test_entry_channel_takes_only_contents_that_cannot_change),
		cmocka_unit_test(test_entry_channel_refuses_messages_that_do_not_add_up),
		cmocka_unit_test(test_entry_channel_stops_a_reader_at_the_window),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
