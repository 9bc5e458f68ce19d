/* cli_table.h - tables and records on a terminal, fitted to its width; whole when the output is not a terminal. */
#ifndef GODWIT_CLI_TABLE_H
#define GODWIT_CLI_TABLE_H

#include <stdio.h>

#include "mgmt-server/cli/cli_format.h"

struct cli_column {
	const char *title;
	const char *path; /* in the row's object (cli_format_find) */
	enum cli_format format;
	bool right; /* aligned to the right: numbers */
	unsigned
		yields; /* too little room: columns with the largest number are left out first; 0: never */
	bool shrinks; /* may be cut with "…" before anything is left out */
};

struct cli_table {
	const struct cli_column *columns;
	size_t column_count;
	uint64_t now_wall_ms;
	size_t width; /* of the terminal; 0: not a terminal, nothing is cut */
	bool colour;
};

enum { CLI_TABLE_COLUMNS_MAX = 24, CLI_TABLE_SHRUNK_MIN = 8 };

/* The width of the terminal behind @fd, 0 if it is none. */
size_t cli_table_terminal_width(int fd);
/* Colours: a terminal that is not "dumb", and NO_COLOR is not set. */
bool cli_table_terminal_colour(int fd);

/* rows: an array of objects. Return 0 or -errno of writing or memory. */
int cli_table_print(const struct cli_table *table, const json_t *rows, FILE *out);

/* One object, a line for each column that is there. */
int cli_table_print_record(const struct cli_table *table, const json_t *object, FILE *out);

/* All keys of an object as they are ("pause_ms  23.4"), nested ones as JSON. */
int cli_table_print_keys(const json_t *object, const char *indent, FILE *out);

#endif
