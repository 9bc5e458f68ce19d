/* store_cli_read.h - the commands of godwit-store that only look: list, get, verify, stat. And init. */
#ifndef GODWIT_SNAPSHOT_STORE_CLI_READ_H
#define GODWIT_SNAPSHOT_STORE_CLI_READ_H

int store_cli_read_init(int argc, char **argv);
int store_cli_read_list(int argc, char **argv);
int store_cli_read_get(int argc, char **argv);
int store_cli_read_verify(int argc, char **argv);
int store_cli_read_stat(int argc, char **argv);

#endif
