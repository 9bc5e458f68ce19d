/* store_cli_child.h - programs that godwit-store starts, and that end with it. */
#ifndef GODWIT_SNAPSHOT_STORE_CLI_CHILD_H
#define GODWIT_SNAPSHOT_STORE_CLI_CHILD_H

#include <sys/types.h>

#include "common/err.h"

/* Start argv[0] (searched in PATH). output: where its stdout goes, -1: ours. Return 0 or -errno. */
int store_cli_child_start(char *const argv[], int output, pid_t *pid, struct err *err);

/* Wait until an NBD server answers at @socket; fails at once when the child ends. */
int store_cli_child_await_socket(pid_t pid, const char *what, const char *socket, struct err *err);

/* Wait for its end. Return 0 if it ended with 0, else -EIO. */
int store_cli_child_wait(pid_t pid, const char *what, struct err *err);
/* TERM and wait; a pid of 0 or less is a no-op. */
void store_cli_child_stop(pid_t pid);

/* What it prints, heap, at most 1 MiB; it must end with 0. */
int store_cli_child_output(char *const argv[], char **text, struct err *err);

#endif
