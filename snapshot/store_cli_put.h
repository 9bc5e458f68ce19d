/* store_cli_put.h - godwit-store put: files become a snapshot. */
#ifndef GODWIT_SNAPSHOT_STORE_CLI_PUT_H
#define GODWIT_SNAPSHOT_STORE_CLI_PUT_H

int store_cli_put(int argc, char **argv);

#endif
