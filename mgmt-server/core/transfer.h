/* transfer.h - chunks in and out: uploads (sessions), their commits, and fetches. docs/protocol.md, section 3.
 *
 * Crash rules: chunks are durable with the commit only; a commit's snapshot id is written to the catalogue before the
 * store gets the manifest, so that the same commit, repeated after any crash, ends in the same snapshot. Order: plan →
 * store → catalogue → answer; a snapshot that a crash left in the store alone is adopted at start.
 * The handlers serve both listeners; who the caller is decides what he may.
 */
#ifndef GODWIT_MGMT_SERVER_TRANSFER_H
#define GODWIT_MGMT_SERVER_TRANSFER_H

#include "mgmt-server/core/server.h"

struct transfer;

int transfer_new(struct transfer **out, struct server *server, struct err *err);
void transfer_free(struct transfer *transfer);
DEFINE_CLEANUP(struct transfer *, transfer_free);

void transfer_open(struct http_request *request);     /* POST P/sessions */
void transfer_query(struct http_request *request);    /* POST P/sessions/{session}/query */
void transfer_chunks(struct http_request *request);   /* POST P/sessions/{session}/chunks */
void transfer_commit(struct http_request *request);   /* POST P/sessions/{session}/commit */
void transfer_end(struct http_request *request);      /* DELETE P/sessions/{session} */
void transfer_manifest(struct http_request *request); /* GET P/desktops/{desktop}/snapshots/{id} */
void transfer_fetch(struct http_request *request);    /* POST P/desktops/{desktop}/chunks */

/* Bytes that were sent for a job since the last call. */
uint64_t transfer_sent_take(struct transfer *transfer, const char *job);
/* Forget uploads that nobody used for a day. */
void transfer_purge(struct transfer *transfer);

#endif
