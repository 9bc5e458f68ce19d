/* store_client.h - the store of a server, used across the network: chunk source and sink over HTTPS.
 *
 * Several requests are in flight at once, so that the round-trip time never limits throughput; chunks are sent
 * encoded and verified on arrival by whoever receives them. Requests are repeated while the server is away, for a minute
 * or two; then the call fails with the network's error and whoever called decides. Memory: at most about 24 MiB for a
 * session and 16 MiB for a source. Source: docs/protocol.md, "Chunk transfer".
 */
#ifndef GODWIT_SNAPSHOT_STORE_CLIENT_H
#define GODWIT_SNAPSHOT_STORE_CLIENT_H

#include "common/http_client.h"
#include "snapshot/chunk_io.h"
#include "snapshot/manifest.h"

struct store_client_session;

/**
 * store_client_source_new(out, http, prefix, desktop, job, err):
 * Chunks of @desktop's snapshots. prefix: "/agent/v1" or "/api/v1". job: counts the bytes for that job; may be NULL.
 * @http must outlive the source; free it with store_client_source_free.
 */
int store_client_source_new(struct chunk_source *out, struct http_client *http, const char *prefix,
			    const char *desktop, const char *job, struct err *err);
void store_client_source_free(struct chunk_source *source);

struct store_client_open {
	struct http_client *http;
	const char *prefix, *desktop;
	uint64_t epoch;
	const char *job;     /* may be NULL */
	const char *session; /* resume this one; NULL: a new one */
};
/* Return 0; -ESTALE: the session to resume is gone; -EEXIST: the server wants no upload of this desktop from us; or -errno. */
int store_client_session_open(struct store_client_session **out,
			      const struct store_client_open *order, struct err *err);
void store_client_session_free(
	struct store_client_session *session); /* leaves it open at the server */
DEFINE_CLEANUP(struct store_client_session *, store_client_session_free);

const char *store_client_session_id(const struct store_client_session *session);
struct chunk_sink store_client_session_sink(struct store_client_session *session);
/**
 * store_client_session_commit(session, manifest, err):
 * Send what waits, then commit. manifest->id, branch and created are set from the server's answer.
 *
 * Return 0; -EAGAIN: the server misses chunks (it was restarted): resume the session, put everything again and
 * commit again, only what is missing will be sent; -ESTALE: the session is gone; or -errno. After any failure of a
 * session's call the session answers the same until it is freed and resumed.
 */
int store_client_session_commit(struct store_client_session *session, struct manifest *manifest,
				struct err *err);
int store_client_session_abort(struct store_client_session *session, struct err *err);

/* A snapshot's manifest; id "latest" is the newest good one of @desktop. */
int store_client_manifest(struct http_client *http, const char *prefix, const char *desktop,
			  const char *id, struct manifest *out, struct err *err);

#endif
