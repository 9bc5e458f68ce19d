#include "mgmt-server/cli/cli_command.h"

#include <errno.h>
#include <getopt.h>
#include <string.h>

#include "mgmt-server/cli/cli_suggest.h"

const struct cli_option cli_command_globals[] = {
	[CLI_GLOBAL_OUTPUT] = { "output", CLI_CHOICE, "FORMAT",
				"table for people (default), json for programs",
				.choices = "table|json" },
	[CLI_GLOBAL_QUIET] = { "quiet", CLI_FLAG, .help = "no progress and no notes on stderr" },
	[CLI_GLOBAL_HELP] = { "help", CLI_FLAG, .help = "show this" },
	[CLI_GLOBAL_WAIT] = { "wait", CLI_FLAG, .help = "follow the job to its end (default)" },
	[CLI_GLOBAL_NO_WAIT] = { "no-wait", CLI_FLAG, .help = "only start the job and print it" },
};

/* What getopt_long returns: a place in the command's table, or GLOBAL + a place in the table above. */
enum { OPTION = 1000, GLOBAL = 2000 };

bool cli_command_waits(const struct cli_command *command)
{
	return command && command->starts_job;
}

static void add_options(struct option *into, const struct cli_option *from, size_t n, int base)
{
	size_t i;

	for (i = 0; i < n; i++) {
		into[i] = (struct option){
			.name = from[i].name,
			.has_arg = from[i].argument ? required_argument : no_argument,
			.val = base + (int)i,
		};
	}
}

static int set_global(struct cli_call *call, int which, const char *text, struct err *err)
{
	struct cli_value value;
	int r = cli_options_value(&cli_command_globals[which], text, &value, err);

	if (r < 0)
		return r;
	switch (which) {
	case CLI_GLOBAL_OUTPUT:
		call->output = (enum cli_output)value.number;
		return 0;
	case CLI_GLOBAL_QUIET:
		call->quiet = true;
		return 0;
	case CLI_GLOBAL_WAIT:
		call->no_wait = false;
		return 0;
	case CLI_GLOBAL_NO_WAIT:
		call->no_wait = true;
		return 0;
	default:
		return CLI_COMMAND_HELP;
	}
}

static int bad_option(const struct option *options, char *const *argv, int got, struct err *err)
{
	const char *given = optopt >= OPTION || !optopt ? argv[optind - 1] : "";
	const char *names[CLI_OPTIONS_MAX + CLI_GLOBALS + 1], *near;
	size_t n = 0;

	if (got == ':')
		return err_say(err, EINVAL, "%s needs a value", argv[optind - 1]);
	if (optopt && optopt < OPTION)
		return err_say(err, EINVAL, "there is no option -%c; all options have long names",
			       optopt);
	while (given[0] == '-')
		given++;
	for (; options[n].name; n++)
		names[n] = options[n].name;
	near = cli_suggest(given, names, n);
	return err_say(err, EINVAL,
		       near ? "there is no option --%s here; did you mean --%s?"
			    : "there is no option --%s here",
		       given, near);
}

/*
 * Options of @command (NULL: global ones only, and stop at the first word). Words are moved behind them.
 * Return 0, CLI_COMMAND_HELP or -EINVAL; optind is the first word then.
 */
static int parse_options(int argc, char **argv, const struct cli_command *command,
			 struct cli_call *call, struct err *err)
{
	struct option options[CLI_OPTIONS_MAX + CLI_GLOBALS + 1] = { { .name = NULL } };
	size_t own = command ? command->option_count : 0;
	size_t globals = cli_command_waits(command) || !command ? CLI_GLOBALS : CLI_GLOBAL_WAIT;
	size_t place;
	int got, r;

	add_options(options, command ? command->options : NULL, own, OPTION);
	add_options(options + own, cli_command_globals, globals, GLOBAL);
	optind = 0; /* starts anew, glibc */
	opterr = 0;
	while ((got = getopt_long(argc, argv, command ? ":" : "+:", options, NULL)) != -1) {
		if (got == '?' || got == ':')
			return bad_option(options, argv, got, err);
		place = (size_t)(got - OPTION);
		if (place < own)
			r = cli_options_value(&command->options[place], optarg,
					      &call->values[place], err);
		else
			r = set_global(call, got - GLOBAL, optarg, err);
		if (r != 0)
			return r;
	}
	return 0;
}

static int check_word(const char *kind, size_t len, const char *word, struct err *err)
{
	static const char *const names[] = { "NAME", "DESKTOP", "ENDPOINT" };
	size_t i;

	for (i = 0; i < ARRAY_LEN(names); i++) {
		if (strlen(names[i]) == len && strncmp(names[i], kind, len) == 0 &&
		    !cli_options_name_valid(word))
			return err_say(err, EINVAL,
				       "'%s' is no name: names are lower-case letters, digits and "
				       "hyphens, at most %d of them",
				       word, CLI_NAME_MAX);
	}
	return *word ? 0 : err_say(err, EINVAL, "%.*s is empty", (int)len, kind);
}

static int parse_words(int argc, char **argv, struct cli_call *call, struct err *err)
{
	const char *kind = call->command->words ? call->command->words : "";
	size_t n = 0;
	int r;

	while (*kind) {
		bool optional = *kind == '[';
		size_t len = strcspn(kind += optional, " ]");

		if (argc == 0 && !optional)
			return err_say(err, EINVAL, "%.*s is missing", (int)len, kind);
		if (argc > 0) {
			r = check_word(kind, len, *argv, err);
			if (r < 0)
				return r;
			call->words[n++] = *argv++;
			argc--;
		}
		kind += len;
		kind += strspn(kind, "] ");
	}
	if (argc > 0)
		return err_say(err, EINVAL, "there is no place for '%s'", *argv);
	return 0;
}

static int bad_noun(const char *given, struct err *err)
{
	const char *names[64], *near;
	size_t i, n = 0;

	for (i = 0; i < cli_commands_count && n < ARRAY_LEN(names); i++)
		names[n++] = cli_commands[i].noun;
	near = cli_suggest(given, names, n);
	return err_say(err, EINVAL,
		       near ? "there is no command '%s'; did you mean '%s'?"
			    : "there is no command '%s'; godwit --help lists them all",
		       given, near);
}

static int bad_verb(const char *noun, const char *given, struct err *err)
{
	const char *names[64], *near;
	size_t i, n = 0;

	for (i = 0; i < cli_commands_count && n < ARRAY_LEN(names); i++) {
		if (strcmp(cli_commands[i].noun, noun) == 0)
			names[n++] = cli_commands[i].verb;
	}
	near = cli_suggest(given, names, n);
	if (near)
		return err_say(err, EINVAL, "there is no 'godwit %s %s'; did you mean '%s'?", noun,
			       given, near);
	return err_say(err, EINVAL,
		       "there is no 'godwit %s %s'; godwit %s --help lists what there is", noun,
		       given, noun);
}

/* Find NOUN VERB; *used: how many arguments they took. */
static int find_command(int argc, char **argv, struct cli_call *call, int *used, struct err *err)
{
	bool noun_exists = false, help = argc > 1 && strcmp(argv[1], "--help") == 0;
	size_t i;

	for (i = 0; i < cli_commands_count; i++) {
		const struct cli_command *c = &cli_commands[i];

		if (strcmp(c->noun, argv[0]) != 0)
			continue;
		noun_exists = true;
		if (!c->verb || (argc > 1 && strcmp(c->verb, argv[1]) == 0)) {
			call->command = c;
			*used = c->verb ? 2 : 1;
			return 0;
		}
	}
	if (!noun_exists)
		return bad_noun(argv[0], err);
	call->words[0] = argv[0];
	if (help || argc == 1)
		return CLI_COMMAND_HELP;
	return bad_verb(argv[0], argv[1], err);
}

int cli_command_parse(int argc, char **argv, struct cli_call *call, struct err *err)
{
	int r, used;

	*call = (struct cli_call){ .command = NULL };
	r = parse_options(argc, argv, NULL, call, err);
	if (r != 0)
		return r;
	argc -= optind;
	argv += optind;
	if (argc > 0 && strcmp(argv[0], "help") == 0) {
		r = argc == 1 ? CLI_COMMAND_HELP
			      : find_command(argc - 1, argv + 1, call, &used, err);
		return r < 0 ? r : CLI_COMMAND_HELP;
	}
	if (argc == 0)
		return CLI_COMMAND_HELP;
	r = find_command(argc, argv, call, &used, err);
	if (r != 0)
		return r;
	/* The last word of the command plays argv[0] for getopt. */
	argc -= used - 1;
	argv += used - 1;
	r = parse_options(argc, argv, call->command, call, err);
	if (r != 0)
		return r;
	return parse_words(argc - optind, argv + optind, call, err);
}

const struct cli_value *cli_command_value(const struct cli_call *call, const char *option)
{
	return cli_options_get(call->command->options, call->values, call->command->option_count,
			       option);
}
