/* content_hash.h - SHA-256 of a memfd's bytes, holes as zeros without ever reading (and thereby allocating) them. */
#ifndef GODWIT_SCAN_CONTENT_HASH_H
#define GODWIT_SCAN_CONTENT_HASH_H

#include <stdint.h>

/* Zeros take time too: a longer content is not hashed. */
#define CONTENT_HASH_MAX (64ULL << 30)

/* Return 0, -EFBIG beyond CONTENT_HASH_MAX, or -errno. */
int content_hash(int fd, uint64_t size, uint8_t sha256[32]);

/* Only patterns are looked for in memory, so a verdict from there says nothing of a file with the same bytes: it goes by another hash.
 * Done twice it is the content's own again. */
void content_hash_of_memory(uint8_t sha256[32]);

#endif
