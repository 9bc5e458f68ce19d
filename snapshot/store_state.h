/* store_state.h - what a store knows about its packs, kept so that opening need not read every footer.
 *
 * Derived, like the runs it names: when the file is missing, damaged or made under another key, the store is opened by
 * reading the footers and everything is made again. Source: snapshot/FORMAT.md, "Index".
 */
#ifndef GODWIT_SNAPSHOT_STORE_STATE_H
#define GODWIT_SNAPSHOT_STORE_STATE_H

#include "snapshot/store_internal.h"

enum { STORE_STATE_UNUSABLE = 1 };
/* Fill the pack table, the list of snapshots and the index. Return 0, STORE_STATE_UNUSABLE (then nothing was filled), or -errno. */
int store_state_load(struct store *store, struct err *err);

/* Empty them again. */
void store_state_drop(struct store *store);

/* Write table and list; the index is flushed first. Not durable against power cuts: it need not be. */
int store_state_save(struct store *store, struct err *err);

/* A run is damaged: throw the index away and read all footers. Return 0 or -errno. */
int store_state_rebuild(struct store *store, struct err *err);

/* Flush when there is enough in memory. Called after packs were added. */
int store_state_maybe_flush(struct store *store, struct err *err);

#endif
