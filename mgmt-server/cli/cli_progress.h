/* cli_progress.h - how far something is: one line that is drawn over on a terminal, a line for each new text elsewhere. */
#ifndef GODWIT_CLI_PROGRESS_H
#define GODWIT_CLI_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CLI_PROGRESS_TEXT_MAX = 200 };

/* Zero-initialise; quiet: nothing is ever printed. */
struct cli_progress {
	bool quiet, begun, terminal, utf8, drawn;
	uint64_t rate_at_ms, rate_from_bytes; /* where the measuring of the rate began */
	double rate;                          /* bytes a second, smoothed; 0: not known yet */
	char last[CLI_PROGRESS_TEXT_MAX];
};

/* label: a few words, any characters. total 0: no measure. */
void cli_progress_show(struct cli_progress *p, const char *label, uint64_t done, uint64_t total);
/* Clear the line, so that something else can be printed. */
void cli_progress_end(struct cli_progress *p);

struct cli_progress_line {
	const char *label;
	uint64_t done, total;
	double rate;  /* bytes a second; 0: unknown */
	size_t width; /* columns there are */
	bool utf8;
};
/* The line itself, never wider than line->width. text: char[size]. */
void cli_progress_format(const struct cli_progress_line *line, char *text, size_t size);

#endif
