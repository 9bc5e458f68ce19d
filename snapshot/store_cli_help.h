/* store_cli_help.h - what godwit-store says about its commands: the same words for --help and for whoever forgot something. */
#ifndef GODWIT_SNAPSHOT_STORE_CLI_HELP_H
#define GODWIT_SNAPSHOT_STORE_CLI_HELP_H

#include <stdio.h>

void store_cli_help_all(FILE *out);
/* One command, with what it does; of one that is unknown, nothing. */
void store_cli_help_command(FILE *out, const char *command);
/* The line of its options and operands. "key rotate": those of key. */
void store_cli_help_usage(FILE *out, const char *command);

#endif
