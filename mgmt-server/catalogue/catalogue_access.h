/* catalogue_access.h - people, their sign-ins, enrolment tokens and endpoints: who may talk to this server.
 *
 * Secrets are kept as SHA-256 hex (`_hash`), passwords as auth.c's scrypt text.
 */
#ifndef GODWIT_MGMT_SERVER_CATALOGUE_ACCESS_H
#define GODWIT_MGMT_SERVER_CATALOGUE_ACCESS_H

#include "common/json.h"
#include "mgmt-server/catalogue/db.h"

enum { CATALOGUE_NONE = 1 }; /* outcome: no such row */
enum { CATALOGUE_NAME_LEN = 64, CATALOGUE_HASH_LEN = 65, CATALOGUE_ID_LEN = 40 };

struct catalogue_user {
	char name[CATALOGUE_NAME_LEN];
	char role[16];
	char password[256];
};

int catalogue_user_add(struct db_conn *c, const struct catalogue_user *user, uint64_t now_ms,
		       struct err *err);
int catalogue_user_get(struct db_conn *c, const char *name, struct catalogue_user *out,
		       struct err *err);
int catalogue_user_count(struct db_conn *c, uint64_t *count, struct err *err);

struct catalogue_sign_in {
	char user[CATALOGUE_NAME_LEN];
	char role[16];
	uint64_t expires_ms;
};
int catalogue_sign_in_add(struct db_conn *c, const char *token_hash, const char *user,
			  uint64_t now_ms, uint64_t expires_ms, struct err *err);
/* Return 0, CATALOGUE_NONE (unknown or expired at @now_ms), or -errno. */
int catalogue_sign_in_get(struct db_conn *c, const char *token_hash, uint64_t now_ms,
			  struct catalogue_sign_in *out, struct err *err);
int catalogue_sign_in_end(struct db_conn *c, const char *token_hash, struct err *err);
int catalogue_sign_in_purge(struct db_conn *c, uint64_t now_ms, struct err *err);

/* endpoint: the only name it enrols (again); NULL: any new name */
int catalogue_token_add(struct db_conn *c, const char *secret_hash, const char *endpoint,
			const char *user, uint64_t now_ms, uint64_t expires_ms, struct err *err);
enum { CATALOGUE_TOKEN_USED = 2, CATALOGUE_TOKEN_EXPIRED };
/**
 * catalogue_token_use(c, secret_hash, now_ms, endpoint, err):
 * endpoint  out, char[CATALOGUE_NAME_LEN]: the name it is bound to, "" for none
 *
 * Return 0 (it is used up now), CATALOGUE_NONE, CATALOGUE_TOKEN_USED, CATALOGUE_TOKEN_EXPIRED, or -errno.
 */
int catalogue_token_use(struct db_conn *c, const char *secret_hash, uint64_t now_ms, char *endpoint,
			struct err *err);

struct catalogue_endpoint {
	char name[CATALOGUE_NAME_LEN];
	char fingerprint[CATALOGUE_HASH_LEN];
	uint64_t enrolled_ms, last_seen_ms; /* 0: never */
	char facts[1024];                   /* JSON: the last heartbeat without its desktops */
};
int catalogue_endpoint_put(struct db_conn *c, const char *name, const char *fingerprint,
			   uint64_t now_ms, struct err *err);
int catalogue_endpoint_get(struct db_conn *c, const char *name, struct catalogue_endpoint *out,
			   struct err *err);
int catalogue_endpoint_seen(struct db_conn *c, const char *name, uint64_t now_ms, const char *facts,
			    struct err *err);
typedef int catalogue_endpoint_fn(void *arg, const struct catalogue_endpoint *e, struct err *err);
int catalogue_endpoint_each(struct db_conn *c, const char *after, catalogue_endpoint_fn *fn,
			    void *arg, struct err *err);

#endif
