/* scan_rescan.h - other signatures over everything that is remembered: each different content is scanned once.
 *
 * For every content that lies in a snapshot which is still there and has no verdict of this set, one place is chosen, the
 * newest first, and only those files are read. A hunt is the same with somebody's own rules. Contents that cannot be
 * read any more get the verdict "unfinished", so that nothing is taken for clean that nobody looked at.
 */
#ifndef GODWIT_SCAN_SCAN_RESCAN_H
#define GODWIT_SCAN_SCAN_RESCAN_H

#include "mgmt-server/scan/scan_memo.h"

struct scan_rescan {
	struct scan_state *state;
	const char *store, *key;      /* key NULL: STORE.key */
	const char *libexec, *plugin; /* as in scan_snapshot.h */
	const char *signatures;
	bool hunt;
	unsigned workers;
	const atomic_bool *cancel;
	void *arg;
	void (*file)(void *arg, const struct scan_file *file);
	void (*reason)(void *arg, const char *text); /* what could not be read */
};

struct scan_rescan_result {
	uint64_t set; /* row in the state */
	uint64_t contents, scanned,
		unread; /* different ones in snapshots; scanned now; without a verdict */
	uint64_t snapshots_read;
	char engine[64], signature_version[64];
};

/* Return 0; -ENOENT: no signatures; -EINVAL: they do not load; -ECANCELED; -errno. What was scanned until then stays known. */
int scan_rescan_run(const struct scan_rescan *order, struct scan_rescan_result *result,
		    struct err *err);

#endif
