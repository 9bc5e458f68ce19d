/* siphash.h - SipHash-2-4 with 128 bits of output: a fast keyed hash.
 *
 * The index files name chunks by it, so that whoever reads a store's disk without the key cannot ask whether some
 * known file is in there. Source: Aumasson, Bernstein: "SipHash: a fast short-input PRF".
 */
#ifndef GODWIT_SNAPSHOT_SIPHASH_H
#define GODWIT_SNAPSHOT_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

enum { SIPHASH_KEY_LEN = 16, SIPHASH_LEN = 16 };

void siphash(const uint8_t key[SIPHASH_KEY_LEN], const void *data, size_t len,
	     uint8_t out[SIPHASH_LEN]);

#endif
