/* cli_options.h - the options of one command: a table that parses, documents and becomes a request by itself.
 *
 * An option that has a `json` key is put into the request's body under that key when it was given, so that most
 * commands need no code of their own.
 */
#ifndef GODWIT_CLI_OPTIONS_H
#define GODWIT_CLI_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "common/json.h"

enum cli_kind {
	CLI_FLAG,     /* takes no value; true in a request */
	CLI_FLAG_OFF, /* takes no value; false in a request: --no-memory */
	CLI_TEXT,
	CLI_NAME,    /* [a-z0-9][a-z0-9-]{0,62}: an endpoint or a desktop */
	CLI_COUNT,   /* a number from 1 on */
	CLI_MIB,     /* 512M, 2G, 2048 (MiB); MiB in a request */
	CLI_SECONDS, /* 90s, 10m, 2h, 1d; seconds in a request */
	CLI_MS,      /* the same; milliseconds in a request */
	CLI_CHOICE,  /* one of `choices` */
};

struct cli_option {
	const char *name; /* without the dashes */
	enum cli_kind kind;
	const char *argument; /* "ENDPOINT": how help calls the value; NULL for flags */
	const char *help;     /* one line */
	const char *choices;  /* "table|json"; CLI_CHOICE only */
	const char *json;     /* NULL: not part of the request */
};

struct cli_value {
	bool given;
	const char *text; /* borrowed from argv */
	uint64_t
		number; /* CLI_COUNT, CLI_MIB, CLI_SECONDS, CLI_MS; the choice's place for CLI_CHOICE */
};

enum { CLI_OPTIONS_MAX = 16, CLI_NAME_MAX = 63 };

bool cli_options_name_valid(const char *name);

/**
 * cli_options_value(option, text, value, err):
 * Check and convert what was given for @option. text: NULL for flags.
 *
 * Return 0 or -EINVAL with a text that says what is wrong and what would be right.
 */
int cli_options_value(const struct cli_option *option, const char *text, struct cli_value *value,
		      struct err *err);

/* The request's body: a new reference, {} when nothing with a json key was given; NULL: out of memory. */
json_t *cli_options_body(const struct cli_option *options, const struct cli_value *values,
			 size_t n);

/* The value of option @name, which must be in the table. */
const struct cli_value *cli_options_get(const struct cli_option *options,
					const struct cli_value *values, size_t n, const char *name);

#endif
