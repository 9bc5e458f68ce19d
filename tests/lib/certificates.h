/* certificates.h - a CA, a foreign CA of the same name, and certificates of both, for tests that speak TLS. */
#ifndef GODWIT_TESTS_CERTIFICATES_H
#define GODWIT_TESTS_CERTIFICATES_H

#include <stdbool.h>

#include "common/pki.h"

/* All PEM, heap. The certificates belong to one key and are for 127.0.0.1. */
struct certificates {
	char *ca_key, *ca, *foreign_key, *foreign;
	char *key, *request;
	char *server, *chain;          /* a server's certificate; the same and the CA behind it */
	char *client, *foreign_client; /* of endpoint "laptop" */
	char fingerprint[PKI_FINGERPRINT_LEN]; /* the CA's */
};

/* Abort on failure: a test without them proves nothing. */
void certificates_init(struct certificates *c);
void certificates_deinit(struct certificates *c);

/* One more, by the CA or the foreign one. */
char *certificates_issue(const struct certificates *c, bool by_foreign, const char *name,
			 const char *role);
/* The server's certificate as it will be when its time is over, and the CA behind it. */
char *certificates_expired_chain(const struct certificates *c);

#endif
