/* Damaged ext file systems, with and without a journal to replay: the reader ends, and reports nothing that is not there.
 *
 * An input is a small image without its zeros: u32 size in KiB (little-endian), then for each 512-byte sector that is not
 * zero its number (u16) and its bytes. tests/fuzz/pack_sectors.py makes one from an image.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/lib/reader_sink.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SECTOR = 512, KIB_MAX = 4096, RECORD = 2 + SECTOR, DATA_MAX = 8 << 20 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t image[KIB_MAX << 10];
	struct reader *reader;
	struct err err = { 0 };
	uint32_t kib;
	size_t len;

	if (size < 4)
		return 0;
	memcpy(&kib, data, sizeof(kib));
	len = (size_t)(kib % KIB_MAX + 1) << 10;
	memset(image, 0, len);
	for (size_t at = 4; at + RECORD <= size; at += RECORD) {
		size_t sector = data[at] | (size_t)data[at + 1] << 8;

		if ((sector + 1) * SECTOR <= len)
			memcpy(image + sector * SECTOR, data + at + 2, SECTOR);
	}
	reader = reader_sink_new(image, len, DATA_MAX);
	if (reader_walk(reader, &err) < 0 && !err.text[0])
		abort();
	reader_sink_end(reader);
	return 0;
}
