/* hex.h - bytes as lower-case hexadecimal digits. */
#ifndef GODWIT_COMMON_HEX_H
#define GODWIT_COMMON_HEX_H

#include <stddef.h>
#include <stdint.h>

/* text: char[2 * len + 1] */
void hex_encode(const uint8_t *bytes, size_t len, char *text);
/* Exactly 2 * len digits of either case and then the end of the string. Return 0 or -EINVAL. */
int hex_decode(const char *text, uint8_t *bytes, size_t len);
/* len (at most 256) random bytes as 2 * len digits, from getrandom(2). */
void hex_random(char *text, size_t len);

#endif
