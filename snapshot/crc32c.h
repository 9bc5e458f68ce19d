/* crc32c.h - the checksum of everything in a store that is read back: finds rot and torn writes before decryption does.
 *
 * Source: RFC 3720 appendix B.4 (Castagnoli polynomial 0x1EDC6F41, reflected).
 */
#ifndef GODWIT_SNAPSHOT_CRC32C_H
#define GODWIT_SNAPSHOT_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* The checksum of @len more bytes; crc: of those before, 0 to begin. */
uint32_t crc32c(uint32_t crc, const void *data, size_t len);

/* The same without the processor's instruction, for tests. */
uint32_t crc32c_portable(uint32_t crc, const void *data, size_t len);

#endif
