#include "common/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static _Atomic(const char *) program_name = "";
static atomic_int threshold = LOG_LEVEL_INFO;
static atomic_bool to_journal;

static const struct {
	const char *name;
	enum log_level level;
} levels[] = {
	{ "error", LOG_LEVEL_ERROR },
	{ "warning", LOG_LEVEL_WARNING },
	{ "info", LOG_LEVEL_INFO },
	{ "debug", LOG_LEVEL_DEBUG },
};

/* JOURNAL_STREAM is inherited by children whose stderr may be something else: it names device and
 * inode. */
static bool stderr_is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long dev, ino;
	struct stat st;

	return stream && sscanf(stream, "%llu:%llu", &dev, &ino) == 2 &&
	       fstat(STDERR_FILENO, &st) == 0 && st.st_dev == dev && st.st_ino == ino;
}

void log_init(const char *program, enum log_level level)
{
	program_name = program;
	threshold = (int)level;
	to_journal = stderr_is_journal();
}

int log_level_parse(const char *name, enum log_level *level)
{
	for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++) {
		if (strcmp(name, levels[i].name) == 0) {
			*level = levels[i].level;
			return 0;
		}
	}
	return -EINVAL;
}

static const char *level_name(enum log_level level)
{
	for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++) {
		if (levels[i].level == level)
			return levels[i].name;
	}
	return "?";
}

static size_t put_prefix(char *line, size_t size, enum log_level level)
{
	const char *program = program_name;
	struct timespec now;
	struct tm tm;
	int n;

	if (to_journal) {
		n = snprintf(line, size, "<%d>", (int)level);
	} else {
		clock_gettime(CLOCK_REALTIME, &now);
		localtime_r(&now.tv_sec, &tm);
		n = snprintf(line, size, "%02d:%02d:%02d.%03d %s%s%s: ", tm.tm_hour, tm.tm_min,
			     tm.tm_sec, (int)(now.tv_nsec / 1000000), program,
			     program[0] ? ": " : "", level_name(level));
	}
	return n < 0 ? 0 : (size_t)n;
}

void log_line(enum log_level level, const char *format, ...)
{
	char line[4096];
	int saved = errno;
	size_t start, len;
	va_list ap;
	int n;

	if ((int)level > threshold)
		return;

	start = put_prefix(line, sizeof(line) / 2, level);
	va_start(ap, format);
	n = vsnprintf(line + start, sizeof(line) - start - 1, format, ap);
	va_end(ap);
	if (n < 0)
		n = 0;
	len = start + (size_t)n;
	if (len > sizeof(line) - 2) {
		len = sizeof(line) - 2;
		memcpy(line + len - 3, "...", 3);
	}
	/* Texts quote what came from outside: a newline in it must not forge a line of its own. */
	for (size_t i = start; i < len; i++) {
		if ((unsigned char)line[i] < ' ' || line[i] == 127)
			line[i] = '?';
	}
	line[len++] = '\n';
	if (write(STDERR_FILENO, line, len) < 0) {
		/* A log that can't be written can't be complained about either. */
	}
	errno = saved;
}
