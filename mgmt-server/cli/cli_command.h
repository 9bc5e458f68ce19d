/* cli_command.h - the commands of `godwit`: one table row each, from which parsing, help and the request follow.
 *
 * A command line is NOUN VERB WORDS OPTIONS, in any order after the verb; login and logout are nouns without verbs.
 */
#ifndef GODWIT_CLI_COMMAND_H
#define GODWIT_CLI_COMMAND_H

#include <stdio.h>

#include "mgmt-server/cli/cli_options.h"
#include "mgmt-server/cli/cli_table.h"

enum { CLI_WORDS_MAX = 3 };
enum cli_output { CLI_OUTPUT_TABLE, CLI_OUTPUT_JSON };

struct cli_call;

/* What a list or a single object looks like to people. */
struct cli_view {
	const struct cli_column *columns;
	size_t count;
	const char *nothing; /* instead of an empty table: what there could be and how to get it */
};

struct cli_command {
	const char *noun, *verb; /* verb NULL: the noun is the command */
	const char
		*words; /* "NAME [IMAGE]"; NULL: none. NAME, DESKTOP and ENDPOINT must be names */
	const char *summary; /* one line, no full stop */
	const char *details; /* what help adds; NULL: nothing */
	const struct cli_option *options;
	size_t option_count;
	/* Return 0, an enum cli_exit whose reason has been printed already, or -errno with @err set. */
	int (*run)(struct cli_call *call, struct err *err);
	const char *path; /* of the request; "%s" takes the first word */
	bool once;        /* never sent twice: the API takes no Idempotency-Key there */
	const struct cli_view *view;
	bool starts_job;    /* answers with a job: --wait and --no-wait are understood */
	const char *wanted; /* how that job should end; NULL: "done" */
};

/* A command line, taken apart. Everything is borrowed from argv. */
struct cli_call {
	const struct cli_command *command;
	const char *words[CLI_WORDS_MAX]; /* NULL: not given */
	struct cli_value values[CLI_OPTIONS_MAX];
	enum cli_output output;
	bool no_wait, quiet;
};

/* cli_commands.c: in the order that help shows them. */
extern const struct cli_command cli_commands[];
extern const size_t cli_commands_count;

enum {
	CLI_COMMAND_HELP = 1
}; /* outcome: help was asked for; call->command NULL: for all, or for call->words[0] */

/**
 * cli_command_parse(argc, argv, call, err):
 * Take a command line apart, argv[0] being the program.
 *
 * Return 0, CLI_COMMAND_HELP, or -EINVAL with a text that says what would be right.
 */
int cli_command_parse(int argc, char **argv, struct cli_call *call, struct err *err);

const struct cli_value *cli_command_value(const struct cli_call *call, const char *option);

/* Does this command start a job, and so understand --no-wait? */
bool cli_command_waits(const struct cli_command *command);

/* Options that every command has; the ones about waiting stand last. */
extern const struct cli_option cli_command_globals[];
enum {
	CLI_GLOBAL_OUTPUT,
	CLI_GLOBAL_QUIET,
	CLI_GLOBAL_HELP,
	CLI_GLOBAL_WAIT,
	CLI_GLOBAL_NO_WAIT,
	CLI_GLOBALS
};

#endif
