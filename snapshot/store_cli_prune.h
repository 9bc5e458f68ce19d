/* store_cli_prune.h - the commands of godwit-store that let go: forget, pin, unpin, prune, gc. And reindex. */
#ifndef GODWIT_SNAPSHOT_STORE_CLI_PRUNE_H
#define GODWIT_SNAPSHOT_STORE_CLI_PRUNE_H

int store_cli_prune_forget(int argc, char **argv);
int store_cli_prune_pin(int argc, char **argv);
int store_cli_prune_unpin(int argc, char **argv);
int store_cli_prune_policy(int argc, char **argv);
int store_cli_prune_gc(int argc, char **argv);
int store_cli_prune_reindex(int argc, char **argv);

#endif
