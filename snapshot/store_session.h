/* store_session.h - what GC and the store's own files need to know about open sessions. */
#ifndef GODWIT_SNAPSHOT_STORE_SESSION_H
#define GODWIT_SNAPSHOT_STORE_SESSION_H

#include "snapshot/store_internal.h"

/* The number of the oldest open session, UINT64_MAX when there is none; under store->lock. */
uint64_t store_session_oldest(const struct store *store);

/* Write one record of @type that is no chunk (a note) in a pack of its own, durably. */
int store_session_write_note(struct store *store, const char *text, struct err *err);

#endif
