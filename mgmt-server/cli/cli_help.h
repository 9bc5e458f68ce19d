/* cli_help.h - what --help prints, made from the tables. */
#ifndef GODWIT_CLI_HELP_H
#define GODWIT_CLI_HELP_H

#include "mgmt-server/cli/cli_command.h"

/* Help for the command, else for the noun in call->words[0], else for everything. */
void cli_help_print(const struct cli_call *call, FILE *out);
/* "godwit desktop import NAME IMAGE" */
void cli_help_usage(const struct cli_command *command, FILE *out);

#endif
