/* packed_sectors.h - a small disk image as an input of fuzz targets: without its zeros.
 *
 * u32 size in KiB less one (little-endian, taken modulo PACKED_SECTORS_KIB_MAX), then for each 512-byte sector that is not
 * zero its number (u16) and its bytes. tests/fuzz/pack_sectors.py makes one from an image.
 */
#ifndef GODWIT_TESTS_PACKED_SECTORS_H
#define GODWIT_TESTS_PACKED_SECTORS_H

#include <stddef.h>
#include <stdint.h>

enum { PACKED_SECTORS_KIB_MAX = 4096 };

/* Return the image, which is valid until the next call, or NULL for an input that is too short. */
const uint8_t *packed_sectors_unpack(const uint8_t *data, size_t size, size_t *len);

#endif
