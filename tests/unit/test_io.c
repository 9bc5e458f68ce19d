/* Also a program of its own for tests/system/replace_file.sh: `test_io replace FILE TEXT` is io_replace_file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "common/io.h"

enum { PIPE_BYTES = 1 << 20 };

static char folder[] = "/tmp/godwit-test-io.XXXXXX";

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

static void put(const char *path, const char *text)
{
	struct err err = { 0 };

	if (io_replace_file(path, text, strlen(text), 0600, &err) < 0)
		fail_msg("%s", err_text(&err));
}

static void assert_holds(const char *path, const char *text)
{
	CLEANUP_FREE uint8_t *got = NULL;
	struct err err = { 0 };
	size_t len;

	if (io_read_file(path, 1 << 20, &got, &len, &err) < 0)
		fail_msg("%s", err_text(&err));
	assert_int_equal(len, strlen(text));
	assert_string_equal((char *)got, text);
}

static unsigned entries(const char *path)
{
	DIR *dir = opendir(path);
	unsigned n = 0;

	for (struct dirent *e; (e = readdir(dir));)
		n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
	closedir(dir);
	return n;
}

/* ---- Reads and writes that finish -------------------------------------------------------------- */

static void *trickle(void *fd)
{
	static uint8_t bytes[PIPE_BYTES];

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i % 251);
	return io_write_full(*(int *)fd, bytes, sizeof(bytes)) == 0 ? NULL : "failed";
}

static void on_alarm(int signal)
{
	(void)signal;
}

/* A pipe gives 64 KiB at most, and a signal interrupts every read. */
static void test_io_finishes_despite_short_counts_and_signals(void **state)
{
	struct sigaction action = { .sa_handler = on_alarm }; /* no SA_RESTART */
	struct itimerval often = { { 0, 500 }, { 0, 500 } }, never = { 0 };
	static uint8_t got[PIPE_BYTES];
	uint8_t more;
	pthread_t thread;
	void *problem;
	int fds[2];

	(void)state;
	assert_int_equal(pipe(fds), 0);
	sigaction(SIGALRM, &action, NULL);
	assert_int_equal(pthread_create(&thread, NULL, trickle, &fds[1]), 0);
	setitimer(ITIMER_REAL, &often, NULL);
	assert_int_equal(io_read_full(fds[0], got, sizeof(got)), 0);
	setitimer(ITIMER_REAL, &never, NULL);
	pthread_join(thread, &problem);
	assert_null(problem);
	for (size_t i = 0; i < sizeof(got); i++)
		assert_int_equal(got[i], i % 251);
	close(fds[1]);
	assert_int_equal(io_read_full(fds[0], &more, 1), IO_SHORT);
	assert_int_equal(io_read_full(fds[0], &more, 0), 0);
	close(fds[0]);
}

static void test_io_says_when_a_file_ends_first(void **state)
{
	CLEANUP_FD int fd = -1;
	char buf[8];

	(void)state;
	put("f", "12345");
	fd = open("f", O_RDWR);
	assert_int_equal(io_read_full(fd, buf, 6), IO_SHORT);
	assert_int_equal(io_pread_full(fd, buf, 5, 0), 0);
	assert_int_equal(io_pread_full(fd, buf, 5, 1), IO_SHORT);
	assert_int_equal(io_pread_full(fd, buf, 1, 1000), IO_SHORT);
	assert_int_equal(io_pwrite_full(fd, "xy", 2, 6), 0);
	assert_int_equal(io_pread_full(fd, buf, 8, 0), 0);
	assert_memory_equal(buf, "12345\0xy", 8);
}

static void test_io_refuses_offsets_beyond_what_files_have(void **state)
{
	CLEANUP_FD int fd = -1;
	char buf[2] = "";

	(void)state;
	put("f", "1");
	fd = open("f", O_RDWR);
	assert_int_equal(io_pread_full(fd, buf, 1, UINT64_MAX), -EOVERFLOW);
	assert_int_equal(io_pread_full(fd, buf, 2, INT64_MAX - 1ull), -EOVERFLOW);
	assert_int_equal(io_pwrite_full(fd, buf, 1, 1ull << 63), -EOVERFLOW);
}

static void test_io_reports_errors(void **state)
{
	CLEANUP_FD int fd = open("/dev/full", O_RDWR);
	char buf[2] = "";

	(void)state;
	assert_int_equal(io_write_full(fd, buf, 2), -ENOSPC);
	assert_int_equal(io_read_full(-1, buf, 1), -EBADF);
	assert_int_equal(io_write_full(-1, buf, 1), -EBADF);
	assert_int_equal(io_pread_full(-1, buf, 1, 0), -EBADF);
	assert_int_equal(io_pwrite_full(-1, buf, 1, 0), -EBADF);
}

/* ---- Whole files ------------------------------------------------------------------------------- */

static void test_io_read_file_up_to_a_limit(void **state)
{
	CLEANUP_FREE char *big = malloc(100001);
	CLEANUP_FREE uint8_t *got = NULL;
	struct err err = { 0 };
	size_t len;

	(void)state;
	memset(big, 'x', 100000);
	big[100000] = 0;
	put("big", big);
	assert_int_equal(io_read_file("big", 100000, &got, &len, &err), 0);
	assert_int_equal(len, 100000);
	assert_string_equal((char *)got, big);
	free(got);
	got = NULL;
	assert_int_equal(io_read_file("big", 99999, &got, &len, &err), -EFBIG);
	assert_non_null(strstr(err_text(&err), "read big: larger than the 99999 bytes"));
	assert_int_equal(io_read_file("nothing", 1, &got, &len, &err), -ENOENT);
	assert_string_equal(err_text(&err), "open nothing: No such file or directory");
	assert_int_equal(io_read_file(".", 1, &got, &len, &err), -EISDIR);
	assert_null(got);
	put("empty", "");
	assert_holds("empty", "");
	/* A file that says it has 0 bytes. */
	assert_int_equal(io_read_file("/proc/self/status", 1 << 20, &got, &len, &err), 0);
	assert_true(len > 100);
}

static void test_io_replace_file_sets_content_and_mode(void **state)
{
	CLEANUP_FREE char *absolute = io_printf("%s/deep/f", folder);
	mode_t old = umask(0077);
	struct stat st;

	(void)state;
	put("f", "one");
	put("f", "two");
	assert_holds("f", "two");
	assert_int_equal(stat("f", &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(io_replace_file("f", "three", 5, 0644, NULL), 0);
	assert_int_equal(stat("f", &st), 0);
	assert_int_equal(st.st_mode & 07777, 0644); /* whatever the umask */
	umask(old);
	assert_int_equal(mkdir("deep", 0700), 0);
	put(absolute, "four");
	assert_holds("deep/f", "four");
	assert_int_equal(entries("."), 2);
	assert_int_equal(entries("deep"), 1);
}

/* The real call, with no room for the new file. */
static int replace_with_room_for(rlim_t bytes, const char *path, struct err *err)
{
	struct rlimit old, tight;
	char text[4096];
	int r;

	memset(text, 'n', sizeof(text));
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &old);
	tight = (struct rlimit){ bytes, old.rlim_max };
	setrlimit(RLIMIT_FSIZE, &tight);
	r = io_replace_file(path, text, sizeof(text), 0600, err);
	setrlimit(RLIMIT_FSIZE, &old);
	return r;
}

static void test_io_replace_file_that_fails_changes_nothing(void **state)
{
	struct err err = { 0 };

	(void)state;
	put("f", "old");
	assert_int_equal(replace_with_room_for(100, "f", &err), -EFBIG);
	assert_string_equal(err_text(&err), "write f: File too large");
	assert_holds("f", "old");
	assert_int_equal(entries("."), 1);

	assert_int_equal(mkdir("folder", 0700), 0);
	assert_int_equal(io_replace_file("folder", "x", 1, 0600, &err), -EISDIR);
	assert_int_equal(entries("."), 2);
	assert_int_equal(io_replace_file("nowhere/f", "x", 1, 0600, &err), -ENOENT);
	assert_non_null(strstr(err_text(&err), "write nowhere/f: create nowhere/.f."));
	assert_int_equal(io_replace_file("f/f", "x", 1, 0600, &err), -ENOTDIR);
	assert_holds("f", "old");
}

static const struct {
	const char *name;
	bool leftover;
} leftover_cases[] = {
	{ ".f.aB3xY9.tmp", true },    { ".server.conf.aB3xY9.tmp", true }, { ".f.tmp", false },
	{ ".aB3xY9.tmp", false },     { "f.aB3xY9.tmp", false },           { ".f.aB3xY9", false },
	{ ".f.aB3xY9.tmp.x", false }, { ".f_aB3xY9.tmp", false },
};

static void test_io_remove_leftovers_takes_only_its_own(void **state)
{
	struct err err = { 0 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(leftover_cases); i++)
		put(leftover_cases[i].name, "x");
	put("f", "x");
	assert_int_equal(io_remove_leftovers(".", &err), 0);
	for (size_t i = 0; i < ARRAY_LEN(leftover_cases); i++)
		assert_int_equal(access(leftover_cases[i].name, F_OK),
				 leftover_cases[i].leftover ? -1 : 0);
	assert_int_equal(access("f", F_OK), 0);
	assert_int_equal(io_remove_leftovers("nowhere", &err), -ENOENT);
}

/* ---- Folders ----------------------------------------------------------------------------------- */

static void test_io_make_folders_makes_all(void **state)
{
	CLEANUP_FREE char *absolute = io_printf("%s/x/y//z/", folder);
	mode_t old = umask(0);
	struct err err = { 0 };
	struct stat st;

	(void)state;
	assert_int_equal(io_make_folders("a/b/c", 0750, &err), 0);
	umask(old);
	assert_int_equal(stat("a/b/c", &st), 0);
	assert_true(S_ISDIR(st.st_mode));
	assert_int_equal(st.st_mode & 07777, 0750);
	assert_int_equal(io_make_folders("a/b/c", 0700, &err), 0);
	assert_int_equal(io_make_folders("a/b/d", 0700, &err), 0);
	assert_int_equal(io_make_folders(absolute, 0700, &err), 0);
	assert_int_equal(access("x/y/z", F_OK), 0);
	assert_int_equal(io_make_folders("/", 0700, &err), 0);
	put("f", "");
	assert_int_equal(io_make_folders("f", 0700, &err), -ENOTDIR);
	assert_string_equal(err_text(&err), "make folder f: Not a directory");
	assert_int_equal(io_make_folders("f/g", 0700, &err), -ENOTDIR);
	assert_int_equal(io_make_folders("", 0700, &err), -ENOENT);
}

static void test_io_sync_reports_missing_folders(void **state)
{
	struct err err = { 0 };

	(void)state;
	assert_int_equal(io_sync_folder(".", &err), 0);
	assert_int_equal(io_sync_parent("f", &err), 0);
	assert_int_equal(io_sync_parent("/f", &err), 0);
	assert_int_equal(io_sync_parent("nowhere/f", &err), -ENOENT);
	assert_string_equal(err_text(&err), "open folder nowhere: No such file or directory");
}

static void test_io_printf_makes_strings(void **state)
{
	CLEANUP_FREE char *text = io_printf("%s-%d", "a", 7);

	(void)state;
	assert_string_equal(text, "a-7");
}

static int replace(const char *path, const char *text)
{
	struct err err = { 0 };

	if (io_replace_file(path, text, strlen(text), 0600, &err) == 0)
		return 0;
	fprintf(stderr, "%s\n", err_text(&err));
	return 1;
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, enter, leave)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_io_finishes_despite_short_counts_and_signals),
		IN_FOLDER(test_io_says_when_a_file_ends_first),
		IN_FOLDER(test_io_refuses_offsets_beyond_what_files_have),
		cmocka_unit_test(test_io_reports_errors),
		IN_FOLDER(test_io_read_file_up_to_a_limit),
		IN_FOLDER(test_io_replace_file_sets_content_and_mode),
		IN_FOLDER(test_io_replace_file_that_fails_changes_nothing),
		IN_FOLDER(test_io_remove_leftovers_takes_only_its_own),
		IN_FOLDER(test_io_make_folders_makes_all),
		IN_FOLDER(test_io_sync_reports_missing_folders),
		cmocka_unit_test(test_io_printf_makes_strings),
	};

	if (argc == 4 && strcmp(argv[1], "replace") == 0)
		return replace(argv[2], argv[3]);
	return cmocka_run_group_tests_name("io", tests, NULL, NULL);
}
