/* catalogue_notices.h - what people must hear of: one row each, read or not, and how its mail fares. */
#ifndef GODWIT_MGMT_SERVER_CATALOGUE_NOTICES_H
#define GODWIT_MGMT_SERVER_CATALOGUE_NOTICES_H

#include "mgmt-server/catalogue/catalogue_access.h"

struct catalogue_notice {
	uint64_t seq, at_ms, read_ms;         /* read_ms 0: nobody read it yet */
	const char *severity;                 /* info, warning, alarm; texts are borrowed */
	const char *kind;                     /* infected … */
	const char *desktop, *snapshot, *job; /* "": none */
	const char *text;                     /* one line for people */
	const char *details;                  /* JSON object */
	const char *reader;                   /* who read it */
	const char *mail;                     /* none, queued, sent, failed */
	const char *mail_error;               /* of the last try */
	uint64_t mail_tries;
};

/* seq is chosen. Return 0 or -errno. */
int catalogue_notice_add(struct db_conn *c, struct catalogue_notice *notice, struct err *err);

struct catalogue_notice_filter {
	uint64_t before; /* seq < before */
	bool unread;
	const char *desktop; /* NULL: all */
};
typedef int catalogue_notice_fn(void *arg, const struct catalogue_notice *notice, struct err *err);
/* Newest first. */
int catalogue_notice_each(struct db_conn *c, const struct catalogue_notice_filter *filter,
			  catalogue_notice_fn *fn, void *arg, struct err *err);
/* Return 0, CATALOGUE_NONE, -errno. */
int catalogue_notice_get(struct db_conn *c, uint64_t seq, catalogue_notice_fn *fn, void *arg,
			 struct err *err);
/* Return how many were unread, -errno. */
int catalogue_notice_read(struct db_conn *c, uint64_t seq, const char *user, uint64_t now_ms,
			  struct err *err);
/* All up to that one. */
int catalogue_notice_read_all(struct db_conn *c, uint64_t seq, const char *user, uint64_t now_ms,
			      struct err *err);
int catalogue_notice_unread(struct db_conn *c, uint64_t *count, struct err *err);

/* The oldest whose mail is due. Return 0, CATALOGUE_NONE, -errno. */
int catalogue_notice_mail_due(struct db_conn *c, uint64_t now_ms, catalogue_notice_fn *fn,
			      void *arg, struct err *err);
int catalogue_notice_mailed(struct db_conn *c, uint64_t seq, const char *mail, uint64_t tries,
			    uint64_t due_ms, const char *error, struct err *err);

#endif
