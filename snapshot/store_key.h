/* store_key.h - the master keys of a store, in a file beside it.
 *
 * A key file holds one or more keys, the newest last: that one encrypts new packs, the older ones are kept for the packs
 * that they encrypted. Nothing but this file and the packs is needed to read every snapshot.
 * Source: snapshot/FORMAT.md, "Keys"; RFC 5869 (HKDF).
 */
#ifndef GODWIT_SNAPSHOT_STORE_KEY_H
#define GODWIT_SNAPSHOT_STORE_KEY_H

#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

enum { STORE_KEY_LEN = 32, STORE_KEY_ID_LEN = 8, STORE_KEYS_MAX = 64 };

struct store_key {
	uint8_t id
		[STORE_KEY_ID_LEN]; /* derived from the secret: says which key, tells nothing about it */
	uint8_t secret[STORE_KEY_LEN];
};

struct store_keys {
	unsigned count; /* ≥ 1 */
	struct store_key keys[STORE_KEYS_MAX];
};

/* Add a fresh random key as the newest. Return 0, -ENOSPC when there are STORE_KEYS_MAX already, or -errno. */
int store_key_add(struct store_keys *keys, struct err *err);

/* Add a known secret as the newest. */
int store_key_add_secret(struct store_keys *keys, const uint8_t secret[STORE_KEY_LEN],
			 struct err *err);

/* Return 0, -ENOENT, -EINVAL for a file that is no key file, or -errno. */
int store_key_load(struct store_keys *keys, const char *path, struct err *err);
/* Replace the file, mode 0600. */
int store_key_save(const struct store_keys *keys, const char *path, struct err *err);
void store_key_wipe(struct store_keys *keys);

const struct store_key *store_key_find(const struct store_keys *keys,
				       const uint8_t id[STORE_KEY_ID_LEN]);
const struct store_key *store_key_newest(const struct store_keys *keys);

/* HKDF-SHA256 of the key's secret into @len bytes. */
int store_key_derive(const struct store_key *key, const void *salt, size_t salt_len,
		     const char *info, uint8_t *out, size_t len, struct err *err);

#endif
