/* cli_server.h - requests to the server that somebody signed in to, and what a failure of one means for the caller.
 *
 * Ctrl-C ends the request in flight with -ECANCELED, so that commands can say what goes on without them.
 */
#ifndef GODWIT_CLI_SERVER_H
#define GODWIT_CLI_SERVER_H

#include "common/http_client.h"
#include "mgmt-server/cli/cli_login.h"

/* Exit statuses of `godwit`, as its man page lists them. */
enum cli_exit {
	CLI_EXIT_OK = 0,
	CLI_EXIT_FAILED = 1, /* the request or the job failed */
	CLI_EXIT_USAGE = 2,  /* the command line is wrong; nothing was sent */
	CLI_EXIT_REFUSED =
		3, /* not signed in, not allowed, or the server's certificate is not trusted */
	CLI_EXIT_UNREACHABLE = 4, /* no answer from the server */
	CLI_EXIT_INTERRUPTED = 130,
};

/* Which exit status a failed call means: err->code is what common/http_client.h says. */
enum cli_exit cli_server_exit(const struct err *err);

struct cli_server {
	struct cli_login login;
	struct http_client *http;
};

/* With the saved login. Return 0, or -errno: -EACCES when nobody is signed in. */
int cli_server_open(struct cli_server *server, struct err *err);
void cli_server_close(struct cli_server *server);

/* A client for @login as it stands, for signing in. */
int cli_server_client(struct http_client **out, const struct cli_login *login, struct err *err);

/* One exchange as http_client_json does it, but Ctrl-C ends it; GET is repeated when the connection fails. */
int cli_server_json(struct cli_server *server, const char *method, const char *path,
		    const json_t *body, json_t **reply, struct err *err);
/* POST a change that the server does once however often it hears of it: under a key of its own (docs/api.md,
 * "Repeating"), so it is repeated when the connection fails. */
int cli_server_change(struct cli_server *server, const char *path, const json_t *body,
		      json_t **reply, struct err *err);

/* Set by SIGINT and SIGTERM after cli_server_catch_signals. */
extern atomic_bool cli_server_interrupted;
void cli_server_catch_signals(void);

/* "/api/v1/desktops/%s/start" with @word percent-encoded in its place; a new string, NULL: out of memory. */
char *cli_server_path(const char *format, const char *word);

#endif
