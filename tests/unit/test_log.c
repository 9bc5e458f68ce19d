#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base.h"
#include "common/io.h"
#include "common/log.h"

/* stderr goes into a file while `write_lines` runs; the file's text is returned. */
static char *captured(void (*write_lines)(void))
{
	char path[] = "/tmp/godwit-test-log.XXXXXX";
	CLEANUP_FD int fd = mkstemp(path);
	int saved = dup(STDERR_FILENO);
	uint8_t *text = NULL;
	size_t len;

	dup2(fd, STDERR_FILENO);
	lseek(STDERR_FILENO, 0, SEEK_SET);
	fcntl(STDERR_FILENO, F_SETFL, O_APPEND);
	write_lines();
	dup2(saved, STDERR_FILENO);
	close(saved);
	assert_int_equal(io_read_file(path, 1 << 22, &text, &len, NULL), 0);
	unlink(path);
	return (char *)text;
}

static void assert_matches(const char *text, const char *pattern)
{
	regex_t regex;

	assert_int_equal(regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB), 0);
	if (regexec(&regex, text, 0, NULL, 0) != 0)
		fail_msg("'%s' does not match %s", text, pattern);
	regfree(&regex);
}

#define TIME "^[0-2][0-9]:[0-5][0-9]:[0-5][0-9]\\.[0-9]{3} "

static void one_of_each(void)
{
	log_error("it broke desktop=%s", "d1");
	log_warning("w");
	log_info("i");
	log_debug("d");
}

static void quietly(void)
{
	log_init("prog", LOG_LEVEL_WARNING);
	one_of_each();
}

static void loudly(void)
{
	log_init("prog", LOG_LEVEL_DEBUG);
	one_of_each();
}

static void test_log_drops_what_matters_less(void **state)
{
	CLEANUP_FREE char *few = captured(quietly), *all = captured(loudly);

	(void)state;
	assert_matches(few, TIME "prog: error: it broke desktop=d1\n[^\n]* prog: warning: w\n$");
	assert_matches(all, "prog: warning: w\n[^\n]* prog: info: i\n[^\n]* prog: debug: d\n$");
}

static void to_the_journal(void)
{
	struct stat st;
	CLEANUP_FREE char *stream = NULL;

	fstat(STDERR_FILENO, &st);
	stream = io_printf("%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
	setenv("JOURNAL_STREAM", stream, 1);
	loudly();
	unsetenv("JOURNAL_STREAM");
}

static void to_anothers_journal(void)
{
	setenv("JOURNAL_STREAM", "1:1", 1);
	loudly();
	unsetenv("JOURNAL_STREAM");
}

static void test_log_prefixes_levels_for_the_journal_only(void **state)
{
	CLEANUP_FREE char *journal = captured(to_the_journal);
	CLEANUP_FREE char *other = captured(to_anothers_journal);

	(void)state;
	assert_string_equal(journal, "<3>it broke desktop=d1\n<4>w\n<6>i\n<7>d\n");
	assert_matches(other, TIME "prog: error: it broke");
}

static void forged(void)
{
	log_init("prog", LOG_LEVEL_INFO);
	log_info("name=%s", "a\nprog: error: forged\r\x1b[31m\x7f\td\xc3\xa4");
}

static void test_log_lines_cannot_be_forged(void **state)
{
	CLEANUP_FREE char *text = captured(forged);

	(void)state;
	assert_matches(text, TIME
		       "prog: info: name=a\\?prog: error: forged\\?\\?\\[31m\\?\\?d\xc3\xa4\n$");
}

static void much(void)
{
	static char text[10000];

	memset(text, 'x', sizeof(text) - 1);
	log_init("prog", LOG_LEVEL_INFO);
	log_info("%s", text);
	log_info("next");
}

static void test_log_cuts_long_lines(void **state)
{
	CLEANUP_FREE char *text = captured(much);

	(void)state;
	assert_matches(text, TIME "prog: info: x{200,}\\.\\.\\.\n[^\n]*next\n$");
	assert_int_equal(strchr(text, '\n') + 1 - text, 4095);
}

static void *many(void *arg)
{
	for (int i = 0; i < 200; i++)
		log_info("%s", (char *)arg);
	return NULL;
}

static void from_threads(void)
{
	pthread_t threads[4];
	char *texts[] = { "aaaaaaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbbbbbb", "cccccccccccccccccccc",
			  "dddddddddddddddddddd" };

	log_init("prog", LOG_LEVEL_INFO);
	for (size_t i = 0; i < ARRAY_LEN(threads); i++)
		pthread_create(&threads[i], NULL, many, texts[i]);
	for (size_t i = 0; i < ARRAY_LEN(threads); i++)
		pthread_join(threads[i], NULL);
}

static void test_log_lines_of_threads_stay_whole(void **state)
{
	CLEANUP_FREE char *text = captured(from_threads);
	size_t lines = 0;

	(void)state;
	for (char *rest = text, *line; (line = strsep(&rest, "\n")) && *line; lines++)
		assert_matches(line, TIME "prog: info: (a{20}|b{20}|c{20}|d{20})$");
	assert_int_equal(lines, 800);
}

static void with_errno(void)
{
	errno = EXDEV;
	log_error("x");
	assert_int_equal(errno, EXDEV);
}

static void test_log_keeps_errno(void **state)
{
	CLEANUP_FREE char *text = captured(with_errno);

	(void)state;
	assert_non_null(strstr(text, "error: x\n"));
}

static void test_log_level_parse_knows_four_names(void **state)
{
	enum log_level level = LOG_LEVEL_INFO;

	(void)state;
	assert_int_equal(log_level_parse("error", &level), 0);
	assert_int_equal(level, LOG_LEVEL_ERROR);
	assert_int_equal(log_level_parse("debug", &level), 0);
	assert_int_equal(level, LOG_LEVEL_DEBUG);
	assert_int_equal(log_level_parse("Debug", &level), -EINVAL);
	assert_int_equal(log_level_parse("", &level), -EINVAL);
	assert_int_equal(level, LOG_LEVEL_DEBUG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_log_drops_what_matters_less),
		cmocka_unit_test(test_log_prefixes_levels_for_the_journal_only),
		cmocka_unit_test(test_log_lines_cannot_be_forged),
		cmocka_unit_test(test_log_cuts_long_lines),
		cmocka_unit_test(test_log_lines_of_threads_stay_whole),
		cmocka_unit_test(test_log_keeps_errno),
		cmocka_unit_test(test_log_level_parse_knows_four_names),
	};

	return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
