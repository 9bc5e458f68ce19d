/* cli_import.h - `godwit desktop import`: a new desktop whose first snapshot is a disk image.
 *
 * Resumable: the upload's session is kept beside the saved login until the commit. The same command again goes on with
 * it: the image is read again, but only what the server does not have is sent.
 */
#ifndef GODWIT_CLI_IMPORT_H
#define GODWIT_CLI_IMPORT_H

#include "mgmt-server/cli/cli_command.h"

int cli_import_run(struct cli_call *call, struct err *err);

#endif
