/* cli_query.h - commands that look: list, show, and `server show`. */
#ifndef GODWIT_CLI_QUERY_H
#define GODWIT_CLI_QUERY_H

#include "mgmt-server/cli/cli_command.h"

/* GET the command's path page by page; options with a json key become its query. */
int cli_query_list(struct cli_call *call, struct err *err);
/* GET one object. What has no column but matters (a job's result, a snapshot's volumes) follows below it. */
int cli_query_show(struct cli_call *call, struct err *err);

/* One JSON value on stdout. */
int cli_query_print_json(const json_t *value, struct err *err);

/* A line about what a scan found: an object of its findings, or a string of its reasons. */
void cli_query_print_finding(const json_t *item);

/* One object by the command's view, or as JSON. */
int cli_query_print_object(const struct cli_call *call, const json_t *object, struct err *err);

#endif
