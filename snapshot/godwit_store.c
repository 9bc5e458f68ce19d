/* godwit_store.c - the program godwit-store: a store folder without any server.
 *
 * With nothing but the packs and the key file every snapshot can be read back by it.
 */
#include <stdio.h>
#include <string.h>

#include "common/base.h"
#include "common/io.h"
#include "snapshot/store_cli.h"
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
	const char *operands, *help;
} commands[] = {
	{ "init", store_cli_read_init, "STORE",
	  "make an empty store, and its key unless that exists" },
	{ "put", store_cli_put,
	  "STORE --desktop NAME --volume NAME=FILE … [--parent SNAPSHOT [--changed NAME=EXTENTS "
	  "…]]\n"
	  "        [--domain NAME] [--threads N] [--rate SIZE]",
	  "make a snapshot of files; EXTENTS: lines 'OFFSET LENGTH' of what changed since the "
	  "parent" },
	{ "list", store_cli_read_list, "STORE", "the snapshots, oldest first" },
	{ "get", store_cli_read_get, "STORE SNAPSHOT VOLUME FILE [--threads N] [--rate SIZE]",
	  "write a volume into a file, sparse; SNAPSHOT: an id, how it begins, or latest" },
	{ "verify", store_cli_read_verify,
	  "STORE [--quick] [--budget SIZE] [--rate SIZE] [--repair-from MIRROR]",
	  "read everything back; --quick: structure only; --budget: about so much, what was "
	  "checked longest ago\n"
	  "        first; --rate: bytes a second. Exit status 0 sound, 1 damage, 2 could not run" },
	{ "repair", store_cli_repair,
	  "STORE [--from OTHER [--from-key FILE]] … [--from-image FILE] … [--rate SIZE]",
	  "make damaged packs whole, chunk by chunk, from mirrors, other stores and raw images "
	  "that hold the same blocks;\n"
	  "        says which desktops, snapshots and bytes are lost. Exit status 0 whole, 1 "
	  "something is lost, 2 could not run" },
	{ "stat", store_cli_read_stat, "STORE", "how much there is" },
	{ "forget", store_cli_prune_forget, "STORE SNAPSHOT …",
	  "let snapshots go; gc gives their space back" },
	{ "pin", store_cli_prune_pin, "STORE SNAPSHOT", "never let it go" },
	{ "unpin", store_cli_prune_unpin, "STORE SNAPSHOT", "take that back" },
	{ "prune", store_cli_prune_policy,
	  "STORE --desktop NAME [--keep-last N] [--keep-hourly N] [--keep-daily N] [--keep-weekly "
	  "N]\n"
	  "        [--keep-monthly N] [--keep-yearly N] [--dry-run]",
	  "forget what no rule keeps, and say why each stays or goes" },
	{ "gc", store_cli_prune_gc,
	  "STORE [--dry-run] [--repack PERCENT] [--rekey] [--full] [--accept-loss]\n"
	  "        [--rate SIZE]",
	  "delete what no snapshot needs; packs with less alive than PERCENT (50) are rewritten,\n"
	  "        with --rekey also those under an older key; --full: walk all snapshots, not "
	  "only what\n"
	  "        came and went. Refused while a pack or a manifest is damaged, unless what only "
	  "they know of is given\n"
	  "        up: --accept-loss" },
	{ "serve", store_cli_nbd_serve, "STORE SNAPSHOT VOLUME --socket PATH [--overlay FILE]",
	  "serve a volume over NBD until interrupted, read-only or with writes kept in FILE" },
	{ "import", store_cli_nbd_import,
	  "STORE --desktop NAME [--domain NAME] [--rate SIZE] IMAGE …",
	  "make a snapshot of disk images: raw, qcow2, vmdk, vhdx, vdi, ova" },
	{ "export", store_cli_nbd_export,
	  "STORE SNAPSHOT VOLUME FILE [--format raw|qcow2|vmdk|vhdx|vdi] [--rate SIZE]",
	  "write a volume as a disk image" },
	{ "mirror", store_cli_mirror,
	  "STORE DEST [--every SECONDS] [--rate SIZE] [--no-delete-hours N]",
	  "copy what DEST has not yet; --no-delete-hours: of a mirror that is made now" },
	{ "key", store_cli_key, "rotate|protect|recover STORE [--passphrase-file FILE]",
	  "a new key for new packs; keep the keys in the store under a passphrase; get the key "
	  "file back by it" },
	{ "reindex", store_cli_prune_reindex, "STORE",
	  "make everything that is derived again from the packs" },
};

static void usage(FILE *out)
{
	fputs("usage: godwit-store COMMAND STORE …\n\n", out);
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		fprintf(out, "  %s %s\n        %s\n", commands[i].name, commands[i].operands,
			commands[i].help);
	fputs("\nSIZE is a number of bytes, or one with K, M, G or T behind it; --rate is so much "
	      "a second. ^C cancels and leaves nothing half.\n"
	      "All take --key FILE (default: STORE.key) and --output table|json.\n"
	      "Exit status: 0 done, 1 failed, 2 wrong usage.\n",
	      out);
}

int main(int argc, char **argv)
{
	io_allow_many_files();
	if (argc < 2) {
		usage(stderr);
		return STORE_CLI_USAGE;
	}
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--help") == 0) {
			usage(stdout);
			return STORE_CLI_DONE;
		}
		if (strcmp(argv[i], "--") == 0)
			break;
	}
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		if (strcmp(argv[1], commands[i].name) == 0)
			return commands[i].run(argc - 1, argv + 1);
	fprintf(stderr, "godwit-store: no command '%s'; see godwit-store --help\n", argv[1]);
	return STORE_CLI_USAGE;
}
