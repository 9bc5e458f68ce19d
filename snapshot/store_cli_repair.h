/* store_cli_repair.h - godwit-store repair. */
#ifndef GODWIT_SNAPSHOT_STORE_CLI_REPAIR_H
#define GODWIT_SNAPSHOT_STORE_CLI_REPAIR_H

int store_cli_repair(int argc, char **argv);

#endif
