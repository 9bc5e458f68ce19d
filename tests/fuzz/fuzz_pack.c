/* Pack trailer, footer and record as they come from a disk: the first byte chooses which parser gets the rest. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "snapshot/pack.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct pack pack = { .fd = -1, .name_text = "fuzz" };
	struct pack_trailer trailer;
	struct err err = { 0 };
	struct chunk_encoded chunk;

	if (size < 9)
		return 0;
	if (data[0] % 3 == 0) {
		uint64_t file_size;

		memcpy(&file_size, data + 1, sizeof(file_size));
		if (size >= 9 + PACK_TRAILER_LEN)
			pack_trailer_parse(&trailer, data + 9, file_size % (100 << 20), &err);
	} else if (data[0] % 3 == 1) {
		uint64_t data_end;

		memcpy(&data_end, data + 1, sizeof(data_end));
		if (data_end % (65 << 20) >= PACK_HEADER_LEN)
			pack_footer_parse(&pack, data + 9, size - 9, data_end % (65 << 20), &err);
		for (uint32_t i = 0; i < pack.count; i++)
			if (pack.entries[i].offset < PACK_HEADER_LEN)
				abort();
		free(pack.entries);
	} else {
		struct pack_entry entry = {
			.raw_len = 100, .len = 50, .type = data[1], .codec = data[2], .offset = 144
		};
		uint8_t *copy = malloc(pack_record_len(&entry));

		if (copy && size >= 9 + pack_record_len(&entry)) {
			memcpy(copy, data + 9, pack_record_len(&entry));
			if (pack_record_parse(&pack, &entry, copy, &chunk, &err) == 0 &&
			    chunk.len != entry.len)
				abort();
		}
		free(copy);
	}
	return 0;
}
