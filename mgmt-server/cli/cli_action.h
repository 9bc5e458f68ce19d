/* cli_action.h - commands that change something: the ones that start jobs, and single requests. */
#ifndef GODWIT_CLI_ACTION_H
#define GODWIT_CLI_ACTION_H

#include "mgmt-server/cli/cli_command.h"

/* Send the command's request with its options as the body; follow the job unless --no-wait. */
int cli_action_job(struct cli_call *call, struct err *err);
/* `job watch`: follow a job that is there already. */
int cli_action_watch(struct cli_call *call, struct err *err);
/* `snapshot scan`: follow the job, then show what was found. */
int cli_action_scan(struct cli_call *call, struct err *err);
/* `desktop create`: the new object is shown. */
int cli_action_create(struct cli_call *call, struct err *err);
/* `endpoint token`: the token alone on stdout, what to do with it on stderr. */
int cli_action_token(struct cli_call *call, struct err *err);

/* One request whose answer is an object, shown by the command's view. */
int cli_action_show(struct cli_call *call, struct err *err);
int cli_action_read(struct cli_call *call, struct err *err); /* notice read */

#endif
