/* mend_child.h - run one mender, or the partition reader, over a part of a volume and wait for its answer. */
#ifndef GODWIT_SCAN_MEND_CHILD_H
#define GODWIT_SCAN_MEND_CHILD_H

#include "mgmt-server/scan/entry_channel.h"
#include "mgmt-server/scan/volume_channel.h"

struct mend_child {
	const char *libexec, *program;
	const char *mode, *path; /* of a mender; NULL: a reader */
	const struct volume_input *volume;
	volume_channel_write_fn *write; /* NULL: its writes are refused */
	uint64_t offset, length;
	int content; /* handed over to a mender that replaces; 0: none */
};

/* Every entry but the last; contents are the channel's to close. */
typedef int mend_child_entry_fn(void *arg, struct entry *entry, struct err *err);

/* Return 0; -EPERM with the child's reason when it refused or failed; -errno. */
int mend_child_run(const struct mend_child *child, mend_child_entry_fn *fn, void *arg,
		   struct err *err);

#endif
