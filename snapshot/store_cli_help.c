#include "snapshot/store_cli_help.h"

#include <string.h>

#include "common/base.h"

static const struct {
	const char *name, *operands, *help;
} commands[] = {
	{ "init", "STORE", "make an empty store, and its key unless that exists" },
	{ "put",
	  "STORE --desktop NAME --volume NAME=FILE … [--parent SNAPSHOT [--changed NAME=EXTENTS "
	  "…]]\n"
	  "        [--domain NAME] [--threads N] [--rate SIZE]",
	  "make a snapshot of files; EXTENTS: lines 'OFFSET LENGTH' of what changed since the "
	  "parent" },
	{ "list", "STORE", "the snapshots, oldest first" },
	{ "get", "STORE SNAPSHOT VOLUME FILE [--threads N] [--rate SIZE]",
	  "write a volume into a file, sparse" },
	{ "verify", "STORE [--quick] [--budget SIZE] [--rate SIZE] [--repair-from MIRROR]",
	  "read everything back; --quick: structure only; --budget: about so much, what was "
	  "checked longest ago\n"
	  "        first; --rate: bytes a second. Exit status 0 sound, 1 damage, 2 could not run" },
	{ "repair", "STORE [--from OTHER [--from-key FILE]] … [--from-image FILE] … [--rate SIZE]",
	  "make damaged packs whole, chunk by chunk, from mirrors, other stores and raw images "
	  "that hold the same blocks;\n"
	  "        says which desktops, snapshots and bytes are lost. Exit status 0 whole, 1 "
	  "something is lost, 2 could not run" },
	{ "stat", "STORE", "how much there is" },
	{ "forget", "STORE SNAPSHOT …", "let snapshots go; gc gives their space back" },
	{ "pin", "STORE SNAPSHOT", "never let it go" },
	{ "unpin", "STORE SNAPSHOT", "take that back" },
	{ "prune",
	  "STORE --desktop NAME [--keep-last N] [--keep-hourly N] [--keep-daily N] [--keep-weekly "
	  "N]\n"
	  "        [--keep-monthly N] [--keep-yearly N] [--dry-run]",
	  "forget what no rule keeps, and say why each stays or goes" },
	{ "gc",
	  "STORE [--dry-run] [--repack PERCENT] [--rekey] [--full] [--accept-loss]\n"
	  "        [--rate SIZE]",
	  "delete what no snapshot needs; packs with less alive than PERCENT (50) are rewritten,\n"
	  "        with --rekey also those under an older key; --full: walk all snapshots, not "
	  "only what\n"
	  "        came and went. Refused while a pack or a manifest is damaged, unless what only "
	  "they know of is given\n"
	  "        up: --accept-loss" },
	{ "serve", "STORE SNAPSHOT VOLUME --socket PATH [--overlay FILE]",
	  "serve a volume over NBD until interrupted, read-only or with writes kept in FILE" },
	{ "import", "STORE --desktop NAME [--domain NAME] [--rate SIZE] IMAGE …",
	  "make a snapshot of disk images: raw, qcow2, vmdk, vhdx, vdi, ova" },
	{ "export", "STORE SNAPSHOT VOLUME FILE [--format raw|qcow2|vmdk|vhdx|vdi] [--rate SIZE]",
	  "write a volume as a disk image; the format is that of the file's name, else raw" },
	{ "mirror", "STORE DEST [--every SECONDS] [--rate SIZE] [--no-delete-hours N]",
	  "copy what DEST has not yet; --no-delete-hours: of a mirror that is made now" },
	{ "key", "rotate|protect|recover STORE [--passphrase-file FILE]",
	  "a new key for new packs; keep the keys in the store under a passphrase; get the key "
	  "file back by it" },
	{ "reindex", "STORE", "make everything that is derived again from the packs" },
};

static size_t find(const char *command)
{
	size_t len = strcspn(command, " "), i = 0;

	while (i < ARRAY_LEN(commands) &&
	       (strncmp(commands[i].name, command, len) != 0 || commands[i].name[len]))
		i++;
	return i;
}

static void common(FILE *out)
{
	fputs("\nSIZE is a number of bytes, or one with K, M, G or T behind it; --rate is so much "
	      "a second. ^C cancels and leaves nothing half.\n"
	      "SNAPSHOT is an id, how it begins, or latest.\n"
	      "All take --key FILE (default: STORE.key) and --output table|json.\n"
	      "Exit status: 0 done, 1 failed, 2 wrong usage.\n",
	      out);
}

void store_cli_help_all(FILE *out)
{
	fputs("usage: godwit-store COMMAND STORE …\n\n", out);
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		fprintf(out, "  %s %s\n        %s\n", commands[i].name, commands[i].operands,
			commands[i].help);
	common(out);
}

void store_cli_help_command(FILE *out, const char *command)
{
	size_t i = find(command);

	if (i == ARRAY_LEN(commands))
		return;
	store_cli_help_usage(out, command);
	fprintf(out, "        %s\n", commands[i].help);
	common(out);
}

void store_cli_help_usage(FILE *out, const char *command)
{
	size_t i = find(command);

	if (i < ARRAY_LEN(commands))
		fprintf(out, "usage: godwit-store %s %s\n", commands[i].name, commands[i].operands);
}
