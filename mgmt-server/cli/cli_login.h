/* cli_login.h - who is signed in where: one small file that only its owner may read.
 *
 * $GODWIT_CONFIG_HOME/login.json, else $XDG_CONFIG_HOME/godwit/login.json, else ~/.config/godwit/login.json. The server
 * is trusted by exactly one of: the CA in the file, the fingerprint of its CA, or the machine's own trust store.
 */
#ifndef GODWIT_CLI_LOGIN_H
#define GODWIT_CLI_LOGIN_H

#include "common/base.h"
#include "common/err.h"

enum cli_login_trust { CLI_LOGIN_CA, CLI_LOGIN_FINGERPRINT, CLI_LOGIN_SYSTEM };

struct cli_login {
	char *url; /* "https://host:port", no slash at its end; all of them heap */
	char *user;
	char *token;
	char *expires; /* RFC 3339, for people */
	enum cli_login_trust trust;
	char *ca; /* PEM for CLI_LOGIN_CA, 64 hex digits for CLI_LOGIN_FINGERPRINT, NULL for CLI_LOGIN_SYSTEM */
};

void cli_login_deinit(struct cli_login *login);

/* The folder and, below it, a file; to be freed. NULL with @err set when there is no home folder either. */
char *cli_login_path(const char *name, struct err *err);

enum { CLI_LOGIN_NONE = 1 };
/**
 * cli_login_load(login, err):
 * Return 0; CLI_LOGIN_NONE: nobody is signed in; -EACCES when others may read the file; -EINVAL for a file that is not
 * what cli_login_save wrote; or -errno.
 */
int cli_login_load(struct cli_login *login, struct err *err);
int cli_login_save(const struct cli_login *login, struct err *err);
int cli_login_forget(struct err *err);

/**
 * cli_login_url(given, err):
 * "host" and "host:port" become https://host:8443 and https://host:port; a URL stays as it is, less the slash at its end.
 *
 * Return a new string; NULL with @err set for anything else than https, and for user names, paths or spaces in it.
 */
char *cli_login_url(const char *given, struct err *err);

/* 64 hex digits, colons and upper case allowed → lower-case digits in a new string; NULL with @err set. */
char *cli_login_fingerprint(const char *given, struct err *err);

#endif
