/* scan_memo.h - what a scan may know from others and leave to them: a state, the signatures in it, a snapshot's index. */
#ifndef GODWIT_SCAN_SCAN_MEMO_H
#define GODWIT_SCAN_SCAN_MEMO_H

#include "mgmt-server/scan/scan_index.h"
#include "mgmt-server/scan/scan_run.h"
#include "mgmt-server/scan/scan_snapshot.h"

struct scan_memo_file {
	struct scan_memo memo; /* for struct scan_order */
	struct scan_state_set set;
	char version[SCAN_STATE_VERSION_LEN];
};

/**
 * scan_memo_open(file, state, signatures, libexec, hunt, err):
 * Enter the signatures of a folder in @state, which must outlive @file.
 *
 * Return 0; -ENOENT: there are no signatures; -errno.
 */
int scan_memo_open(struct scan_memo_file *file, struct scan_state *state, const char *signatures,
		   const char *libexec, bool hunt, struct err *err);
void scan_memo_close(struct scan_memo_file *file);

/* The scan is of this snapshot: find out what changed since the last one of its desktop. Return 0 or -errno. */
int scan_memo_snapshot(struct scan_memo_file *file, const struct scan_snapshot *snapshot,
		       struct err *err);
/* Only some contents of this snapshot are looked for. */
int scan_memo_wanted(struct scan_memo_file *file, const struct scan_snapshot *snapshot,
		     const struct scan_index_wanted *wanted, size_t count, struct err *err);

#endif
