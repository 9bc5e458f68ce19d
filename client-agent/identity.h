/* identity.h - who this endpoint is: its key, its certificate, the CA it trusts and the server it belongs to.
 *
 * STATE/key.pem (0600), cert.pem, ca.pem, agent.json {"name", "url"}. agent.json is written last: a folder without it is
 * not enrolled, whatever else lies there. Crash rule: each file is replaced as a whole.
 */
#ifndef GODWIT_CLIENT_AGENT_IDENTITY_H
#define GODWIT_CLIENT_AGENT_IDENTITY_H

#include <stdint.h>

#include "common/base.h"
#include "common/err.h"
#include "common/http_client.h"

struct identity {
	char *name, *url; /* url: of the agents' listener */
	char *key_pem, *cert_pem, *ca_pem;
};

/* Return 0; -ENOENT with "… is not enrolled"; or -errno. *out is to be deinit'ed in every case. */
int identity_load(struct identity *out, const char *state_dir, struct err *err);
int identity_save(const struct identity *identity, const char *state_dir, struct err *err);
void identity_deinit(struct identity *identity);

/* A client for the server's agents' listener that presents our certificate. stall_timeout_ms: 0 for the preset. */
int identity_http(const struct identity *identity, uint64_t stall_timeout_ms,
		  struct http_client **out, struct err *err);

#endif
