#include "tests/lib/packed_sectors.h"

#include <string.h>

#include "common/le.h"

enum { SECTOR = 512, RECORD = 2 + SECTOR };

const uint8_t *packed_sectors_unpack(const uint8_t *data, size_t size, size_t *len)
{
	static uint8_t image[PACKED_SECTORS_KIB_MAX << 10];

	if (size < 4)
		return NULL;
	*len = (size_t)(le_get32(data) % PACKED_SECTORS_KIB_MAX + 1) << 10;
	memset(image, 0, *len);
	for (size_t at = 4; at + RECORD <= size; at += RECORD) {
		size_t sector = le_get16(data + at);

		if ((sector + 1) * SECTOR <= *len)
			memcpy(image + sector * SECTOR, data + at + 2, SECTOR);
	}
	return image;
}
