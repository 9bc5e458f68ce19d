/* utf16.h - names in UTF-16, as Windows' file systems have them, as bytes.
 *
 * Half of a surrogate pair, which UTF-8 cannot say, becomes the three bytes that its number would have: nothing is lost,
 * and as these are no UTF-8, reports escape them. Source: RFC 2781 section 2; RFC 3629 section 3.
 */
#ifndef GODWIT_SCAN_UTF16_H
#define GODWIT_SCAN_UTF16_H

#include <stddef.h>
#include <stdint.h>

enum { UTF16_BYTES_MAX = 3 }; /* that one unit becomes */

/* @out: char[UTF16_BYTES_MAX * count], not terminated. Return the number of bytes. */
size_t utf16_to_bytes(const uint16_t *units, size_t count, char *out);

#endif
