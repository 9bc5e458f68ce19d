/* Damaged FAT and exFAT volumes: the reader ends, breaks no rule of reader.h, and explains a failure. An input is a small
 * volume without its zeros (tests/lib/packed_sectors.h).
 */
#include <stdlib.h>

#include "mgmt-server/scan/fat_walk.h"
#include "tests/lib/packed_sectors.h"
#include "tests/lib/reader_sink.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { DATA_MAX = 8 << 20 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t len;
	const uint8_t *image = packed_sectors_unpack(data, size, &len);
	struct reader *reader;
	struct err err = { 0 };

	if (!image)
		return 0;
	reader = reader_sink_new(image, len, DATA_MAX);
	if (fat_walk(reader, &err) < 0 && !err.text[0])
		abort();
	reader_sink_end(reader);
	return 0;
}
