/* store_cli_key.h - godwit-store key rotate|protect|recover. */
#ifndef GODWIT_SNAPSHOT_STORE_CLI_KEY_H
#define GODWIT_SNAPSHOT_STORE_CLI_KEY_H

int store_cli_key(int argc, char **argv);

#endif
