/* store_cli.h - what the commands of godwit-store share: options, output, progress, exit status. */
#ifndef GODWIT_SNAPSHOT_STORE_CLI_H
#define GODWIT_SNAPSHOT_STORE_CLI_H

#include <getopt.h>
#include <stdio.h>

#include "snapshot/store.h"

enum { STORE_CLI_DONE = 0, STORE_CLI_FAILED = 1, STORE_CLI_USAGE = 2 };
/* verify has its own meaning: 1 damage, 2 could not run. */
enum { STORE_CLI_DAMAGE = 1, STORE_CLI_COULD_NOT_RUN = 2 };

/* Options that every command takes; a command's own follow them in its table. */
struct store_cli {
	const char *command;
	const char *store_path, *key_path;
	bool json;
	int argc; /* operands behind STORE */
	char **argv;
};

enum { STORE_CLI_OPT_KEY = 1000, STORE_CLI_OPT_OUTPUT, STORE_CLI_OPT_HELP, STORE_CLI_OPT_OWN };

/**
 * store_cli_parse(cli, argc, argv, own, take, arg):
 * Take the command line apart. argv[0] is the command's name.
 *
 * own   the command's long options (values from STORE_CLI_OPT_OWN on), ended by a row of zeros; NULL: none
 * take  called for each of them; returns false for a bad value (after saying so)
 *
 * Return true, or false after an explanation on stderr: exit with STORE_CLI_USAGE.
 */
typedef bool store_cli_take(void *arg, int option, const char *value);
bool store_cli_parse(struct store_cli *cli, int argc, char **argv, const struct option *own,
		     store_cli_take *take, void *arg);
/* Complain unless there are @min..@max operands behind STORE. */
bool store_cli_operands(const struct store_cli *cli, int min, int max);

int store_cli_open(const struct store_cli *cli, enum store_mode mode, struct store **out);
/* "latest", a whole id, or the only one that begins like that → manifest. False after an explanation. */
bool store_cli_snapshot(struct store *store, const char *text, struct manifest *out);
/* The same, but "latest" is that of @desktop. */
bool store_cli_snapshot_of(struct store *store, const char *text, const char *desktop,
			   struct manifest *out);
/* The volume of that name; NULL after an explanation. */
const struct volume *store_cli_volume(const struct store_cli *cli, const struct manifest *m,
				      const char *name);

/* Say what went wrong on stderr. Return STORE_CLI_FAILED. */
int store_cli_fail(const struct store_cli *cli, const struct err *err);
/* Print @value on stdout (taken); return STORE_CLI_DONE, or _FAILED when that is impossible. */
int store_cli_print(json_t *value);
void store_cli_bytes(uint64_t bytes, char text[32]);
/* A size: bytes, or with K, M, G, T (× 1024). */
bool store_cli_size(const char *what, const char *value, uint64_t *out);
bool store_cli_number(const char *what, const char *value, uint64_t max, uint64_t *out);

/* A line that is renewed on a terminal while the work lasts; ^C cancels, and store_cli_fail says what that leaves. One at a time. */
/* what  NULL: no line, only ^C */
void store_cli_progress_begin(const char *what, struct volume_progress *progress);
void store_cli_progress_end(void);
/* Was ^C pressed since progress_begin? */
bool store_cli_cancelled(void);

#endif
