/* cli_signin.h - `godwit login` and `godwit logout`. */
#ifndef GODWIT_CLI_SIGNIN_H
#define GODWIT_CLI_SIGNIN_H

#include "mgmt-server/cli/cli_command.h"

int cli_signin_login(struct cli_call *call, struct err *err);
int cli_signin_logout(struct cli_call *call, struct err *err);

#endif
