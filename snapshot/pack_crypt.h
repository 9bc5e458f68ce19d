/* pack_crypt.h - AES-256-GCM as packs use it.
 *
 * Each pack has a key of its own, so a nonce need only be unique within the pack: the offset of what is encrypted, and
 * its part. Thread-safe: each thread keeps its own cipher state and re-keys it only when the pack changes.
 * Source: NIST SP 800-38D; snapshot/FORMAT.md, "Encryption".
 */
#ifndef GODWIT_SNAPSHOT_PACK_CRYPT_H
#define GODWIT_SNAPSHOT_PACK_CRYPT_H

#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

enum { PACK_CRYPT_KEY_LEN = 32, PACK_CRYPT_TAG_LEN = 16 };
enum pack_crypt_part { PACK_CRYPT_HEADER = 0, PACK_CRYPT_RECORD = 1, PACK_CRYPT_FOOTER = 2 };

struct pack_crypt {
	const uint8_t *key; /* PACK_CRYPT_KEY_LEN */
	enum pack_crypt_part part;
	uint64_t offset; /* in the pack, of the part */
	const void *aad; /* authenticated, not encrypted */
	size_t aad_len;
};

/* Two pieces one after the other, so that a record needs no copy; the second may be empty. */
struct pack_crypt_pieces {
	const void *first, *second;
	size_t first_len, second_len;
};

/* out: uint8_t[first_len + second_len + PACK_CRYPT_TAG_LEN]. Return 0 or -errno. */
int pack_crypt_seal(const struct pack_crypt *how, const struct pack_crypt_pieces *in, uint8_t *out,
		    struct err *err);

enum { PACK_CRYPT_FORGED = 1 }; /* outcome: other key, or not the bytes that were sealed */
/* in: @len bytes and then the tag; decrypted in place. Return 0, PACK_CRYPT_FORGED, or -errno. */
int pack_crypt_open(const struct pack_crypt *how, uint8_t *in, size_t len, struct err *err);

#endif
