/* A tar header out of an OVA. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "snapshot/ova_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t header[OVA_FILE_BLOCK] = { 0 };
	struct ova_file_disk member;
	struct err err = { 0 };
	bool is_end;

	memcpy(header, data, size < sizeof(header) ? size : sizeof(header));
	if (ova_file_parse_header(header, &member, &is_end, &err) == 0 &&
	    strlen(member.name) > OVA_FILE_NAME_MAX)
		abort();
	return 0;
}
