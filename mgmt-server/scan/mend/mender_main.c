/* mender_main.c - what the menders have in common: arguments, descriptors, sandbox, the answer. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base.h"
#include "mgmt-server/scan/entry_channel.h"
#include "mgmt-server/scan/mend/mender.h"
#include "mgmt-server/scan/reader.h"
#include "mgmt-server/scan/sandbox.h"

enum { ENTRY_FD = 4 };

static const struct sandbox box = {
	.role = SANDBOX_READER,
	.memory_max = 2ULL << 30,
	.cpu_seconds = 3600,
	.temp_max = 1, /* for nothing: one page */
};

static int awake(struct volume_channel *volume, const char *path, struct err *err)
{
	(void)path;
	return mender_awake(volume, err);
}

static int read_file(struct volume_channel *volume, const char *path, struct err *err)
{
	struct entry e = {
		.kind = ENTRY_FILE, .path = path, .path_len = strlen(path), .has_content = true
	};
	int r = mender_read(volume, path, ENTRY_FD, &e.size, err);

	return r < 0 ? r : entry_channel_send(ENTRY_FD, &e, err);
}

static int replace(struct volume_channel *volume, const char *path, struct err *err)
{
	struct stat st;

	if (fstat(MENDER_CONTENT_FD, &st) < 0)
		return err_set(err, errno, "look at the new content");
	return mender_replace(volume, path, MENDER_CONTENT_FD, (uint64_t)st.st_size, err);
}

static const struct {
	const char *name;
	int (*act)(struct volume_channel *volume, const char *path, struct err *err);
} modes[] = {
	{ "awake", awake },
	{ "read", read_file },
	{ "replace", replace },
};

static int run(char **argv, struct err *err)
{
	CLEANUP(volume_channel_close) struct volume_channel *volume = NULL;
	uint64_t offset = strtoull(argv[1], NULL, 10), size = strtoull(argv[2], NULL, 10);
	int r = sandbox_enter(&box, err);

	if (r < 0)
		return r;
	r = volume_channel_open(&volume, READER_INPUT_FD, offset, size, err);
	for (size_t i = 0; r == 0 && i < ARRAY_LEN(modes); i++) {
		if (!strcmp(argv[3], modes[i].name))
			return modes[i].act(volume, argv[4], err);
	}
	return r < 0 ? r : err_say(err, EINVAL, "no such mode: %s", argv[3]);
}

int main(int argc, char **argv)
{
	struct err err = { 0 };
	struct entry end = { .kind = ENTRY_DONE };
	int r = argc == 5
			? run(argv, &err)
			: err_say(&err, EINVAL,
				  "usage: %s OFFSET LENGTH MODE PATH; started by godwit-scan-mend",
				  argv[0]);

	if (r < 0) {
		end.kind = ENTRY_FAILED;
		end.reason = err_text(&err);
		end.reason_len = strnlen(end.reason, ENTRY_CHANNEL_TEXT_MAX);
	}
	entry_channel_send(ENTRY_FD, &end, NULL);
	return r < 0;
}
