#include "common/hex.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

void hex_encode(const uint8_t *bytes, size_t len, char *text)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < len; i++) {
		text[2 * i] = digits[bytes[i] >> 4];
		text[2 * i + 1] = digits[bytes[i] & 15];
	}
	text[2 * len] = 0;
}

static int digit_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int hex_decode(const char *text, uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		int high = digit_value(text[2 * i]);
		int low = high < 0 ? -1
				   : digit_value(text[2 * i + 1]); /* never reads behind the end */

		if (low < 0)
			return -EINVAL;
		bytes[i] = (uint8_t)(high << 4 | low);
	}
	return text[2 * len] ? -EINVAL : 0;
}

void hex_random(char *text, size_t len)
{
	uint8_t bytes[256];

	assert(len <= sizeof(bytes));
	/* Up to 256 bytes arrive whole and without EINTR once the kernel's pool is ready:
	 * random(7). */
	while (getrandom(bytes, len, 0) != (ssize_t)len) {
		if (errno != EINTR)
			abort(); /* no name or token may ever be guessable */
	}
	hex_encode(bytes, len, text);
}
