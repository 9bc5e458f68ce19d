/* scan_reader.h - run one reader program over a part of a volume and take in what it reports. Internal to scan_run. */
#ifndef GODWIT_SCAN_SCAN_READER_H
#define GODWIT_SCAN_SCAN_READER_H

#include "mgmt-server/scan/entry_channel.h"
#include "mgmt-server/scan/scan_content.h"

/* What became of it, for whoever has another way. */
struct scan_reader_said {
	bool leaves;          /* the volume to the kernel's driver */
	uint64_t files, lost; /* reported; reasons why the scan is incomplete */
};

struct scan_reader {
	struct scan *scan;
	const struct scan_volume *volume;
	const char *program;   /* "godwit-scan-ext" */
	const char *partition; /* "2", "" for the whole volume: for reports */
	uint64_t offset, length;
	bool memory; /* what is reported are pieces of memory */
	struct scan_index_part
		*part;  /* what an earlier scan saw there; NULL: nothing is remembered */
	bool may_leave; /* to the kernel's driver; then with @said */
	struct scan_reader_said *said; /* out; NULL: nobody asks */
	int input_fd; /* what the reader reads instead of the volume; 0: the volume */
	/* The partition reader's entries; NULL: they are a fault. */
	int (*partition_seen)(void *arg, const struct entry *entry, struct err *err);
	void *arg;
};

/* Whatever the reader does wrong makes the scan incomplete. Return 0, -ECANCELED, or -errno of our own. */
int scan_reader_run(const struct scan_reader *order, struct err *err);

#endif
