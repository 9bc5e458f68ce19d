/* store_staged.h - how a mirror goes from one set of packs to the next at one instant.
 *
 * New packs are staged in STORE/incoming, whole and checked. Then STORE/incoming/switch is written, durable and at once: from
 * that instant on the mirror's packs are those in packs/ and in incoming/, less those that the file names, one a line. What is left
 * is to make that plain: moving, deleting, and removing the file; whoever comes next does it if a crash came before. So nothing that
 * a mirror lists ever misses what it needs, in whatever order packs depend on each other.
 */
#ifndef GODWIT_SNAPSHOT_STORE_STAGED_H
#define GODWIT_SNAPSHOT_STORE_STAGED_H

#include "snapshot/pack.h"

/* Switch: @deleted are the packs that go. Everything staged is synced already, but for the folder. Return 0 or -errno. */
int store_staged_switch(const char *path, const struct pack_name *deleted, size_t n,
			struct err *err);

/* Do what a switch left to do; nothing if there was none. For whoever holds the lock. Return 0 or -errno. */
int store_staged_finish(const char *path, struct err *err);

/**
 * store_staged_pending(path, deleted, n, err):
 * Is there a switch that is not finished? For readers.
 *
 * deleted  out, heap: the packs that do not count any more
 *
 * Return 1: yes; 0: no; or -errno.
 */
int store_staged_pending(const char *path, struct pack_name **deleted, size_t *n, struct err *err);

#endif
