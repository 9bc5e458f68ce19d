/* identity_memo.h - which content an identity (content_identity.h) stands for, as earlier scans found out by reading it.
 *
 * A part of the state (scan_state.h). What is new is written down in batches. Entries are forgotten by identity_memo_tidy.
 * Thread-safe.
 */
#ifndef GODWIT_SCAN_IDENTITY_MEMO_H
#define GODWIT_SCAN_IDENTITY_MEMO_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base.h"
#include "mgmt-server/scan/content_identity.h"
#include "mgmt-server/scan/scan_state.h"

struct identity_memo;

/* NULL: out of memory. @state must outlive it. */
struct identity_memo *identity_memo_new(struct scan_state *state);
void identity_memo_free(struct identity_memo *memo);
DEFINE_CLEANUP(struct identity_memo *, identity_memo_free);

/* True: a content of @size bytes with this identity has that hash. */
bool identity_memo_find(struct identity_memo *memo, const uint8_t *identity, uint64_t size,
			uint8_t sha256[SCAN_STATE_SHA256_LEN]);

/* Only of what this process read itself, by the runs that the identity was made from. */
void identity_memo_add(struct identity_memo *memo, const uint8_t *identity, uint64_t size,
		       const uint8_t *sha256);

/* Write down what is new. Return 0 or -errno: then it is forgotten, and read again some day. */
int identity_memo_flush(struct identity_memo *memo, struct err *err);

/* Forget contents that are in no snapshot any more, what is older than a quarter of a year, and the oldest of too many. */
int identity_memo_tidy(struct db_conn *conn, struct err *err);

#endif
