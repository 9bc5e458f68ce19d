/* ext_journal.h - which blocks of a file system have a newer version in its journal. Internal to ext_volume. */
#ifndef GODWIT_SCAN_EXT_JOURNAL_H
#define GODWIT_SCAN_EXT_JOURNAL_H

#include <ext2fs/ext2fs.h>
#include <stdbool.h>

#include "common/base.h"
#include "common/err.h"

struct ext_journal;

/* What the journal holds and is not replayed here. */
struct ext_journal_lack {
	const char *why; /* NULL: nothing */
	bool for_kernel; /* it is not damaged: the kernel's driver replays it, or may */
};

/**
 * ext_journal_load(out, fs, lack, err):
 * out   NULL when there is nothing to replay
 * lack  set when the journal holds something that cannot be replayed (it is then replayed as far as possible)
 *
 * Return 0 or -errno.
 */
int ext_journal_load(struct ext_journal **out, ext2_filsys fs, struct ext_journal_lack *lack,
		     struct err *err);
void ext_journal_free(struct ext_journal *journal);
DEFINE_CLEANUP(struct ext_journal *, ext_journal_free);

/* Is there a newer version of @block? Then *at is where, and *escaped says that its first four bytes are the journal's
 * magic number, written as zeros. */
bool ext_journal_find(const struct ext_journal *journal, uint64_t block, uint64_t *at,
		      bool *escaped);

#endif
