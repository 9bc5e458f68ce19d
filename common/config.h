/* config.h - INI files read against a table: an unknown key is an error with its file and line, never ignored.
 *
 * A key is given at most once, a value is one line, and " ;" ends it (a comment follows).
 * Source: libinih's README for the syntax ([section], key = value, ; and # comments).
 */
#ifndef GODWIT_COMMON_CONFIG_H
#define GODWIT_COMMON_CONFIG_H

#include <stddef.h>
#include <stdio.h>

#include "common/err.h"

enum config_kind {
	CONFIG_STRING,   /* char *, heap */
	CONFIG_UINT,     /* uint64_t, decimal */
	CONFIG_BYTES,    /* uint64_t; 20M, 1G …: powers of 1024 */
	CONFIG_DURATION, /* uint64_t, milliseconds; 500ms, 6s, 10m, 2h, 1d */
	CONFIG_BOOL,     /* bool; yes or no */
};

struct config_key {
	const char *section, *name;
	enum config_kind kind;
	size_t offset;      /* of the member in the caller's struct */
	const char *preset; /* as it would stand in the file; NULL: the key must be given */
	const char *help;   /* one line, for config_print_help */
};

/**
 * config_load(path, keys, n, into, err):
 * Fill @into from the presets and then the file. path NULL: presets only (a key without one is an error then, too).
 * What @into held before is not looked at.
 *
 * Return 0; -EINVAL with "FILE:LINE: what is wrong and what would be right"; or -errno of reading. After a failure
 * config_free is still allowed.
 */
int config_load(const char *path, const struct config_key *keys, size_t n, void *into,
		struct err *err);

/* Free the strings; @into may be loaded again. */
void config_free(const struct config_key *keys, size_t n, void *into);

/* A commented sample file with every key and its preset. */
void config_print_help(FILE *out, const struct config_key *keys, size_t n);

#endif
