#include "snapshot/store_cli_key.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/hex.h"
#include "common/io.h"
#include "snapshot/store_cli.h"
#include "snapshot/store_recovery.h"

enum { OPT_PASSPHRASE = STORE_CLI_OPT_OWN, PASSPHRASE_MAX = 1024 };

struct key {
	struct store_cli cli;
	const char *passphrase_file;
	char passphrase[PASSPHRASE_MAX];
	char *key_path, *recovery_path;
};

static bool take(void *arg, int option, const char *value)
{
	struct key *key = arg;

	(void)option;
	key->passphrase_file = value;
	return true;
}

/* The first line of the file, or what is typed on the terminal. */
static int passphrase_read(struct key *key, struct err *err)
{
	CLEANUP_FREE uint8_t *text = NULL;
	const char *typed;
	size_t len;
	int r;

	if (!key->passphrase_file) {
		typed = isatty(STDIN_FILENO) ? getpass("Passphrase: ") : NULL;
		if (!typed)
			return err_say(err, EINVAL,
				       "the passphrase of the keys in %s is needed: give it with "
				       "--passphrase-file FILE",
				       key->recovery_path);
		snprintf(key->passphrase, sizeof(key->passphrase), "%s", typed);
		return 0;
	}
	r = io_read_file(key->passphrase_file, PASSPHRASE_MAX - 1, &text, &len, err);
	if (r < 0)
		return r;
	snprintf(key->passphrase, sizeof(key->passphrase), "%.*s",
		 (int)strcspn((char *)text, "\r\n"), (char *)text);
	OPENSSL_cleanse(text, len);
	return 0;
}

/* A new key for packs to come; those that exist keep theirs until gc --rekey rewrites them. */
static int rotate(struct key *key, struct err *err)
{
	CLEANUP(store_close) struct store *store = NULL;
	bool has_recovery = access(key->recovery_path, F_OK) == 0;
	struct store_keys keys, old;
	int r;

	/* Nobody may be writing packs with the old key meanwhile. */
	r = store_open(&store, key->cli.store_path, key->cli.key_path, STORE_WRITE, err);
	if (r == 0)
		r = store_key_load(&keys, key->key_path, err);
	if (r == 0 && has_recovery) {
		r = passphrase_read(key, err);
		if (r == 0)
			r = store_recovery_load(&old, key->passphrase, key->recovery_path, err);
	}
	if (r == 0)
		r = store_key_add(&keys, err);
	/* The recovery form first: after a crash it holds a key too many, which harms nobody. */
	if (r == 0 && has_recovery)
		r = store_recovery_save(&keys, key->passphrase, key->recovery_path, err);
	if (r == 0)
		r = store_key_save(&keys, key->key_path, err);
	store_key_wipe(&keys);
	store_key_wipe(&old);
	return r;
}

static int protect(struct key *key, struct err *err)
{
	struct store_keys keys;
	int r = store_key_load(&keys, key->key_path, err);

	if (r == 0)
		r = passphrase_read(key, err);
	if (r == 0)
		r = store_recovery_save(&keys, key->passphrase, key->recovery_path, err);
	store_key_wipe(&keys);
	return r;
}

static int recover(struct key *key, struct err *err)
{
	struct store_keys keys;
	int r;

	if (access(key->key_path, F_OK) == 0)
		return err_say(err, EEXIST, "%s is there already; move it away first",
			       key->key_path);
	if (access(key->recovery_path, F_OK) < 0)
		return err_set(err, errno, "%s (nobody made one with godwit-store key protect?)",
			       key->recovery_path);
	r = passphrase_read(key, err);
	if (r == 0)
		r = store_recovery_load(&keys, key->passphrase, key->recovery_path, err);
	if (r == 0)
		r = store_key_save(&keys, key->key_path, err);
	store_key_wipe(&keys);
	return r;
}

/* done: behind it goes the key file's name. */
static const struct {
	const char *name, *command;
	int (*run)(struct key *key, struct err *err);
	const char *done;
} actions[] = {
	{ "rotate", "key rotate", rotate,
	  "new packs get a new key; copy the key file again to where you keep it" },
	{ "protect", "key protect", protect,
	  "godwit-store key recover and the passphrase can bring the key file back" },
	{ "recover", "key recover", recover, "the key file is back" },
};

static int run(struct key *key, size_t action)
{
	CLEANUP_FREE char *path = NULL;
	struct err err = { 0 };
	int r;

	key->key_path = key->cli.key_path ? io_printf("%s", key->cli.key_path)
					  : io_printf("%s.key", key->cli.store_path);
	key->recovery_path = io_printf("%s/recovery.json", key->cli.store_path);
	r = key->key_path && key->recovery_path ? actions[action].run(key, &err)
						: err_set(&err, ENOMEM, "key");
	path = key->key_path;
	free(key->recovery_path);
	OPENSSL_cleanse(key->passphrase, sizeof(key->passphrase));
	if (r < 0)
		return store_cli_fail(&key->cli, &err);
	if (key->cli.json)
		return store_cli_print(json_pack("{ss}", "done", actions[action].name));
	printf("%s: %s\n", actions[action].done, path);
	return STORE_CLI_DONE;
}

int store_cli_key(int argc, char **argv)
{
	static const struct option options[] = {
		{ "passphrase-file", required_argument, NULL, OPT_PASSPHRASE }, { 0 }
	};
	struct key key = { 0 };

	if (argc >= 2) {
		for (size_t i = 0; i < ARRAY_LEN(actions); i++) {
			if (strcmp(argv[1], actions[i].name) != 0)
				continue;
			argv[1] = (char *)(uintptr_t)actions[i].command;
			if (!store_cli_parse(&key.cli, argc - 1, argv + 1, options, take, &key) ||
			    !store_cli_operands(&key.cli, 0, 0))
				return STORE_CLI_USAGE;
			return run(&key, i);
		}
	}
	fprintf(stderr, "godwit-store key: rotate, protect or recover?\n");
	return STORE_CLI_USAGE;
}
