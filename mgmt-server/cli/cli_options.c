#include "mgmt-server/cli/cli_options.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "common/base.h"

bool cli_options_name_valid(const char *name)
{
	size_t len = strlen(name);

	return len >= 1 && len <= CLI_NAME_MAX && name[0] != '-' &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == len;
}

struct unit {
	const char *suffix;
	uint64_t factor;
};

static const struct unit mib_units[] = {
	{ "", 1 },       { "M", 1 },           { "MiB", 1 },          { "G", 1024 },
	{ "GiB", 1024 }, { "T", 1024 * 1024 }, { "TiB", 1024 * 1024 }
};
static const struct unit second_units[] = {
	{ "s", 1 }, { "", 1 }, { "m", 60 }, { "h", 3600 }, { "d", 86400 }
};
static const struct unit ms_units[] = { { "ms", 1 },    { "s", 1000 },    { "", 1000 },
					{ "m", 60000 }, { "h", 3600000 }, { "d", 86400000 } };
static const struct unit count_units[] = { { "", 1 } };

static const struct number_kind {
	enum cli_kind kind;
	const struct unit *units;
	size_t unit_count;
	const char *right; /* what would be right */
} number_kinds[] = {
	{ CLI_COUNT, count_units, ARRAY_LEN(count_units), "a number from 1 on" },
	{ CLI_MIB, mib_units, ARRAY_LEN(mib_units), "a size such as 512M or 2G" },
	{ CLI_SECONDS, second_units, ARRAY_LEN(second_units), "a time such as 90s, 10m, 2h or 1d" },
	{ CLI_MS, ms_units, ARRAY_LEN(ms_units), "a time such as 500ms, 90s or 10m" },
};

/* Nobody asks for more than 2^40 of anything here, and it keeps every product below 2^63. */
enum { NUMBER_DIGITS_MAX = 12 };

static int parse_number(const struct number_kind *kind, const char *text, uint64_t *out)
{
	size_t digits = strspn(text, "0123456789"), i;
	uint64_t number = 0;

	if (digits == 0 || digits > NUMBER_DIGITS_MAX)
		return -EINVAL;
	for (i = 0; i < digits; i++)
		number = number * 10 + (uint64_t)(text[i] - '0');
	for (i = 0; i < kind->unit_count; i++) {
		if (strcasecmp(text + digits, kind->units[i].suffix) == 0) {
			*out = number * kind->units[i].factor;
			return number ? 0 : -EINVAL;
		}
	}
	return -EINVAL;
}

static int parse_choice(const struct cli_option *option, const char *text, uint64_t *place,
			struct err *err)
{
	const char *at = option->choices;
	size_t len = strlen(text);

	for (*place = 0; *at; (*place)++) {
		size_t span = strcspn(at, "|");

		if (span == len && strncmp(at, text, len) == 0)
			return 0;
		at += span + (at[span] == '|');
	}
	return err_say(err, EINVAL, "--%s: '%s' is none of %s", option->name, text,
		       option->choices);
}

int cli_options_value(const struct cli_option *option, const char *text, struct cli_value *value,
		      struct err *err)
{
	size_t i;

	*value = (struct cli_value){ .given = true, .text = text };
	if (option->kind == CLI_FLAG || option->kind == CLI_FLAG_OFF)
		return 0;
	if (!*text)
		return err_say(err, EINVAL, "--%s needs a value: %s", option->name,
			       option->argument);
	if (option->kind == CLI_CHOICE)
		return parse_choice(option, text, &value->number, err);
	if (option->kind == CLI_NAME && !cli_options_name_valid(text))
		return err_say(err, EINVAL,
			       "--%s: '%s' is no name: lower-case letters, digits and hyphens, at "
			       "most %d of them",
			       option->name, text, CLI_NAME_MAX);
	for (i = 0; i < ARRAY_LEN(number_kinds); i++) {
		if (number_kinds[i].kind != option->kind)
			continue;
		if (parse_number(&number_kinds[i], text, &value->number) < 0)
			return err_say(err, EINVAL, "--%s: '%s' is not %s", option->name, text,
				       number_kinds[i].right);
	}
	return 0;
}

static json_t *json_value(const struct cli_option *option, const struct cli_value *value)
{
	switch (option->kind) {
	case CLI_FLAG:
		return json_true();
	case CLI_FLAG_OFF:
		return json_false();
	case CLI_TEXT:
	case CLI_NAME:
	case CLI_CHOICE:
		return json_string(value->text);
	default:
		return json_integer((json_int_t)value->number);
	}
}

json_t *cli_options_body(const struct cli_option *options, const struct cli_value *values, size_t n)
{
	json_t *body = json_object();
	size_t i;

	for (i = 0; body && i < n; i++) {
		if (!values[i].given || !options[i].json)
			continue;
		if (json_object_set_new(body, options[i].json,
					json_value(&options[i], &values[i])) < 0) {
			json_decref(body);
			body = NULL;
		}
	}
	return body;
}

const struct cli_value *cli_options_get(const struct cli_option *options,
					const struct cli_value *values, size_t n, const char *name)
{
	size_t i;

	for (i = 0; i < n; i++) {
		if (strcmp(options[i].name, name) == 0)
			return &values[i];
	}
	assert(i < n); /* the command's table has no such option */
	return NULL;
}
