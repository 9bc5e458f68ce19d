/* log.h - lines for whoever operates a daemon.
 *
 * A line is a short sentence followed by key=value pairs: log_info("snapshot taken desktop=%s pause_ms=%u", …). It goes
 * to stderr. When JOURNAL_STREAM says that this is journald, it carries the "<4>" level prefix that journald understands;
 * else a time of day, the program and the level. Control characters become '?', longer lines than 4 KiB end in "...".
 * Libraries (common, snapshot, migrate) never log. Thread-safe: one write(2) a line; errno stays what it was.
 * Source: sd-daemon(3), "<3>" prefixes; systemd.exec(5), $JOURNAL_STREAM.
 */
#ifndef GODWIT_COMMON_LOG_H
#define GODWIT_COMMON_LOG_H

enum log_level {
	LOG_LEVEL_ERROR = 3,
	LOG_LEVEL_WARNING = 4,
	LOG_LEVEL_INFO = 6,
	LOG_LEVEL_DEBUG = 7
};

/**
 * log_init(program, level):
 * program  stands in front of each line (journald adds it by itself); the string must stay
 * level    lines that matter less are dropped; before this call LOG_LEVEL_INFO holds
 */
void log_init(const char *program, enum log_level level);

/* "error", "warning", "info", "debug" → *level; return 0 or -EINVAL. */
int log_level_parse(const char *name, enum log_level *level);

void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...)   log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...)    log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)   log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
