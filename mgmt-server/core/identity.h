/* identity.h - the server's own keys: its CA, which endpoints trust, and the certificate of its listeners.
 *
 * STATE/ca.key, ca.pem, server.key, server.pem. The CA is made once; the certificate is made anew when it is near its
 * end or when the configured names changed. Listeners send it with the CA behind it, so that an endpoint that knows
 * only the CA's fingerprint can recognise both at first contact.
 */
#ifndef GODWIT_MGMT_SERVER_IDENTITY_H
#define GODWIT_MGMT_SERVER_IDENTITY_H

#include "mgmt-server/core/server.h"

/* Fills ca_pem, ca_key_pem, cert_pem, key_pem, ca_fingerprint. Return 0 or -errno. */
int identity_load(struct server *s, struct err *err);

#endif
