/* watch.h - what happened to a desktop's disks between two snapshots, as far as it smells of encryption.
 *
 * The blocks that differ are looked at first (watch_blocks.h); if some of them are random, the files of the file systems that can be
 * walked are compared (watch_files.h). This measures and judges nothing: what is usual for a desktop only the server knows.
 */
#ifndef GODWIT_SCAN_WATCH_H
#define GODWIT_SCAN_WATCH_H

#include <jansson.h>
#include <stdatomic.h>

#include "common/err.h"

struct watch_order {
	const char *store, *key; /* key NULL: STORE.key */
	const char *id;
	const char *base; /* the earlier snapshot; NULL: its parent */
	const char *libexec;
	const atomic_bool *cancel;
};

/**
 * watch_run(order, out, err):
 * out  a new reference: the report, see godwit-scan(1)
 *
 * Return 0; -ENOENT: no such snapshot, or it has no parent; -ECANCELED; -errno.
 */
int watch_run(const struct watch_order *order, json_t **out, struct err *err);

#endif
