#include "mgmt-server/cli/cli_progress.h"

#include <langinfo.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "mgmt-server/cli/cli_format.h"
#include "mgmt-server/cli/cli_table.h"

enum { BAR_MAX = 30, BAR_MIN = 8, LINE_MAX_BYTES = 1024, RATE_WINDOW_MS = 1000, NOTE_MAX = 96 };

static void append(char *text, size_t size, const char *more)
{
	size_t used = strlen(text);

	snprintf(text + used, size - used, "%s", more);
}

static void append_bar(char *text, size_t size, size_t cells, int percent, bool utf8)
{
	size_t full = cells * (size_t)percent / 100, i;

	append(text, size, utf8 ? "" : "[");
	for (i = 0; i < cells; i++) {
		if (utf8)
			append(text, size, i < full ? "━" : "┄");
		else
			append(text, size, i < full ? "#" : ".");
	}
	append(text, size, utf8 ? "" : "]");
}

/* "42 %  1.2 GiB of 3.0 GiB  120 MiB/s  15 s left" */
static void describe(const struct cli_progress_line *line, int percent, char *text, size_t size)
{
	char done[32], total[32], rate[32], left[32];
	int n;

	cli_format_bytes(line->done, done, sizeof(done));
	cli_format_bytes(line->total, total, sizeof(total));
	n = snprintf(text, size, "%3d %%  %s of %s", percent, done, total);
	if (line->rate < 1 || n < 0 || (size_t)n >= size || percent == 100)
		return;
	cli_format_bytes((uint64_t)line->rate, rate, sizeof(rate));
	cli_format_ms((double)(line->total - line->done) / line->rate * 1000, left, sizeof(left));
	snprintf(text + n, size - (size_t)n, "  %s/s  %s left", rate, left);
}

void cli_progress_format(const struct cli_progress_line *line, char *text, size_t size)
{
	int percent = cli_format_percent(line->done, line->total);
	char label[CLI_PROGRESS_TEXT_MAX], note[NOTE_MAX] = "";
	size_t room, bar = 0;

	snprintf(label, sizeof(label), "%s", line->label);
	cli_format_sanitize(label);
	text[0] = 0;
	if (percent >= 0)
		describe(line, percent, note, sizeof(note));
	room = line->width > strlen(note) + 2 ? line->width - strlen(note) - 2 : 0;
	if (percent < 0) {
		room = line->width;
	} else if (room >= cli_format_width(label) + 2 + BAR_MIN + 2) {
		bar = room - cli_format_width(label) - 4;
		bar = bar > BAR_MAX ? BAR_MAX : bar;
	}
	if (room > 0) {
		cli_format_cut(label, sizeof(label), room);
		append(text, size, label);
	}
	if (bar) {
		append(text, size, "  ");
		append_bar(text, size, bar, percent, line->utf8);
	}
	if (percent >= 0) {
		append(text, size, room > 0 ? "  " : "");
		append(text, size, note);
	}
	cli_format_cut(text, size, line->width);
}

static void measure(struct cli_progress *p, uint64_t done)
{
	uint64_t now = clock_now_ms(), passed = now - p->rate_at_ms;
	double rate;

	if (p->rate_at_ms == 0 || done < p->rate_from_bytes) {
		p->rate_at_ms = now;
		p->rate_from_bytes = done;
		p->rate = 0;
		return;
	}
	if (passed < RATE_WINDOW_MS)
		return;
	rate = (double)(done - p->rate_from_bytes) * 1000 / (double)passed;
	p->rate = p->rate > 0 ? 0.7 * p->rate + 0.3 * rate : rate;
	p->rate_at_ms = now;
	p->rate_from_bytes = done;
}

void cli_progress_show(struct cli_progress *p, const char *label, uint64_t done, uint64_t total)
{
	char text[LINE_MAX_BYTES];

	if (p->quiet)
		return;
	if (!p->begun) {
		p->begun = true;
		p->terminal = cli_table_terminal_width(STDERR_FILENO) > 0;
		p->utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
	}
	if (!p->terminal) {
		snprintf(text, CLI_PROGRESS_TEXT_MAX, "%s", label);
		cli_format_sanitize(text);
		if (*text && strcmp(text, p->last) != 0)
			fprintf(stderr, "%s\n", text);
		memcpy(p->last, text, strlen(text) + 1);
		return;
	}
	measure(p, done);
	{
		/* One column stays free: a full line wraps on some terminals. */
		struct cli_progress_line line = {
			.label = label,
			.done = done,
			.total = total,
			.rate = p->rate,
			.width = cli_table_terminal_width(STDERR_FILENO) - 1,
			.utf8 = p->utf8,
		};

		cli_progress_format(&line, text, sizeof(text));
	}
	fprintf(stderr, "\r\033[K%s", text);
	fflush(stderr);
	p->drawn = true;
}

void cli_progress_end(struct cli_progress *p)
{
	if (p->drawn) {
		fprintf(stderr, "\r\033[K");
		fflush(stderr);
	}
	p->drawn = false;
}
