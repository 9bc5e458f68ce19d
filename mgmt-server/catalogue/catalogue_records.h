/* catalogue_records.h - uploads under way, the audit trail, and answers kept for repeated requests. */
#ifndef GODWIT_MGMT_SERVER_CATALOGUE_RECORDS_H
#define GODWIT_MGMT_SERVER_CATALOGUE_RECORDS_H

#include "mgmt-server/catalogue/catalogue_access.h"

struct catalogue_upload {
	char id[CATALOGUE_ID_LEN];
	char desktop[CATALOGUE_NAME_LEN];
	uint64_t epoch;
	char caller[CATALOGUE_NAME_LEN + 16]; /* "endpoint/NAME" or "user/NAME" */
	char job[CATALOGUE_ID_LEN];           /* "": none */
	uint64_t used_ms;
	char planned[CATALOGUE_ID_LEN]; /* "": no commit was tried yet */
	bool committed;
	char domain[CATALOGUE_NAME_LEN]; /* of the desktop; read only */
};
int catalogue_upload_add(struct db_conn *c, const struct catalogue_upload *u, struct err *err);
int catalogue_upload_get(struct db_conn *c, const char *id, struct catalogue_upload *out,
			 struct err *err);
int catalogue_upload_plan(struct db_conn *c, const char *id, const char *snapshot, struct err *err);
int catalogue_upload_committed(struct db_conn *c, const char *snapshot, struct err *err);
int catalogue_upload_touch(struct db_conn *c, const char *id, uint64_t now_ms, struct err *err);
int catalogue_upload_end(struct db_conn *c, const char *id, struct err *err);
/* Forget those that were not used since @before_ms. Return how many, or -errno. */
int catalogue_upload_purge(struct db_conn *c, uint64_t before_ms, struct err *err);
/* The newest open upload of a job into char[CATALOGUE_ID_LEN]; "": none. */
int catalogue_upload_of_job(struct db_conn *c, const char *job, char *id, struct err *err);
/* Has that caller an open upload of @desktop? Return 0 with *epoch, the newest of them, CATALOGUE_NONE, or -errno. */
int catalogue_upload_open_of(struct db_conn *c, const char *desktop, const char *caller,
			     uint64_t *epoch, struct err *err);

struct catalogue_audit {
	uint64_t seq, at_ms;
	const char *actor, *address, *action, *object, *detail; /* borrowed */
	char hash
		[CATALOGUE_HASH_LEN]; /* SHA-256 over the previous hash and this entry: none can be taken out unseen */
};
int catalogue_audit_add(struct db_conn *c, struct catalogue_audit *entry, struct err *err);
typedef int catalogue_audit_fn(void *arg, const struct catalogue_audit *entry, struct err *err);
/* Newest first, seq < before. */
int catalogue_audit_each(struct db_conn *c, uint64_t before, catalogue_audit_fn *fn, void *arg,
			 struct err *err);
/* Recompute the chain. Return 0, or -EBADMSG naming the first entry that does not fit. */
int catalogue_audit_check(struct db_conn *c, struct err *err);

struct catalogue_answer {
	char request_hash[CATALOGUE_HASH_LEN];
	uint64_t status;
	char *body; /* heap, the caller's */
};
int catalogue_answer_get(struct db_conn *c, const char *actor, const char *key,
			 struct catalogue_answer *out, struct err *err);
int catalogue_answer_add(struct db_conn *c, const char *actor, const char *key,
			 const struct catalogue_answer *answer, uint64_t now_ms, struct err *err);
int catalogue_answer_purge(struct db_conn *c, uint64_t before_ms, struct err *err);

#endif
