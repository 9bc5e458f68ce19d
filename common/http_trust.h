/* http_trust.h - the TLS side of http_client: whom a connection trusts, and why a handshake failed.
 *
 * Before enrolment an agent knows only the SHA-256 of the server's CA certificate. The server sends
 * that certificate in its chain; when its hash is right it becomes the one trust anchor, and
 * everything else (signatures, validity, host name) is checked as always. Source:
 * SSL_CTX_set_cert_verify_callback(3), SSL_CTX_set_info_callback(3); RFC 8446, 6.2 (alerts).
 */
#ifndef GODWIT_COMMON_HTTP_TRUST_H
#define GODWIT_COMMON_HTTP_TRUST_H

#include <stdbool.h>
#include <stdint.h>

#include <curl/curl.h>

enum { HTTP_TRUST_DIGEST_LEN = 32 };

/* One per connection slot; it must stay where it is while the slot's connections live. */
struct http_trust {
	const uint8_t *ca_digest; /* uint8_t[HTTP_TRUST_DIGEST_LEN]; NULL: libcurl's own check
				     against ca_pem */
	bool wrong_ca;            /* out: no certificate of the chain had that digest */
	int alert;                /* out: the TLS alert that the server sent, 0: none */
};

/* Is libcurl built with the OpenSSL that we are linked with? */
bool http_trust_supported(void);

/* CURLOPT_SSL_CTX_FUNCTION; its data is the struct http_trust. */
CURLcode http_trust_setup(void *curl, void *ssl_ctx, void *trust);

/* What to tell when the server's alert means "I do not accept your certificate"; NULL when it means
 * something else. */
const char *http_trust_refusal(const struct http_trust *trust);

#endif
