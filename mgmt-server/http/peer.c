/* peer.c - see peer.h. */
#include "mgmt-server/http/peer.h"

#include <errno.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <string.h>

static int peer_pem(gnutls_session_t session, char **pem, struct err *err)
{
	const gnutls_datum_t *chain;
	gnutls_datum_t text;
	unsigned count = 0;
	int r;

	chain = gnutls_certificate_get_peers(session, &count);
	if (!chain || count == 0)
		return err_say(
			err, EACCES,
			"this listener needs a client certificate: enrol the endpoint first");
	r = gnutls_pem_base64_encode2("CERTIFICATE", &chain[0], &text);
	if (r < 0)
		return err_say(err, EIO, "client certificate: %s", gnutls_strerror(r));
	*pem = strndup((const char *)text.data, text.size);
	gnutls_free(text.data);
	return *pem ? 0 : err_set(err, ENOMEM, "client certificate");
}

int peer_verify(void *tls_session, char **pem, struct err *err)
{
	gnutls_session_t session = tls_session;
	gnutls_datum_t text;
	unsigned status = 0;
	int r;

	r = peer_pem(session, pem, err);
	if (r < 0)
		return r;
	r = gnutls_certificate_verify_peers2(session, &status);
	if (r < 0)
		return err_say(err, EACCES, "client certificate: %s", gnutls_strerror(r));
	if (status == 0)
		return 0;
	r = err_say(err, EACCES, "client certificate is not trusted");
	if (gnutls_certificate_verification_status_print(status, GNUTLS_CRT_X509, &text, 0) == 0) {
		r = err_say(err, EACCES, "client certificate: %.*s", (int)text.size,
			    (const char *)text.data);
		gnutls_free(text.data);
	}
	return r;
}
