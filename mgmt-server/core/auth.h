/* auth.h - who is asking: passwords, sign-ins, cookies, client certificates.
 *
 * A sign-in's token is 32 random bytes; the catalogue keeps their SHA-256. With the cookie, every method but GET also
 * needs the header X-Godwit-Request: no other site can make a browser send that. Passwords are scrypt(N=2^15, r=8,
 * p=3: 32 MiB, one at a time). Wrong ones are slowed down per address: from the fourth on each costs a growing pause
 * in which the address is refused (429), so trying in parallel gains nothing. Source: RFC 7914, OWASP's figures.
 */
#ifndef GODWIT_MGMT_SERVER_AUTH_H
#define GODWIT_MGMT_SERVER_AUTH_H

#include "mgmt-server/core/server.h"

struct auth;

int auth_new(struct auth **out, struct server *server, struct err *err);
void auth_free(struct auth *auth);
DEFINE_CLEANUP(struct auth *, auth_free);

/* At first start: the user admin; its password goes to STATE/admin-password. */
int auth_first_user(struct server *s, struct err *err);

/* text: char[256], "scrypt$15$8$3$SALT$HASH" */
int auth_password_hash(const char *password, char text[256], struct err *err);
/* Return 0, -EACCES when it does not fit, -errno. */
int auth_password_check(const char *password, const char *text, struct err *err);

/* SHA-256 as hex, of a secret or a request. */
void auth_digest(const void *data, size_t len, char hex[CATALOGUE_HASH_LEN]);

/* http_admit of the two listeners. */
int auth_admit_person(struct http_request *request, const struct http_route *route);
int auth_admit_endpoint(struct http_request *request, const struct http_route *route);

void auth_login(struct http_request *request);
void auth_logout(struct http_request *request);
void auth_session(struct http_request *request);

#endif
