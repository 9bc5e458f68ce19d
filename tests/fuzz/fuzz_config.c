/* config_load on any bytes: it loads, or it says where in the file what is wrong. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <stdbool.h>

#include "common/base.h"
#include "common/config.h"
#include "common/io.h"

struct settings {
	char *url;
	uint64_t port, cache, interval;
	bool strict;
};

static const struct config_key keys[] = {
	{ "server", "url", CONFIG_STRING, offsetof(struct settings, url), "x", "where" },
	{ "server", "port", CONFIG_UINT, offsetof(struct settings, port), "1", "port" },
	{ "agent", "cache", CONFIG_BYTES, offsetof(struct settings, cache), "2G", "cache" },
	{ "agent", "interval", CONFIG_DURATION, offsetof(struct settings, interval), "3s", "when" },
	{ "agent", "strict", CONFIG_BOOL, offsetof(struct settings, strict), "yes", "whether" },
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP_FD int fd = memfd_create("config", MFD_CLOEXEC);
	struct settings s;
	struct err err = { 0 };
	char path[32];

	if (fd < 0 || io_write_full(fd, data, size) < 0)
		abort();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (config_load(path, keys, ARRAY_LEN(keys), &s, &err) < 0) {
		if (!strstr(err_text(&err), path))
			abort();
	} else if (!s.url || (s.strict != true && s.strict != false)) {
		abort();
	}
	config_free(keys, ARRAY_LEN(keys), &s);
	return 0;
}
