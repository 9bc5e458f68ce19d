/* store_recovery.h - the keys of a store once more, wrapped with a passphrase, inside the store folder.
 *
 * Whoever has the packs and remembers the passphrase gets the key file back. scrypt makes guessing slow (32 MiB and
 * about 0.1 s a guess). Source: RFC 7914; snapshot/FORMAT.md, "Recovery form".
 */
#ifndef GODWIT_SNAPSHOT_STORE_RECOVERY_H
#define GODWIT_SNAPSHOT_STORE_RECOVERY_H

#include "snapshot/store_key.h"

int store_recovery_save(const struct store_keys *keys, const char *passphrase, const char *path,
			struct err *err);
/* Return 0, -ENOENT, -EACCES for a wrong passphrase, -EINVAL for a file that is no recovery form, or -errno. */
int store_recovery_load(struct store_keys *keys, const char *passphrase, const char *path,
			struct err *err);

#endif
