/* http_try.h - one attempt at an HTTPS request; http_client decides whether there is another.
 *
 * A slot holds what one request at a time uses; it belongs to one thread between http_client's take
 * and give. Source: libcurl 7.88 manual, "libcurl-multi".
 */
#ifndef GODWIT_COMMON_HTTP_TRY_H
#define GODWIT_COMMON_HTTP_TRY_H

#include <curl/curl.h>

#include "common/http_client.h"
#include "common/http_trust.h"

typedef struct curl_slist http_try_headers;
DEFINE_CLEANUP(http_try_headers *, curl_slist_free_all);

/* Whom a client trusts, who it is, and how long it waits: the same for all its tries. */
struct http_try_identity {
	char *ca_pem;                             /* NULL: pinned */
	uint8_t ca_digest[HTTP_TRUST_DIGEST_LEN]; /* used when pinned */
	char *cert_pem, *key_pem;                 /* both or neither */
	uint64_t connect_timeout_ms, stall_timeout_ms;
};

struct http_try_slot {
	struct http_try_slot *next; /* the client's */
	CURL *easy;
	CURLM *multi; /* keeps the connections */
	struct http_trust trust;
};

/* NULL: out of memory. @identity must outlive the slot. */
struct http_try_slot *http_try_slot_new(const struct http_try_identity *identity);
void http_try_slot_free(struct http_try_slot *slot);

struct http_try {
	const struct http_try_identity *identity;
	struct http_try_slot *slot;
	const struct http_request *request;
	const char *method, *url;
	http_try_headers *headers;
	uint64_t deadline_ms; /* on clock_now_ms */
	size_t response_max;
	/* out */
	struct http_response response; /* the caller's, also after a failure */
	uint64_t retry_after_ms;       /* what the server asked for; 0: nothing */
	uint64_t sent, received;       /* body bytes */
	/* http_try's own */
	size_t capacity;
	unsigned times_sent; /* how often libcurl began to send the request */
	bool too_large, no_memory;
	char reason[CURL_ERROR_SIZE];
};

/* How a try ended: 0 or -errno, and whether a repeatable request should be tried again. */
struct http_try_outcome {
	int r;
	bool again;
};

/* The text in @err does not name the request. @t may be run again; its response must have been
 * freed by then. */
struct http_try_outcome http_try_run(struct http_try *t, struct err *err);

bool http_try_cancelled(const struct http_request *request);

#endif
