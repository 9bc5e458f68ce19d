/* store_session_parts.h - the inside of a session, for store_session.c (packs being written) and store_commit.c (what ends them). */
#ifndef GODWIT_SNAPSHOT_STORE_SESSION_PARTS_H
#define GODWIT_SNAPSHOT_STORE_SESSION_PARTS_H

#include "snapshot/pack_writer.h"
#include "snapshot/store_session.h"

/* A pack that is being written. */
struct store_session_slot {
	struct pack_writer *writer;
	unsigned in_flight; /* threads that write records into it */
	bool closed;        /* takes no more records */
	struct store_session_slot *next;
};

struct store_session {
	struct store *store;
	struct store_domain *domain;
	char desktop[MANIFEST_DESKTOP_MAX + 1];
	uint64_t sequence;
	struct store_session *next; /* store->lock */

	pthread_mutex_t lock;             /* everything below */
	pthread_cond_t changed;           /* any of it */
	struct store_session_slot *slots; /* the open one, if any, is the last */
	struct err failure;               /* code != 0: no commit is possible any more */
	pthread_t sealer;
	bool has_sealer, ending;
	bool copies; /* set before the first pack: records other than chunks are listed when sealed */
};

/* All but slot_seal and find: under session->lock. slot_for and put_some release it meanwhile. */
void store_session_fail(struct store_session *session, int r, const struct err *err);
int store_session_failed(const struct store_session *session, struct err *err);
int store_session_slot_seal(struct store_session *session, struct store_session_slot *slot,
			    uint32_t *number, struct err *err);
void store_session_slot_remove(struct store_session *session, struct store_session_slot *slot);
struct store_session_slot *store_session_open_slot(struct store_session *session);
int store_session_slot_for(struct store_session *session, size_t len,
			   struct store_session_slot **out, struct err *err);
bool store_session_pending(struct store_session *session, const struct chunk_id *id,
			   struct store_place *out);
int store_session_put_some(struct store_session *session, enum pack_record_type type,
			   const struct chunk_encoded *chunks, size_t n, size_t *done,
			   struct err *err);
int store_session_find(struct store_session *session, const struct chunk_id *id, bool rescue,
		       struct store_place *out, struct err *err);

#endif
