/* Any text as a manifest; what is accepted must survive being written and read again. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "snapshot/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct manifest m, again;
	struct err err = { 0 };

	if (manifest_parse(&m, (const char *)data, size, &err) == 0) {
		json_t *value = manifest_to_json(&m);

		if (!value || manifest_from_json(&again, value, &err) != 0)
			abort();
		manifest_deinit(&again);
		json_decref(value);
	}
	manifest_deinit(&m);
	return 0;
}
