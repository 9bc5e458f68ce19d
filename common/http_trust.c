#include "common/http_trust.h"

#include <string.h>

#include <curl/curl.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

#include "common/base.h"

static const struct {
	int alert;
	const char *text;
} refusals[] = {
	{ SSL_AD_HANDSHAKE_FAILURE, "the server refused the handshake (no client certificate?)" },
	{ SSL_AD_BAD_CERTIFICATE, "the server refused our certificate" },
	{ SSL_AD_UNSUPPORTED_CERTIFICATE, "the server refused our certificate: not for clients" },
	{ SSL_AD_CERTIFICATE_REVOKED, "the server refused our certificate: it is revoked" },
	{ SSL_AD_CERTIFICATE_EXPIRED, "the server refused our certificate: it has expired" },
	{ SSL_AD_CERTIFICATE_UNKNOWN, "the server refused our certificate" },
	{ SSL_AD_UNKNOWN_CA, "the server refused our certificate: another CA issued it" },
	{ SSL_AD_ACCESS_DENIED, "the server refused our certificate: access denied" },
	{ SSL_AD_CERTIFICATE_REQUIRED, "the server wants a client certificate and got none" },
};

bool http_trust_supported(void)
{
	const char *library = curl_version_info(CURLVERSION_NOW)->ssl_version;

	return library && strncmp(library, "OpenSSL/3", strlen("OpenSSL/3")) == 0;
}

static X509 *find_by_digest(STACK_OF(X509) * chain, const uint8_t *want)
{
	for (int i = 0; i < sk_X509_num(chain); i++) {
		X509 *cert = sk_X509_value(chain, i);
		uint8_t digest[EVP_MAX_MD_SIZE];
		unsigned len;

		if (X509_check_ca(cert) > 0 && X509_digest(cert, EVP_sha256(), digest, &len) &&
		    len == HTTP_TRUST_DIGEST_LEN && memcmp(digest, want, len) == 0)
			return cert;
	}
	return NULL;
}

static int verify_pinned(X509_STORE_CTX *context, void *arg)
{
	struct http_trust *trust = arg;
	X509 *ca = find_by_digest(X509_STORE_CTX_get0_untrusted(context), trust->ca_digest);
	STACK_OF(X509) * anchors;
	int ok;

	if (!ca) {
		trust->wrong_ca = true;
		X509_STORE_CTX_set_error(context, X509_V_ERR_CERT_UNTRUSTED);
		return 0;
	}
	anchors = sk_X509_new_null();
	if (!anchors || !sk_X509_push(anchors, ca)) {
		sk_X509_free(anchors);
		X509_STORE_CTX_set_error(context, X509_V_ERR_OUT_OF_MEM);
		return 0;
	}
	X509_STORE_CTX_set0_trusted_stack(context, anchors);
	ok = X509_verify_cert(context);
	X509_STORE_CTX_set0_trusted_stack(context, NULL);
	sk_X509_free(anchors);
	return ok > 0;
}

/* libcurl's texts differ from release to release; the alert's number does not. */
static void note_alert(const SSL *ssl, int where, int value)
{
	struct http_trust *trust = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));

	if (trust && where == SSL_CB_READ_ALERT && (value & 0xff) != SSL_AD_CLOSE_NOTIFY)
		trust->alert = value & 0xff;
}

CURLcode http_trust_setup(void *curl, void *ssl_ctx, void *data)
{
	struct http_trust *trust = data;
	SSL_CTX *context = ssl_ctx;

	(void)curl;
	SSL_CTX_set_app_data(context, trust);
	SSL_CTX_set_info_callback(context, note_alert);
	if (trust->ca_digest)
		SSL_CTX_set_cert_verify_callback(context, verify_pinned, trust);
	return CURLE_OK;
}

const char *http_trust_refusal(const struct http_trust *trust)
{
	for (size_t i = 0; i < ARRAY_LEN(refusals); i++) {
		if (refusals[i].alert == trust->alert)
			return refusals[i].text;
	}
	return NULL;
}
