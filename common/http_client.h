/* http_client.h - HTTPS requests to one server. A thin rule book over libcurl.
 *
 * A client trusts exactly one CA (or, before enrolment, one CA fingerprint) and may present a
 * certificate. It is thread-safe: several threads' requests are in flight at once, each on its own
 * kept-alive connection. Requests marked `repeatable` are retried on connection failures and on
 * 429, 502, 503, 504 with exponential back-off and jitter (and no sooner than Retry-After says)
 * until `deadline_ms` has passed; others are sent once: when the connection breaks after that, the
 * error says that nobody knows whether they were carried out. Redirects are not followed, proxies
 * not used, the system's CAs not trusted. Source: libcurl 7.88 manual; RFC 9110.
 */
#ifndef GODWIT_COMMON_HTTP_CLIENT_H
#define GODWIT_COMMON_HTTP_CLIENT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base.h"
#include "common/err.h"
#include "common/http_response.h"
#include "common/json.h"

struct http_client;

/* The strings are copied. */
struct http_client_options {
	const char *base_url;       /* "https://host:8444", no slash at its end */
	const char *ca_pem;         /* the only CA that is trusted; NULL with ca_fingerprint */
	const char *ca_fingerprint; /* first contact: the server must send a CA with this SHA-256 in
				       its chain */
	const char *cert_pem, *key_pem; /* client certificate; both or neither */
	const char *bearer;             /* Authorization: Bearer …; NULL: none */
	uint64_t connect_timeout_ms;    /* 0: 10 s */
	uint64_t stall_timeout_ms; /* no byte for so long: this try failed; 0: 60 s. More than a
				      long poll lasts */
};

int http_client_new(struct http_client **out, const struct http_client_options *options,
		    struct err *err);
void http_client_free(struct http_client *client);
DEFINE_CLEANUP(struct http_client *, http_client_free);

struct http_request {
	const char *method; /* NULL: GET */
	const char *path;   /* "/agent/v1/…", already escaped */
	const void *body;
	size_t body_len;
	const char *body_type; /* NULL: application/json */
	const char *key;       /* sent as Idempotency-Key, with every try; NULL: none */
	bool repeatable;
	uint64_t deadline_ms;      /* for the request with all its retries, from now; 0: 60 s */
	size_t response_max;       /* more bytes than that fail with -EMSGSIZE; 0: 16 MiB */
	const atomic_bool *cancel; /* polled; true ends the request with -ECANCELED */
};

/**
 * http_client_call(client, request, response, err):
 * response  out; after 0 the caller's, for http_response_deinit
 *
 * Return 0 when a response arrived, whatever its status (the caller looks at it), or -errno:
 * -ECONNREFUSED, -EHOSTUNREACH, -ECONNRESET, -ETIMEDOUT, -EACCES for a certificate that is not
 * trusted or was refused, -EMSGSIZE, -ECANCELED, -EPROTO, -EINVAL for a request that can't be sent,
 * -EIO …
 */
int http_client_call(struct http_client *client, const struct http_request *request,
		     struct http_response *response, struct err *err);

/**
 * http_client_json(client, method, path, body, reply, err):
 * One JSON exchange; a status outside 200–299 is the error that http_response_check makes of it.
 * GET, HEAD, PUT and DELETE are repeatable (RFC 9110, 9.2.2), other methods are sent once.
 *
 * body   borrowed, NULL: none
 * reply  out, a new reference, NULL when there was no content; may be NULL: not wanted
 */
int http_client_json(struct http_client *client, const char *method, const char *path,
		     const json_t *body, json_t **reply, struct err *err);

/* Body bytes sent and received since the client was made, those of failed tries included. */
void http_client_bytes(const struct http_client *client, uint64_t *sent, uint64_t *received);

#endif
