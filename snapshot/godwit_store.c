/* godwit_store.c - the program godwit-store: a store folder without any server.
 *
 * With nothing but the packs and the key file every snapshot can be read back by it.
 */
#include <stdio.h>
#include <string.h>

#include "common/base.h"
#include "common/io.h"
#include "snapshot/store_cli.h"
#include "snapshot/store_cli_help.h"
#include "snapshot/store_cli_key.h"
#include "snapshot/store_cli_mirror.h"
#include "snapshot/store_cli_nbd.h"
#include "snapshot/store_cli_prune.h"
#include "snapshot/store_cli_put.h"
#include "snapshot/store_cli_read.h"
#include "snapshot/store_cli_repair.h"

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
} commands[] = {
	{ "init", store_cli_read_init },
	{ "put", store_cli_put },
	{ "list", store_cli_read_list },
	{ "get", store_cli_read_get },
	{ "verify", store_cli_read_verify },
	{ "repair", store_cli_repair },
	{ "stat", store_cli_read_stat },
	{ "forget", store_cli_prune_forget },
	{ "pin", store_cli_prune_pin },
	{ "unpin", store_cli_prune_unpin },
	{ "prune", store_cli_prune_policy },
	{ "gc", store_cli_prune_gc },
	{ "serve", store_cli_nbd_serve },
	{ "import", store_cli_nbd_import },
	{ "export", store_cli_nbd_export },
	{ "mirror", store_cli_mirror },
	{ "key", store_cli_key },
	{ "reindex", store_cli_prune_reindex },
};

int main(int argc, char **argv)
{
	io_allow_many_files();
	if (argc < 2) {
		store_cli_help_all(stderr);
		return STORE_CLI_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0) {
		store_cli_help_all(stdout);
		return STORE_CLI_DONE;
	}
	for (int i = 2; i < argc && strcmp(argv[i], "--") != 0; i++) {
		if (strcmp(argv[i], "--help") != 0)
			continue;
		store_cli_help_command(stdout, argv[1]);
		return STORE_CLI_DONE;
	}
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		if (strcmp(argv[1], commands[i].name) == 0)
			return commands[i].run(argc - 1, argv + 1);
	fprintf(stderr, "godwit-store: no command '%s'; see godwit-store --help\n", argv[1]);
	return STORE_CLI_USAGE;
}
