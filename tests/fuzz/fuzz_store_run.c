/* A page of an index run, with a checksum that fits, so that the parser behind it is reached. */
#include <endian.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "snapshot/crc32c.h"
#include "snapshot/store_run.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct store_index_entry entries[STORE_RUN_PAGE_ENTRIES];
	uint8_t page[STORE_RUN_PAGE] = { 0 };
	size_t count = 0;
	uint32_t crc;

	memcpy(page + 4, data, size < sizeof(page) - 4 ? size : sizeof(page) - 4);
	crc = htole32(crc32c(0, page + 4, sizeof(page) - 4));
	memcpy(page, &crc, sizeof(crc));
	if (store_run_parse_page(page, entries, &count) == 0 &&
	    (!count || count > STORE_RUN_PAGE_ENTRIES))
		abort();
	return 0;
}
