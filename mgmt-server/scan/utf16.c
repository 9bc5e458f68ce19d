#include "mgmt-server/scan/utf16.h"

#include <stdbool.h>

static bool is_high(uint32_t unit)
{
	return unit >= 0xd800 && unit < 0xdc00;
}

static bool is_low(uint32_t unit)
{
	return unit >= 0xdc00 && unit < 0xe000;
}

/* @trail more bytes of six bits each follow the first one. */
static size_t put(char *to, uint32_t c, unsigned trail)
{
	static const uint8_t lead[] = { 0, 0xc0, 0xe0, 0xf0 };

	to[0] = (char)(lead[trail] | c >> 6 * trail);
	for (unsigned i = 1; i <= trail; i++)
		to[i] = (char)(0x80 | (c >> 6 * (trail - i) & 0x3f));
	return 1 + trail;
}

size_t utf16_to_bytes(const uint16_t *units, size_t count, char *out)
{
	size_t len = 0;

	for (size_t i = 0; i < count; i++) {
		uint32_t c = units[i];

		if (is_high(c) && i + 1 < count && is_low(units[i + 1]))
			c = 0x10000 + ((c - 0xd800) << 10) + (units[++i] - 0xdc00U);
		len += put(out + len, c, c < 0x80 ? 0 : c < 0x800 ? 1 : c < 0x10000 ? 2 : 3);
	}
	return len;
}
