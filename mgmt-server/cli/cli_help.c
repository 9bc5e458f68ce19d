#include "mgmt-server/cli/cli_help.h"

#include <string.h>

enum { COLUMN = 30 };

void cli_help_usage(const struct cli_command *command, FILE *out)
{
	fprintf(out, "godwit %s%s%s%s%s", command->noun, command->verb ? " " : "",
		command->verb ? command->verb : "", command->words ? " " : "",
		command->words ? command->words : "");
}

static void print_option(const struct cli_option *option, FILE *out)
{
	const char *argument = option->choices ? option->choices : option->argument;
	int n = fprintf(out, "  --%s%s%s", option->name, argument ? " " : "",
			argument ? argument : "");

	if (n + 2 > COLUMN)
		fprintf(out, "\n%*s%s\n", COLUMN, "", option->help);
	else
		fprintf(out, "%*s%s\n", COLUMN - n, "", option->help);
}

static void print_command(const struct cli_command *command, FILE *out)
{
	size_t i;

	fputs("Usage: ", out);
	cli_help_usage(command, out);
	fprintf(out, " [OPTIONS]\n\n%c%s.\n", command->summary[0] - 'a' + 'A',
		command->summary + 1);
	if (command->details)
		fprintf(out, "%s\n", command->details);
	fputs("\nOptions\n", out);
	for (i = 0; i < command->option_count; i++)
		print_option(&command->options[i], out);
	if (cli_command_waits(command)) {
		print_option(&cli_command_globals[CLI_GLOBAL_WAIT], out);
		print_option(&cli_command_globals[CLI_GLOBAL_NO_WAIT], out);
	}
	for (i = 0; i < CLI_GLOBAL_WAIT; i++)
		print_option(&cli_command_globals[i], out);
}

static void print_commands(const char *noun, FILE *out)
{
	const char *before = NULL;
	size_t i;

	for (i = 0; i < cli_commands_count; i++) {
		const struct cli_command *c = &cli_commands[i];
		char left[64];

		if (noun && strcmp(noun, c->noun) != 0)
			continue;
		/* A group for each noun; those that are commands by themselves stand together. */
		if (!noun && before && c->verb && strcmp(before, c->noun) != 0)
			fputc('\n', out);
		before = c->noun;
		snprintf(left, sizeof(left), "%s%s%s%s%s", c->noun, c->verb ? " " : "",
			 c->verb ? c->verb : "", c->words ? " " : "", c->words ? c->words : "");
		fprintf(out, "  %-*s%s\n", COLUMN, left, c->summary);
	}
}

static void print_everything(FILE *out)
{
	fputs("Usage: godwit NOUN VERB [WORDS] [OPTIONS]\n\n"
	      "Works with the desktops that a Godwit management server keeps.\n\n",
	      out);
	print_commands(NULL, out);
	fputs("\nEvery command has --help, --quiet and --output table|json. Commands that start a "
	      "job follow it to\n"
	      "its end unless --no-wait is given.\n\n"
	      "Exit status: 0 done, 1 the request or the job failed, 2 wrong command line, 3 not "
	      "signed in or\n"
	      "refused, 4 the server can't be reached, 130 interrupted.\n",
	      out);
}

void cli_help_print(const struct cli_call *call, FILE *out)
{
	if (call->command) {
		print_command(call->command, out);
	} else if (call->words[0]) {
		fprintf(out, "Usage: godwit %s VERB [WORDS] [OPTIONS]\n\n", call->words[0]);
		print_commands(call->words[0], out);
		fprintf(out, "\nMore about one of them: godwit %s VERB --help\n", call->words[0]);
	} else {
		print_everything(out);
	}
}
