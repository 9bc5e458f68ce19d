/* store_cli_mirror.h - godwit-store mirror: a second store with the same packs. */
#ifndef GODWIT_SNAPSHOT_STORE_CLI_MIRROR_H
#define GODWIT_SNAPSHOT_STORE_CLI_MIRROR_H

int store_cli_mirror(int argc, char **argv);

#endif
