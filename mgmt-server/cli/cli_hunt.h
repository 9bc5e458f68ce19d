/* cli_hunt.h - godwit hunt and godwit snapshot rescan: searches over the whole fleet. */
#ifndef GODWIT_CLI_HUNT_H
#define GODWIT_CLI_HUNT_H

#include "mgmt-server/cli/cli_command.h"

int cli_hunt_run(struct cli_call *call, struct err *err);
int cli_hunt_rescan(struct cli_call *call, struct err *err);

#endif
