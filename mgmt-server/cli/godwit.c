/* godwit - the command line for administrators, scripts and users. It speaks the public HTTPS API and nothing else. */
#include <errno.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>

#include "mgmt-server/cli/cli_help.h"
#include "mgmt-server/cli/cli_server.h"

static int usage(const struct cli_call *call, const struct err *err)
{
	fprintf(stderr, "godwit: %s\n", err_text(err));
	if (call->command) {
		fputs("Usage: ", stderr);
		cli_help_usage(call->command, stderr);
		fputs(" [OPTIONS]; more with --help\n", stderr);
	}
	return CLI_EXIT_USAGE;
}

static int failed(const struct err *err)
{
	enum cli_exit status = cli_server_exit(err);

	fprintf(stderr, "godwit: %s\n", err_text(err));
	if (status == CLI_EXIT_UNREACHABLE)
		fputs("Is the server running, and is its address right? The login can be renewed "
		      "with: godwit "
		      "login URL --user NAME\n",
		      stderr);
	return (int)status;
}

int main(int argc, char **argv)
{
	struct err err = { .code = 0 };
	struct cli_call call;
	int r;

	setlocale(LC_CTYPE, "");
	signal(SIGPIPE, SIG_IGN);
	r = cli_command_parse(argc, argv, &call, &err);
	if (r < 0)
		return usage(&call, &err);
	if (r == CLI_COMMAND_HELP) {
		/* `godwit` alone is a question, too, but scripts must see that nothing was done. */
		cli_help_print(&call, argc > 1 ? stdout : stderr);
		return argc > 1 ? CLI_EXIT_OK : CLI_EXIT_USAGE;
	}
	cli_server_catch_signals();
	r = call.command->run(&call, &err);
	return r < 0 ? failed(&err) : r;
}
