/* http_client.h - HTTPS requests to one server. A thin rule book over libcurl.
 *
 * A client trusts exactly one CA (or, before enrolment, one CA fingerprint) and may present a certificate. It is
 * thread-safe: several threads' requests are in flight at once, each on its own kept-alive connection.
 * Requests marked `repeatable` are retried on connection failures and on 429, 502, 503, 504 with exponential back-off
 * and jitter until `deadline_ms` has passed; others are sent once.
 * Source: libcurl 7.88 manual; RFC 9110.
 */
#ifndef GODWIT_COMMON_HTTP_CLIENT_H
#define GODWIT_COMMON_HTTP_CLIENT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base.h"
#include "common/err.h"
#include "common/json.h"

struct http_client;

struct http_client_options {
	const char *base_url;       /* "https://host:8444", no slash at its end */
	const char *ca_pem;         /* the only CA that is trusted; NULL with ca_fingerprint */
	const char *ca_fingerprint; /* first contact: the chain's CA must have this SHA-256 */
	const char *cert_pem, *key_pem; /* client certificate; both or neither */
	const char *bearer;         /* Authorization: Bearer …; NULL: none */
	uint64_t connect_timeout_ms;/* 0: 10 s */
	uint64_t stall_timeout_ms;  /* no byte for so long: the request failed; 0: 60 s */
};

int http_client_new(struct http_client **out, const struct http_client_options *options,
		    struct err *err);
void http_client_free(struct http_client *client);
DEFINE_CLEANUP(struct http_client *, http_client_free);

struct http_request {
	const char *method;         /* NULL: GET */
	const char *path;           /* "/agent/v1/…", already escaped */
	const void *body;
	size_t body_len;
	const char *body_type;      /* NULL: application/json */
	bool repeatable;
	uint64_t deadline_ms;       /* for the request with all its retries, from now; 0: 60 s */
	size_t response_max;        /* more bytes than that fail with -EMSGSIZE; 0: 16 MiB */
	const atomic_bool *cancel;  /* polled; true ends the request with -ECANCELED */
};

struct http_response {
	long status;
	uint8_t *body;              /* heap, one zero byte behind its body_len bytes */
	size_t body_len;
};
void http_response_deinit(struct http_response *response);

/**
 * http_client_call(client, request, response, err):
 * Return 0 when a response arrived, whatever its status (the caller looks at it), or -errno: -ECONNREFUSED,
 * -ETIMEDOUT, -EACCES for a certificate that is not trusted or was refused, -ECANCELED, -EIO …
 */
int http_client_call(struct http_client *client, const struct http_request *request,
		     struct http_response *response, struct err *err);

/**
 * http_client_json(client, method, path, body, reply, err):
 * One JSON exchange: a status outside 200–299 becomes an error with the problem document's title and detail
 * (RFC 7807), and a code: 400 → -EINVAL, 401/403 → -EACCES, 404 → -ENOENT, 409 → -EEXIST, 412 → -ESTALE,
 * 413 → -EFBIG, 507 → -ENOSPC, others → -EIO.
 *
 * body   borrowed, NULL: none
 * reply  out, a new reference, NULL when there was no content; may be NULL: not wanted
 */
int http_client_json(struct http_client *client, const char *method, const char *path,
		     const json_t *body, json_t **reply, struct err *err);

/* The same mapping for callers of http_client_call: 0 for 200–299, else the error above. */
int http_response_check(const struct http_response *response, const char *what, struct err *err);

/* Body bytes sent and received since the client was made. */
void http_client_bytes(const struct http_client *client, uint64_t *sent, uint64_t *received);

#endif
