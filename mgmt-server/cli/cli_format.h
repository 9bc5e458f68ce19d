/* cli_format.h - values of the API as people read them.
 *
 * Texts come from endpoints and guests: control characters never reach the terminal, they become '?'.
 */
#ifndef GODWIT_CLI_FORMAT_H
#define GODWIT_CLI_FORMAT_H

#include <stddef.h>
#include <stdint.h>

#include "common/json.h"

enum cli_format {
	CLI_FORMAT_TEXT,     /* strings, numbers, booleans (yes, no) */
	CLI_FORMAT_STATE,    /* the same, coloured on a terminal */
	CLI_FORMAT_BYTES,    /* 1.5 GiB */
	CLI_FORMAT_MIB,      /* the same from MiB */
	CLI_FORMAT_MS,       /* 23 ms, 1.4 s, 3 min 20 s */
	CLI_FORMAT_AGO,      /* 40 s ago, from RFC 3339 */
	CLI_FORMAT_TIME,     /* 2026-11-22 16:45:12 in local time, from RFC 3339 */
	CLI_FORMAT_LIST,     /* an array of texts: a, b, c */
	CLI_FORMAT_PROGRESS, /* of a job object: 42 % */
};

enum { CLI_FORMAT_MAX = 512 };

void cli_format_bytes(uint64_t bytes, char *text, size_t size);
void cli_format_ms(double ms, char *text, size_t size);
/* How long before @now_wall_ms: "just now", "40 s ago", "3 h ago", "in 2 h". */
void cli_format_ago(uint64_t then_wall_ms, uint64_t now_wall_ms, char *text, size_t size);

/* What stands at "a.b.c" in @object; "" is the object itself; NULL: nothing there. Borrowed. */
const json_t *cli_format_find(const json_t *object, const char *path);

/**
 * cli_format_value(value, format, now_wall_ms, text, size):
 * Write @value (NULL or null: "-"; of another type than @format expects: as CLI_FORMAT_TEXT does) to @text, one line.
 */
void cli_format_value(const json_t *value, enum cli_format format, uint64_t now_wall_ms, char *text,
		      size_t size);

/* Replace what a terminal would obey (C0, DEL, and C1 as UTF-8) in place. */
void cli_format_sanitize(char *text);

/* Columns that @text takes on a terminal: UTF-8 sequences count as one. */
size_t cli_format_width(const char *text);

/* Cut to at most @width columns, the last one then "…" if something was cut. text: char[size]. */
void cli_format_cut(char *text, size_t size, size_t width);

/* Percent for a job's progress, or -1 when it has no measure. */
int cli_format_percent(uint64_t done, uint64_t total);

#endif
