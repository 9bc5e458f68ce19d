#include "mgmt-server/cli/cli_format.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/clock.h"

void cli_format_bytes(uint64_t bytes, char *text, size_t size)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	double value = (double)bytes;
	size_t unit = 0;

	while (value >= 1023.95 && unit + 1 < ARRAY_LEN(units)) {
		value /= 1024;
		unit++;
	}
	snprintf(text, size, unit && value < 99.95 ? "%.1f %s" : "%.0f %s", value, units[unit]);
}

void cli_format_ms(double ms, char *text, size_t size)
{
	double seconds = ms / 1000;

	if (ms < 1000) {
		snprintf(text, size, ms < 10 ? "%.1f ms" : "%.0f ms", ms);
	} else if (seconds < 99.95) {
		snprintf(text, size, "%.1f s", seconds);
	} else {
		uint64_t whole = (uint64_t)(seconds + 0.5);

		if (whole < 3600)
			snprintf(text, size, "%u min %u s", (unsigned)(whole / 60),
				 (unsigned)(whole % 60));
		else
			snprintf(text, size, "%llu h %u min", (unsigned long long)(whole / 3600),
				 (unsigned)(whole % 3600 / 60));
	}
}

void cli_format_ago(uint64_t then_wall_ms, uint64_t now_wall_ms, char *text, size_t size)
{
	static const struct {
		uint64_t below_s, divisor_s;
		const char *unit;
	} steps[] = {
		{ 120, 1, "s" },
		{ 120 * 60, 60, "min" },
		{ 48 * 3600, 3600, "h" },
		{ UINT64_MAX, 86400, "days" },
	};
	bool future = then_wall_ms > now_wall_ms;
	uint64_t s = (future ? then_wall_ms - now_wall_ms : now_wall_ms - then_wall_ms) / 1000;
	size_t i = 0;

	if (s < 2) {
		snprintf(text, size, "just now");
		return;
	}
	while (s >= steps[i].below_s)
		i++;
	snprintf(text, size, "%s%llu %s%s", future ? "in " : "",
		 (unsigned long long)(s / steps[i].divisor_s), steps[i].unit, future ? "" : " ago");
}

const json_t *cli_format_find(const json_t *object, const char *path)
{
	while (object && *path) {
		size_t len = strcspn(path, ".");
		char key[64];

		if (len >= sizeof(key))
			return NULL;
		memcpy(key, path, len);
		key[len] = 0;
		object = json_object_get(object, key);
		path += len + (path[len] == '.');
	}
	return object;
}

int cli_format_percent(uint64_t done, uint64_t total)
{
	if (total == 0)
		return -1;
	/* Never 100 before it is: a job that says "100 %" and goes on is a lie. */
	return done >= total ? 100 : (int)((double)done / (double)total * 100);
}

static void format_text(const json_t *value, char *text, size_t size)
{
	CLEANUP_FREE char *dump = NULL;

	if (json_is_string(value)) {
		snprintf(text, size, "%s", json_string_value(value));
	} else if (json_is_boolean(value)) {
		snprintf(text, size, "%s", json_is_true(value) ? "yes" : "no");
	} else if (json_is_integer(value)) {
		snprintf(text, size, "%lld", (long long)json_integer_value(value));
	} else if (json_is_real(value)) {
		snprintf(text, size, "%.1f", json_real_value(value));
	} else {
		dump = json_text(value);
		snprintf(text, size, "%s", dump ? dump : "?");
	}
}

static bool format_number(const json_t *value, enum cli_format format, char *text, size_t size)
{
	double number = json_number_value(value);

	if (!json_is_number(value) || number < 0)
		return false;
	switch (format) {
	case CLI_FORMAT_BYTES:
		cli_format_bytes((uint64_t)number, text, size);
		return true;
	case CLI_FORMAT_MIB:
		cli_format_bytes((uint64_t)number << 20, text, size);
		return true;
	case CLI_FORMAT_MS:
		cli_format_ms(number, text, size);
		return true;
	default:
		return false;
	}
}

static bool format_moment(const json_t *value, enum cli_format format, uint64_t now_wall_ms,
			  char *text, size_t size)
{
	uint64_t wall_ms;
	struct tm local;
	time_t seconds;

	if (!json_is_string(value) || clock_parse(json_string_value(value), &wall_ms) < 0)
		return false;
	if (format == CLI_FORMAT_AGO) {
		cli_format_ago(wall_ms, now_wall_ms, text, size);
		return true;
	}
	seconds = (time_t)(wall_ms / 1000);
	return format == CLI_FORMAT_TIME && localtime_r(&seconds, &local) &&
	       strftime(text, size, "%Y-%m-%d %H:%M:%S", &local) > 0;
}

static bool format_list(const json_t *value, char *text, size_t size)
{
	size_t i, used = 0;
	const json_t *item;

	if (!json_is_array(value))
		return false;
	snprintf(text, size, "-");
	json_array_foreach ((json_t *)value, i, item) {
		int n;

		if (!json_is_string(item))
			return false;
		n = snprintf(text + used, size - used, "%s%s", i ? ", " : "",
			     json_string_value(item));
		if (n < 0 || (size_t)n >= size - used)
			break; /* cut: the column would have cut it anyway */
		used += (size_t)n;
	}
	return true;
}

static bool format_progress(const json_t *job, char *text, size_t size)
{
	const json_t *done = json_object_get(job, "done_bytes");
	const json_t *total = json_object_get(job, "total_bytes");
	int percent;

	if (!json_is_integer(done) || !json_is_integer(total))
		return false;
	percent = cli_format_percent((uint64_t)json_integer_value(done),
				     (uint64_t)json_integer_value(total));
	if (percent < 0)
		snprintf(text, size, "-");
	else
		snprintf(text, size, "%d %%", percent);
	return true;
}

void cli_format_value(const json_t *value, enum cli_format format, uint64_t now_wall_ms, char *text,
		      size_t size)
{
	bool done = false;

	if (!value || json_is_null(value)) {
		snprintf(text, size, "-");
		return;
	}
	switch (format) {
	case CLI_FORMAT_BYTES:
	case CLI_FORMAT_MIB:
	case CLI_FORMAT_MS:
		done = format_number(value, format, text, size);
		break;
	case CLI_FORMAT_AGO:
	case CLI_FORMAT_TIME:
		done = format_moment(value, format, now_wall_ms, text, size);
		break;
	case CLI_FORMAT_LIST:
		done = format_list(value, text, size);
		break;
	case CLI_FORMAT_PROGRESS:
		done = format_progress(value, text, size);
		break;
	case CLI_FORMAT_TEXT:
	case CLI_FORMAT_STATE:
		break;
	}
	if (!done)
		format_text(value, text, size);
	cli_format_sanitize(text);
	if (!*text)
		snprintf(text, size, "-");
}

void cli_format_sanitize(char *text)
{
	unsigned char *p = (unsigned char *)text;

	for (; *p; p++) {
		if (*p < 0x20 || *p == 0x7f)
			*p = '?';
		else if (p[0] == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0)
			p[0] = p[1] = '?'; /* U+0080..U+009F: CSI and its kin in eight bits */
	}
}

static bool continues(char byte)
{
	return ((unsigned char)byte & 0xc0) == 0x80;
}

size_t cli_format_width(const char *text)
{
	size_t width = 0;

	for (; *text; text++)
		width += !continues(*text);
	return width;
}

void cli_format_cut(char *text, size_t size, size_t width)
{
	static const char ellipsis[] = "…";
	size_t columns = 0, at = 0;

	if (width == 0 || cli_format_width(text) <= width)
		return;
	while (text[at] && (columns < width - 1 || continues(text[at]))) {
		at++;
		columns += !continues(text[at]);
	}
	if (at + sizeof(ellipsis) <= size)
		memcpy(text + at, ellipsis, sizeof(ellipsis));
	else
		text[at] = 0;
}
