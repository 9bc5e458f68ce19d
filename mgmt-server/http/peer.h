/* peer.h - the certificate of a TLS client. A self-signed one passes the handshake: what GnuTLS found out about it must
 * be asked for. Source: GnuTLS 3.7 manual, "Certificate credentials".
 */
#ifndef GODWIT_MGMT_SERVER_PEER_H
#define GODWIT_MGMT_SERVER_PEER_H

#include "common/err.h"

/**
 * peer_verify(tls_session, pem, err):
 * tls_session  gnutls_session_t
 * pem          out, heap, the caller's; also set for a certificate that is not trusted
 *
 * Return 0, -EACCES with the reason, or -errno.
 */
int peer_verify(void *tls_session, char **pem, struct err *err);

#endif
