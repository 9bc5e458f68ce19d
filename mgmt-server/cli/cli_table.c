#include "mgmt-server/cli/cli_table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { GAP = 2, WIDTH_UNKNOWN = 80 };

size_t cli_table_terminal_width(int fd)
{
	struct winsize size;

	if (!isatty(fd))
		return 0;
	if (ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
		return size.ws_col;
	return WIDTH_UNKNOWN;
}

bool cli_table_terminal_colour(int fd)
{
	const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

	return isatty(fd) && !(no && *no) && term && strcmp(term, "dumb") != 0;
}

static const char *state_colour(const char *state)
{
	static const struct {
		const char *state, *sequence;
	} colours[] = {
		{ "running", "32" },  { "online", "32" },       { "done", "32" },
		{ "lost", "31" },     { "error", "31" },        { "failed", "31" },
		{ "offline", "31" },  { "fenced", "33" },       { "paused", "33" },
		{ "starting", "36" }, { "failing-over", "33" }, { "queued", "36" },
	};
	size_t i;

	for (i = 0; i < ARRAY_LEN(colours); i++) {
		if (strcmp(colours[i].state, state) == 0)
			return colours[i].sequence;
	}
	return NULL;
}

/* A table being laid out: cells[row * columns + column]; row 0 holds the titles. */
struct layout {
	char (*cells)[CLI_FORMAT_MAX];
	size_t rows, columns;
	size_t width[CLI_TABLE_COLUMNS_MAX]; /* 0: left out */
};

static char *cell(const struct layout *l, size_t row, size_t column)
{
	return l->cells[row * l->columns + column];
}

static void fill(struct layout *l, const struct cli_table *table, const json_t *rows)
{
	const json_t *row;
	size_t i, c;

	for (c = 0; c < l->columns; c++) {
		snprintf(cell(l, 0, c), CLI_FORMAT_MAX, "%s", table->columns[c].title);
		l->width[c] = cli_format_width(table->columns[c].title);
	}
	json_array_foreach ((json_t *)rows, i, row) {
		for (c = 0; c < l->columns; c++) {
			const struct cli_column *column = &table->columns[c];
			char *text = cell(l, i + 1, c);
			size_t width;

			cli_format_value(cli_format_find(row, column->path), column->format,
					 table->now_wall_ms, text, CLI_FORMAT_MAX);
			width = cli_format_width(text);
			if (width > l->width[c])
				l->width[c] = width;
		}
	}
}

static size_t total_width(const struct layout *l)
{
	size_t c, sum = 0;

	for (c = 0; c < l->columns; c++)
		sum += l->width[c] ? l->width[c] + GAP : 0;
	return sum > GAP ? sum - GAP : 0;
}

/* The widest column that may still shrink, or l->columns. */
static size_t widest(const struct layout *l, const struct cli_table *table)
{
	size_t c, best = l->columns;

	for (c = 0; c < l->columns; c++) {
		if (table->columns[c].shrinks && l->width[c] > CLI_TABLE_SHRUNK_MIN &&
		    (best == l->columns || l->width[c] > l->width[best]))
			best = c;
	}
	return best;
}

/* The column that yields first, or l->columns. */
static size_t least_wanted(const struct layout *l, const struct cli_table *table)
{
	size_t c, best = l->columns;

	for (c = 0; c < l->columns; c++) {
		if (l->width[c] && table->columns[c].yields &&
		    (best == l->columns || table->columns[c].yields > table->columns[best].yields))
			best = c;
	}
	return best;
}

static void fit(struct layout *l, const struct cli_table *table)
{
	size_t c;

	while (table->width && total_width(l) > table->width) {
		c = widest(l, table);
		if (c < l->columns) {
			l->width[c]--;
			continue;
		}
		c = least_wanted(l, table);
		if (c == l->columns)
			return; /* too narrow for anything: the terminal wraps */
		l->width[c] = 0;
	}
}

static size_t last_shown(const struct layout *l)
{
	size_t c, last = 0;

	for (c = 0; c < l->columns; c++) {
		if (l->width[c])
			last = c;
	}
	return last;
}

static void print_cell(const struct cli_table *table, const struct layout *l, size_t row, size_t c,
		       FILE *out)
{
	const struct cli_column *column = &table->columns[c];
	char *text = cell(l, row, c);
	const char *colour = NULL;
	size_t pad;

	if (table->colour && row == 0)
		colour = "1";
	else if (table->colour && column->format == CLI_FORMAT_STATE)
		colour = state_colour(text);
	cli_format_cut(text, CLI_FORMAT_MAX, l->width[c]);
	pad = l->width[c] - cli_format_width(text);
	if (column->right)
		fprintf(out, "%*s", (int)pad, "");
	if (colour)
		fprintf(out, "\033[%sm%s\033[0m", colour, text);
	else
		fputs(text, out);
	if (c == last_shown(l))
		fputc('\n', out);
	else
		fprintf(out, "%*s", (int)(column->right ? 0 : pad) + GAP, "");
}

static int written(FILE *out)
{
	return fflush(out) == 0 && !ferror(out) ? 0 : -EIO;
}

int cli_table_print(const struct cli_table *table, const json_t *rows, FILE *out)
{
	CLEANUP_FREE char(*cells)[CLI_FORMAT_MAX] = NULL;
	struct layout l = { .rows = json_array_size(rows) + 1, .columns = table->column_count };
	size_t row, c;

	cells = calloc(l.rows * l.columns, sizeof(*cells));
	if (!cells)
		return -ENOMEM;
	l.cells = cells;
	fill(&l, table, rows);
	fit(&l, table);
	for (row = 0; row < l.rows; row++) {
		for (c = 0; c < l.columns; c++) {
			if (l.width[c])
				print_cell(table, &l, row, c, out);
		}
	}
	return written(out);
}

int cli_table_print_record(const struct cli_table *table, const json_t *object, FILE *out)
{
	size_t c, widest_title = 0;

	for (c = 0; c < table->column_count; c++) {
		size_t width = cli_format_width(table->columns[c].title);

		if (width > widest_title)
			widest_title = width;
	}
	for (c = 0; c < table->column_count; c++) {
		const struct cli_column *column = &table->columns[c];
		const json_t *value = cli_format_find(object, column->path);
		char text[CLI_FORMAT_MAX];
		const char *colour = NULL;

		if (!value)
			continue;
		cli_format_value(value, column->format, table->now_wall_ms, text, sizeof(text));
		if (table->colour && column->format == CLI_FORMAT_STATE)
			colour = state_colour(text);
		fprintf(out, "%-*s  ", (int)widest_title, column->title);
		if (colour)
			fprintf(out, "\033[%sm%s\033[0m\n", colour, text);
		else
			fprintf(out, "%s\n", text);
	}
	return written(out);
}

int cli_table_print_keys(const json_t *object, const char *indent, FILE *out)
{
	const char *key;
	const json_t *value;
	size_t widest_key = 0;

	json_object_foreach ((json_t *)object, key, value) {
		if (strlen(key) > widest_key)
			widest_key = strlen(key);
	}
	json_object_foreach ((json_t *)object, key, value) {
		char name[64], text[CLI_FORMAT_MAX];

		snprintf(name, sizeof(name), "%s", key);
		cli_format_sanitize(name);
		cli_format_value(value, CLI_FORMAT_TEXT, 0, text, sizeof(text));
		fprintf(out, "%s%-*s  %s\n", indent, (int)(widest_key < 63 ? widest_key : 63), name,
			text);
	}
	return written(out);
}
