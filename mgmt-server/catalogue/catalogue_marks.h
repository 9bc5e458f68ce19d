/* catalogue_marks.h - pins and holds: why a snapshot must stay, and why it must not be chosen.
 *
 * A mark is (snapshot, kind, source); several sources can pin the same snapshot, and each takes back only its own.
 */
#ifndef GODWIT_MGMT_SERVER_CATALOGUE_MARKS_H
#define GODWIT_MGMT_SERVER_CATALOGUE_MARKS_H

#include "mgmt-server/catalogue/catalogue_access.h"

struct catalogue_mark {
	char snapshot[CATALOGUE_ID_LEN];
	char kind[8];    /* pin, hold */
	char source[24]; /* who wants it: person, scan … */
	char user[CATALOGUE_NAME_LEN];
	char why[256];
	uint64_t created_ms;
};

/* A mark of the same source is replaced. Return 0, -errno. */
int catalogue_mark_put(struct db_conn *c, const struct catalogue_mark *mark, struct err *err);
/* Return how many went (0 or 1), -errno. */
int catalogue_mark_drop(struct db_conn *c, const char *snapshot, const char *kind,
			const char *source, struct err *err);

typedef int catalogue_mark_fn(void *arg, const struct catalogue_mark *mark, struct err *err);
/* The marks of a snapshot, oldest first. Return 0 or -errno. */
int catalogue_mark_each(struct db_conn *c, const char *snapshot, catalogue_mark_fn *fn, void *arg,
			struct err *err);
/* All marks of a kind and source on snapshots of a desktop. */
int catalogue_mark_each_of(struct db_conn *c, const char *desktop, const char *kind,
			   const char *source, catalogue_mark_fn *fn, void *arg, struct err *err);
int catalogue_mark_count(struct db_conn *c, const char *snapshot, const char *kind, uint64_t *count,
			 struct err *err);

#endif
