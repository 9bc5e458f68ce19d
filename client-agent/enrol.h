/* enrol.h - how an endpoint joins: a one-time token becomes a certificate of its own.
 *
 * The token is gw1-SECRET-FINGERPRINT. The fingerprint of the server's CA tells the agent that it talks to the right
 * server before anything is sent; the secret tells the server that somebody let this endpoint in. The private key never
 * leaves the endpoint. Source: docs/protocol.md, "Enrolment".
 */
#ifndef GODWIT_CLIENT_AGENT_ENROL_H
#define GODWIT_CLIENT_AGENT_ENROL_H

#include "common/err.h"
#include "common/pki.h"

enum { ENROL_SECRET_MAX = 128 };

struct enrol_token {
	char secret[ENROL_SECRET_MAX + 1];
	char fingerprint[PKI_FINGERPRINT_LEN];
};
/* Return 0, or -EINVAL saying what a token looks like. */
int enrol_token_parse(const char *text, struct enrol_token *out, struct err *err);

struct enrol_order {
	const char *state_dir; /* made when it is not there */
	const char *server;    /* https://host:port of the UI/API listener */
	const char *token;
	const char *name; /* of the endpoint */
};
/**
 * enrol_run(order, err):
 * Return 0; -EEXIST when this folder is enrolled already; -EACCES when the server refuses the token or is not the one the
 * token names; -EINVAL for a malformed argument; or -errno.
 */
int enrol_run(const struct enrol_order *order, struct err *err);

#endif
