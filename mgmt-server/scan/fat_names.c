#include "mgmt-server/scan/fat_names.h"

#include <stdbool.h>

#include "common/base.h"

enum {
	BASE_LEN = 8,
	ASCII_END = 0x80,
	KANJI_E5 = 0x05, /* as first byte: e5, which alone would mean "deleted" */
};

/* Code page 437 from 80 on: made with Python's codec of that name. */
static const uint16_t high_half[] = {
	0x00c7, 0x00fc, 0x00e9, 0x00e2, 0x00e4, 0x00e0, 0x00e5, 0x00e7, 0x00ea, 0x00eb, 0x00e8,
	0x00ef, 0x00ee, 0x00ec, 0x00c4, 0x00c5, 0x00c9, 0x00e6, 0x00c6, 0x00f4, 0x00f6, 0x00f2,
	0x00fb, 0x00f9, 0x00ff, 0x00d6, 0x00dc, 0x00a2, 0x00a3, 0x00a5, 0x20a7, 0x0192, 0x00e1,
	0x00ed, 0x00f3, 0x00fa, 0x00f1, 0x00d1, 0x00aa, 0x00ba, 0x00bf, 0x2310, 0x00ac, 0x00bd,
	0x00bc, 0x00a1, 0x00ab, 0x00bb, 0x2591, 0x2592, 0x2593, 0x2502, 0x2524, 0x2561, 0x2562,
	0x2556, 0x2555, 0x2563, 0x2551, 0x2557, 0x255d, 0x255c, 0x255b, 0x2510, 0x2514, 0x2534,
	0x252c, 0x251c, 0x2500, 0x253c, 0x255e, 0x255f, 0x255a, 0x2554, 0x2569, 0x2566, 0x2560,
	0x2550, 0x256c, 0x2567, 0x2568, 0x2564, 0x2565, 0x2559, 0x2558, 0x2552, 0x2553, 0x256b,
	0x256a, 0x2518, 0x250c, 0x2588, 0x2584, 0x258c, 0x2590, 0x2580, 0x03b1, 0x00df, 0x0393,
	0x03c0, 0x03a3, 0x03c3, 0x00b5, 0x03c4, 0x03a6, 0x0398, 0x03a9, 0x03b4, 0x221e, 0x03c6,
	0x03b5, 0x2229, 0x2261, 0x00b1, 0x2265, 0x2264, 0x2320, 0x2321, 0x00f7, 0x2248, 0x00b0,
	0x2219, 0x00b7, 0x221a, 0x207f, 0x00b2, 0x25a0, 0x00a0,
};

/* Only letters whose small form is in the code page, too. */
static const uint8_t small_letters[][2] = {
	{ 0x80, 0x87 }, { 0x8e, 0x84 }, { 0x8f, 0x86 }, { 0x90, 0x82 }, { 0x92, 0x91 },
	{ 0x99, 0x94 }, { 0x9a, 0x81 }, { 0xa5, 0xa4 }, { 0xe4, 0xe5 }, { 0xe8, 0xed },
};

static uint8_t in_lower_case(uint8_t c)
{
	if (c >= 'A' && c <= 'Z')
		return (uint8_t)(c - 'A' + 'a');
	for (size_t i = 0; i < ARRAY_LEN(small_letters); i++) {
		if (c == small_letters[i][0])
			return small_letters[i][1];
	}
	return c;
}

/* One of the two parts, without the blanks at its end. Return the number of units. */
static size_t part_of(const uint8_t *raw, size_t len, bool lower, uint16_t *units)
{
	size_t count = 0;

	for (size_t i = 0; i < len && raw[i]; i++) {
		uint8_t c = lower ? in_lower_case(raw[i]) : raw[i];

		units[i] = c < ASCII_END ? c : high_half[c - ASCII_END];
		if (c != ' ')
			count = i + 1;
	}
	return count;
}

size_t fat_names_short(const uint8_t raw[FAT_NAMES_SHORT_LEN], uint8_t case_bits, char *out)
{
	uint16_t units[FAT_NAMES_SHORT_LEN + 1];
	uint8_t base[BASE_LEN];
	size_t count, more;

	for (size_t i = 0; i < BASE_LEN; i++)
		base[i] = raw[i];
	if (base[0] == KANJI_E5)
		base[0] = 0xe5;
	count = part_of(base, BASE_LEN, case_bits & FAT_NAMES_LOWER_BASE, units);
	more = part_of(raw + BASE_LEN, FAT_NAMES_SHORT_LEN - BASE_LEN,
		       case_bits & FAT_NAMES_LOWER_EXTENSION, units + count + 1);
	if (more) {
		units[count] = '.';
		count += 1 + more;
	}
	return fat_names_long(units, count, out);
}

size_t fat_names_long(const uint16_t *units, size_t count, char *out)
{
	size_t len = 0;

	for (size_t i = 0, end; i < count && units[i]; i = end) {
		for (end = i; end < count && units[end] && units[end] != '/'; end++)
			;
		len += utf16_to_bytes(units + i, end - i, out + len);
		if (end < count && units[end] == '/') {
			out[len++] = (char)0xc0;
			out[len++] = (char)0xaf;
			end++;
		}
	}
	return len;
}
