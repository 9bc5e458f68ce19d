/* A return path of any bytes, taken apart message by message. */
#include <stdlib.h>
#include <string.h>

#include "migrate/postcopy_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct postcopy_wire_message m;
	struct err err;
	size_t used;

	while (postcopy_wire_parse(&m, data, size, 1024, &used, &err) == 0) {
		if (used == 0 || used > size)
			abort();
		if (m.kind == POSTCOPY_WIRE_BITMAP && (m.bitmap < data || m.bitmap_len > used ||
						       m.bitmap + m.bitmap_len > data + used))
			abort();
		if (m.kind == POSTCOPY_WIRE_REQUEST && m.len == 0)
			abort();
		if (strlen(m.block) > POSTCOPY_WIRE_NAME_MAX)
			abort();
		data += used;
		size -= used;
	}
	return 0;
}
