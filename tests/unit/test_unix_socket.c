#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base.h"
#include "common/clock.h"
#include "common/io.h"
#include "common/unix_socket.h"

static struct {
	int near, far;
	struct unix_socket_lines lines; /* reads what was sent into far */
	unsigned open_before;
} pair;

static unsigned open_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static int make_pair(void **state)
{
	int fds[2];

	(void)state;
	pair.open_before = open_descriptors();
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
		return -1;
	pair.near = fds[0];
	pair.far = fds[1];
	pair.lines = (struct unix_socket_lines){ .fd = fds[0] };
	return 0;
}

/* Every test with a pair also proves that no descriptor was lost. */
static int free_pair(void **state)
{
	(void)state;
	unix_socket_lines_deinit(&pair.lines);
	close(pair.near);
	base_close(pair.far);
	if (open_descriptors() == pair.open_before)
		return 0;
	print_message("%u descriptors before, %u after\n", pair.open_before, open_descriptors());
	return -1;
}

static void send_raw(const char *bytes, size_t len)
{
	assert_int_equal(io_write_full(pair.far, bytes, len), 0);
}

static void expect_line(const char *want)
{
	struct err err = { 0 };
	char *line = NULL;
	int r = unix_socket_read_line(&pair.lines, 60000, &line, NULL, NULL, &err);

	if (r != 0)
		fail_msg("%d, %s instead of '%s'", r, err_text(&err), want);
	assert_string_equal(line, want);
}

static int read_with(int timeout_ms, struct err *err)
{
	char *line = NULL;

	return unix_socket_read_line(&pair.lines, timeout_ms, &line, NULL, NULL, err);
}

/* ---- Lines ------------------------------------------------------------------------------------- */

static void test_unix_socket_splits_lines(void **state)
{
	(void)state;
	send_raw("one\ntwo\n\nfo", 11);
	expect_line("one");
	expect_line("two");
	expect_line("");
	assert_int_equal(read_with(0, NULL), UNIX_SOCKET_TIMEOUT);
	send_raw("u", 1);
	assert_int_equal(read_with(20, NULL), UNIX_SOCKET_TIMEOUT);
	send_raw("r\nfive\n", 7);
	expect_line("four");
	expect_line("five");
}

static void test_unix_socket_timeout_is_kept(void **state)
{
	uint64_t began = clock_now_ms();

	(void)state;
	assert_int_equal(read_with(150, NULL), UNIX_SOCKET_TIMEOUT);
	assert_in_range(clock_now_ms() - began, 150, 20000);
}

static void test_unix_socket_leaves_later_lines_in_the_socket(void **state)
{
	char rest[8] = "";

	(void)state;
	send_raw("one\ntwo\n", 8);
	expect_line("one");
	assert_int_equal(recv(pair.near, rest, sizeof(rest), MSG_DONTWAIT), 4);
	assert_memory_equal(rest, "two\n", 4);
}

static void *send_long(void *line)
{
	return unix_socket_send_line(pair.far, line, NULL, 0, NULL) == 0 ? NULL : "failed";
}

static void test_unix_socket_carries_long_lines(void **state)
{
	CLEANUP_FREE char *text = malloc(UNIX_SOCKET_LINE_MAX + 1);
	struct err err = { 0 };
	pthread_t thread;
	void *problem;

	(void)state;
	memset(text, 'x', UNIX_SOCKET_LINE_MAX - 1);
	text[UNIX_SOCKET_LINE_MAX - 1] = 0;
	for (int i = 0; i < 2; i++) {
		assert_int_equal(pthread_create(&thread, NULL, send_long, text), 0);
		expect_line(text);
		pthread_join(thread, &problem);
		assert_null(problem);
	}
	strcpy(text + UNIX_SOCKET_LINE_MAX - 1, "x");
	assert_int_equal(unix_socket_send_line(pair.far, text, NULL, 0, &err), -EMSGSIZE);
}

static void *send_without_end(void *arg)
{
	char block[65536];

	(void)arg;
	memset(block, 'x', sizeof(block));
	while (send(pair.far, block, sizeof(block), MSG_NOSIGNAL) > 0)
		;
	return NULL;
}

static void test_unix_socket_refuses_lines_that_are_too_long(void **state)
{
	struct err err = { 0 };
	pthread_t thread;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, send_without_end, NULL), 0);
	assert_int_equal(read_with(10000, &err), -EMSGSIZE);
	assert_non_null(strstr(err_text(&err), "more than 1048576 bytes"));
	assert_true(pair.lines.cap <= UNIX_SOCKET_LINE_MAX);
	shutdown(pair.near, SHUT_RDWR);
	pthread_join(thread, NULL);
}

static void test_unix_socket_refuses_zero_bytes(void **state)
{
	struct err err = { 0 };

	(void)state;
	send_raw("{}\0{}\n", 6);
	assert_int_equal(read_with(1000, &err), -EBADMSG);
	assert_non_null(strstr(err_text(&err), "zero byte"));
}

static void test_unix_socket_notices_the_end(void **state)
{
	(void)state;
	send_raw("last\nhalf", 9);
	close(TAKE_FD(pair.far));
	expect_line("last");
	assert_int_equal(read_with(1000, NULL), UNIX_SOCKET_CLOSED);
	assert_int_equal(read_with(1000, NULL), UNIX_SOCKET_CLOSED);
}

static void test_unix_socket_reset_is_an_end_too(void **state)
{
	(void)state;
	/* Closing on unread bytes resets the connection. */
	assert_int_equal(unix_socket_send_line(pair.near, "never read", NULL, 0, NULL), 0);
	close(TAKE_FD(pair.far));
	assert_int_equal(read_with(1000, NULL), UNIX_SOCKET_CLOSED);
}

static void test_unix_socket_send_ends_when_nobody_reads(void **state)
{
	CLEANUP_FREE char *line = calloc(1, 100001);
	struct err err = { 0 };
	int i, r = 0;

	(void)state;
	assert_non_null(line);
	memset(line, 'x', 100000);
	for (i = 0; i < 1000 && r == 0; i++)
		r = unix_socket_send_line_within(pair.near, line, NULL, 0, 50, &err);
	assert_int_equal(r, -ETIMEDOUT);
	assert_non_null(strstr(err_text(&err), "has read nothing for 50 ms"));
}

/* Would end in SIGPIPE if it were not taken care of. */
static void test_unix_socket_send_fails_when_nobody_is_there(void **state)
{
	struct err err = { 0 };

	(void)state;
	close(TAKE_FD(pair.far));
	assert_int_equal(unix_socket_send_line(pair.near, "x", NULL, 0, &err), -EPIPE);
	assert_int_equal(err.code, EPIPE);
}

static void test_unix_socket_sends_one_line_at_a_time(void **state)
{
	struct err err = { 0 };

	(void)state;
	assert_int_equal(unix_socket_send_line(pair.far, "a\nb", NULL, 0, &err), -EINVAL);
	assert_int_equal(unix_socket_send_line(pair.far, "", NULL, 0, &err), 0);
	assert_int_equal(unix_socket_send_line(pair.far, "{}", NULL, 0, &err), 0);
	expect_line("");
	expect_line("{}");
}

/* ---- Descriptors ------------------------------------------------------------------------------- */

static ino_t inode_of(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return st.st_ino;
}

static void test_unix_socket_descriptors_stay_with_their_line(void **state)
{
	static const struct {
		const char *line;
		size_t count;
	} sent[] = {
		{ "none", 0 }, { "one", 1 }, { "three", 3 }, { "none again", 0 }, { "four", 4 }
	};
	int files[4];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(files); i++)
		files[i] = memfd_create("test", MFD_CLOEXEC);
	for (size_t i = 0; i < ARRAY_LEN(sent); i++) /* all of it before anything is read */
		assert_int_equal(
			unix_socket_send_line(pair.far, sent[i].line, files, sent[i].count, NULL),
			0);
	for (size_t i = 0; i < ARRAY_LEN(sent); i++) {
		int fds[UNIX_SOCKET_FDS_MAX];
		size_t count = 99;
		char *line;

		assert_int_equal(
			unix_socket_read_line(&pair.lines, 60000, &line, fds, &count, NULL), 0);
		assert_string_equal(line, sent[i].line);
		assert_int_equal(count, sent[i].count);
		for (size_t j = 0; j < count; j++) {
			assert_int_equal(inode_of(fds[j]), inode_of(files[j]));
			assert_int_equal(fcntl(fds[j], F_GETFD), FD_CLOEXEC);
			close(fds[j]);
		}
	}
	for (size_t i = 0; i < ARRAY_LEN(files); i++)
		close(files[i]);
}

static void test_unix_socket_descriptors_come_with_long_lines(void **state)
{
	CLEANUP_FREE char *text = malloc(100001);
	CLEANUP_FD int file = memfd_create("test", MFD_CLOEXEC);
	int fds[UNIX_SOCKET_FDS_MAX];
	size_t count;
	char *line;

	(void)state;
	memset(text, 'x', 100000);
	text[100000] = 0;
	assert_int_equal(unix_socket_send_line(pair.far, text, &file, 1, NULL), 0);
	assert_int_equal(unix_socket_read_line(&pair.lines, 60000, &line, fds, &count, NULL), 0);
	assert_string_equal(line, text);
	assert_int_equal(count, 1);
	assert_int_equal(inode_of(fds[0]), inode_of(file));
	close(fds[0]);
}

static void test_unix_socket_unwanted_descriptors_are_closed(void **state)
{
	int fds[2];
	char byte;

	(void)state;
	assert_int_equal(pipe(fds), 0);
	assert_int_equal(unix_socket_send_line(pair.far, "x", &fds[1], 1, NULL), 0);
	close(fds[1]);
	expect_line("x");
	assert_int_equal(read(fds[0], &byte, 1), 0); /* the end: nobody holds the other side */
	close(fds[0]);
}

static void test_unix_socket_descriptors_of_half_a_line_are_closed(void **state)
{
	CLEANUP_FD int file = memfd_create("test", MFD_CLOEXEC);
	struct err err = { 0 };
	char buf[CMSG_SPACE(sizeof(int))] = "";
	struct iovec half = { .iov_base = (char *)"half", .iov_len = 4 };
	struct msghdr message = {
		.msg_iov = &half, .msg_iovlen = 1, .msg_control = buf, .msg_controllen = sizeof(buf)
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&message);

	(void)state;
	*c = (struct cmsghdr){ .cmsg_level = SOL_SOCKET,
			       .cmsg_type = SCM_RIGHTS,
			       .cmsg_len = CMSG_LEN(sizeof(int)) };
	memcpy(CMSG_DATA(c), &file, sizeof(file));
	assert_int_equal(sendmsg(pair.far, &message, 0), 4);
	assert_int_equal(read_with(50, &err), UNIX_SOCKET_TIMEOUT);
	assert_int_equal(pair.lines.fd_count, 1); /* free_pair sees whether it is closed */
}

static void test_unix_socket_refuses_too_many_descriptors(void **state)
{
	enum { MANY = UNIX_SOCKET_FDS_MAX + 3 };
	CLEANUP_FD int file = memfd_create("test", MFD_CLOEXEC);
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(MANY * sizeof(int))];
	} control = { 0 };
	struct iovec line = { .iov_base = (char *)"x\n", .iov_len = 2 };
	struct msghdr message = { .msg_iov = &line,
				  .msg_iovlen = 1,
				  .msg_control = &control,
				  .msg_controllen = sizeof(control) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&message);
	struct err err = { 0 };

	(void)state;
	*c = (struct cmsghdr){ .cmsg_level = SOL_SOCKET,
			       .cmsg_type = SCM_RIGHTS,
			       .cmsg_len = CMSG_LEN(MANY * sizeof(int)) };
	for (size_t i = 0; i < MANY; i++)
		memcpy(CMSG_DATA(c) + i * sizeof(int), &file, sizeof(int));
	assert_int_equal(sendmsg(pair.far, &message, 0), 2);
	assert_int_equal(read_with(1000, &err), -EMSGSIZE);
	assert_non_null(strstr(err_text(&err), "descriptors"));
}

/* ---- Paths ------------------------------------------------------------------------------------- */

static char folder[] = "/tmp/godwit-test-socket.XXXXXX";

static int enter(void **state)
{
	(void)state;
	strcpy(folder + sizeof(folder) - 7, "XXXXXX");
	return !mkdtemp(folder) || chdir(folder) < 0;
}

static int leave(void **state)
{
	CLEANUP_FREE char *command = io_printf("rm -rf %s", folder);

	(void)state;
	return chdir("/") < 0 || system(command) != 0;
}

static void exchange(const char *path)
{
	struct err err = { 0 };
	CLEANUP_FD int listener = unix_socket_listen(path, 0600, &err), near = -1, far = -1;
	struct stat st;
	char byte;

	if (listener < 0)
		fail_msg("%s", err_text(&err));
	far = unix_socket_connect(path, &err);
	if (far < 0)
		fail_msg("%s", err_text(&err));
	near = accept(listener, NULL, NULL);
	assert_int_equal(io_write_full(far, "x", 1), 0);
	assert_int_equal(io_read_full(near, &byte, 1), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(fcntl(listener, F_GETFD), FD_CLOEXEC);
	assert_int_equal(fcntl(far, F_GETFD), FD_CLOEXEC);
}

static void test_unix_socket_paths_of_any_length(void **state)
{
	static const char name[] = "0123456789012345678901234567890123456789012345678901234567";
	CLEANUP_FREE char *deep = io_printf("%s/%s/%s/%s", folder, name, name, name);
	CLEANUP_FREE char *deep_socket = io_printf("%s/s", deep);
	unsigned before = open_descriptors();

	(void)state;
	exchange("plain");
	for (size_t len = 100; len <= 115; len++) { /* around what sun_path holds */
		CLEANUP_FREE char *path = io_printf("%s/", folder);
		CLEANUP_FREE char *subfolder = NULL, *full = NULL;

		subfolder = io_printf("%s%.*s", path, (int)(len - strlen(path) - 2), deep + 20);
		for (char *p = subfolder + strlen(path); *p; p++)
			*p = *p == '/' ? '_' : *p;
		assert_int_equal(io_make_folders(subfolder, 0700, NULL), 0);
		full = io_printf("%s/s", subfolder);
		assert_int_equal(strlen(full), len);
		exchange(full);
	}
	assert_int_equal(io_make_folders(deep, 0700, NULL), 0);
	exchange(deep_socket);
	assert_int_equal(open_descriptors(), before);
}

static void test_unix_socket_listen_replaces_only_sockets(void **state)
{
	struct err err = { 0 };
	CLEANUP_FD int first = unix_socket_listen("s", 0600, &err);
	CLEANUP_FD int second = unix_socket_listen("s", 0666, &err);
	CLEANUP_FD int far = unix_socket_connect("s", &err), near = accept(second, NULL, NULL);

	(void)state;
	assert_true(first >= 0 && second >= 0 && far >= 0 && near >= 0);
	assert_int_equal(io_replace_file("file", "precious", 8, 0600, &err), 0);
	assert_int_equal(unix_socket_listen("file", 0600, &err), -EEXIST);
	assert_non_null(strstr(err_text(&err), "no socket"));
	assert_int_equal(symlink("s", "link"), 0);
	assert_int_equal(unix_socket_listen("link", 0600, &err), -EEXIST);
	assert_int_equal(access("file", F_OK), 0);
}

static const struct {
	const char *path;
	int listen, connect;
} bad_paths[] = {
	{ "nowhere/s", -ENOENT, -ENOENT },
	{ "/dev/null", -EEXIST, -ECONNREFUSED },
	{ "/dev/null/s", -ENOTDIR, -ENOTDIR },
};

static void test_unix_socket_errors_name_the_path(void **state)
{
	static char long_name[200];
	CLEANUP_FREE char *long_path = NULL;
	struct err err = { 0 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad_paths); i++) {
		assert_int_equal(unix_socket_listen(bad_paths[i].path, 0600, &err),
				 bad_paths[i].listen);
		assert_non_null(strstr(err_text(&err), bad_paths[i].path));
		assert_int_equal(unix_socket_connect(bad_paths[i].path, &err),
				 bad_paths[i].connect);
		assert_non_null(strstr(err_text(&err), bad_paths[i].path));
	}
	/* A name alone that is longer than an address can be reached in no way. */
	memset(long_name, 'x', sizeof(long_name) - 1);
	long_path = io_printf("./%s", long_name);
	assert_int_equal(unix_socket_connect(long_path, &err), -ENAMETOOLONG);
	assert_int_equal(unix_socket_listen(long_path, 0600, &err), -ENAMETOOLONG);
	assert_int_equal(unix_socket_connect(long_name, &err), -ENAMETOOLONG);
	close(unix_socket_listen("dead", 0600, &err));
	assert_int_equal(unix_socket_connect("dead", &err), -ECONNREFUSED);
}

#define WITH_PAIR(test) cmocka_unit_test_setup_teardown(test, make_pair, free_pair)
#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, enter, leave)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_PAIR(test_unix_socket_splits_lines),
		WITH_PAIR(test_unix_socket_timeout_is_kept),
		WITH_PAIR(test_unix_socket_leaves_later_lines_in_the_socket),
		WITH_PAIR(test_unix_socket_carries_long_lines),
		WITH_PAIR(test_unix_socket_refuses_lines_that_are_too_long),
		WITH_PAIR(test_unix_socket_refuses_zero_bytes),
		WITH_PAIR(test_unix_socket_notices_the_end),
		WITH_PAIR(test_unix_socket_reset_is_an_end_too),
		WITH_PAIR(test_unix_socket_send_ends_when_nobody_reads),
		WITH_PAIR(test_unix_socket_send_fails_when_nobody_is_there),
		WITH_PAIR(test_unix_socket_sends_one_line_at_a_time),
		WITH_PAIR(test_unix_socket_descriptors_stay_with_their_line),
		WITH_PAIR(test_unix_socket_descriptors_come_with_long_lines),
		WITH_PAIR(test_unix_socket_unwanted_descriptors_are_closed),
		WITH_PAIR(test_unix_socket_descriptors_of_half_a_line_are_closed),
		WITH_PAIR(test_unix_socket_refuses_too_many_descriptors),
		IN_FOLDER(test_unix_socket_paths_of_any_length),
		IN_FOLDER(test_unix_socket_listen_replaces_only_sockets),
		IN_FOLDER(test_unix_socket_errors_name_the_path),
	};

	return cmocka_run_group_tests_name("unix_socket", tests, NULL, NULL);
}
