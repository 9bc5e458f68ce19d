/* mends_put.h - what godwit-scan-mend left behind becomes a snapshot in the store. Internal to mends; needs no lock. */
#ifndef GODWIT_MGMT_SERVER_MENDS_PUT_H
#define GODWIT_MGMT_SERVER_MENDS_PUT_H

#include "mgmt-server/core/server.h"
#include "mgmt-server/core/snapshots.h"

struct mends_put {
	struct store *store;
	const char *snapshot; /* the infected one */
	const char *volume;   /* of it; its blocks are in FOLDER/VOLUME.img and VOLUME.extents */
	const char *folder;
	uint64_t epoch;
	bool branch;
};

/* manifest, figures: out; the caller's to deinit, after a failure too. Return 0 or -errno. */
int mends_put(const struct mends_put *order, struct manifest *manifest,
	      struct snapshots_figures *figures, struct err *err);

#endif
