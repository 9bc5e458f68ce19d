/* store_session.h - what GC and the store's own files need to know about open sessions. */
#ifndef GODWIT_SNAPSHOT_STORE_SESSION_H
#define GODWIT_SNAPSHOT_STORE_SESSION_H

#include "snapshot/store_internal.h"

/* The number of the oldest open session, UINT64_MAX when there is none; under store->lock. */
uint64_t store_session_oldest(const struct store *store);

/* Write notes in a pack of their own, durably: all or none. At most PACK_RECORDS_MAX at a time. */
int store_session_write_notes(struct store *store, const char *const *texts, size_t n,
			      struct err *err);

/* For repacking: append a record of any type as it is. The chunk's data is borrowed during the call. */
int store_session_copy(struct store_session *session, enum pack_record_type type,
		       const struct chunk_encoded *chunk, struct err *err);
/* Make all copies durable and listed under their new places. */
int store_session_finish_copies(struct store_session *session, struct err *err);

#endif
