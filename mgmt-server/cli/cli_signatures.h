/* cli_signatures.h - `signatures update` and `signatures upload`: both end with how the server's trial went. */
#ifndef GODWIT_CLI_SIGNATURES_H
#define GODWIT_CLI_SIGNATURES_H

#include "mgmt-server/cli/cli_command.h"

int cli_signatures_update(struct cli_call *call, struct err *err);
int cli_signatures_upload(struct cli_call *call, struct err *err);

#endif
