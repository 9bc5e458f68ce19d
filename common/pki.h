/* pki.h - the few X.509 operations that enrolment needs: a CA, requests, certificates, fingerprints.
 *
 * Keys are ECDSA P-256. Everything goes over the wire and into files as PEM. The certificate of an endpoint carries its
 * name as CN and the role "endpoint" as OU; only the CA decides both, whatever a request says. Certificates are valid from an
 * hour before they were made, because clocks differ.
 * Source: RFC 5280; OpenSSL 3.0 x509(7).
 */
#ifndef GODWIT_COMMON_PKI_H
#define GODWIT_COMMON_PKI_H

#include <stddef.h>
#include <stdint.h>

#include "common/base.h"
#include "common/err.h"

enum { PKI_FINGERPRINT_LEN = 65, PKI_NAME_MAX = 64 }; /* 64 hex digits and the end */

/* A fresh private key as PEM, heap. Return 0 or -errno. */
int pki_key_new(char **key_pem, struct err *err);

/* A self-signed CA certificate for @key_pem that is valid for @days. */
int pki_ca_new(const char *key_pem, const char *name, unsigned days, char **cert_pem,
	       struct err *err);

/* A certificate request for @key_pem. */
int pki_request_new(const char *key_pem, const char *name, char **request_pem, struct err *err);

struct pki_issue {
	const char *ca_key_pem, *ca_cert_pem;
	const char *request_pem;      /* its signature is checked: proof of possession */
	const char *name;             /* CN */
	const char *role;             /* OU: "server" (serverAuth) or "endpoint" (clientAuth) */
	const char *const *alt_names; /* NULL-terminated DNS names or IP addresses; NULL: none */
	unsigned days;                /* from 1 on; never beyond the CA's own end */
};
/* Issue a certificate. Return 0, -EINVAL for a request that is malformed or does not prove its key, or -errno. */
int pki_issue(const struct pki_issue *order, char **cert_pem, struct err *err);

struct pki_subject {
	char name[PKI_NAME_MAX + 1];
	char role[PKI_NAME_MAX + 1];
	char fingerprint[PKI_FINGERPRINT_LEN];
	uint64_t not_after_wall_ms;
};
/**
 * pki_verify(ca_cert_pem, cert_pem, role, out, err):
 * Is @cert_pem signed by that CA, valid now, and issued for @role?
 *
 * role  "server" or "endpoint"
 *
 * Return 0; -EACCES with a text that names the reason (no certificate, expired, foreign CA, other role); or -EINVAL when
 * @ca_cert_pem is none.
 */
int pki_verify(const char *ca_cert_pem, const char *cert_pem, const char *role,
	       struct pki_subject *out, struct err *err);

/* SHA-256 of the DER form, as hex. */
int pki_fingerprint(const char *cert_pem, char out[PKI_FINGERPRINT_LEN], struct err *err);

#endif
