/* watch_reader.h - run one reader program and hand what it reports to a function: nothing is scanned. */
#ifndef GODWIT_SCAN_WATCH_READER_H
#define GODWIT_SCAN_WATCH_READER_H

#include "mgmt-server/scan/entry_channel.h"
#include "mgmt-server/scan/known_files.h"
#include "snapshot/volume.h"

struct watch_reader {
	const char *libexec, *program; /* its folder; "godwit-scan-ext" */
	const struct volume_input *input;
	uint64_t offset, length;         /* of the partition */
	const struct known_files *known; /* NULL: nothing; every file comes with its content */
	/* Files and partitions; the content stays the caller's. Return 0 or -errno, which ends it. */
	int (*seen)(void *arg, const struct entry *entry, struct err *err);
	void *arg;
	const atomic_bool *cancel;
};

enum { WATCH_READER_UNREADABLE = 1 };
/* Return 0; WATCH_READER_UNREADABLE with @err's text: the reader gave up; -ECANCELED; -errno. */
int watch_reader_run(const struct watch_reader *order, struct err *err);

#endif
