/* catalogue_hunts.h - searches over the whole fleet: hunts for contents, and scans with other signatures. */
#ifndef GODWIT_MGMT_SERVER_CATALOGUE_HUNTS_H
#define GODWIT_MGMT_SERVER_CATALOGUE_HUNTS_H

#include "mgmt-server/catalogue/catalogue_access.h"

struct catalogue_hunt {
	char id[CATALOGUE_ID_LEN];
	uint64_t seq;   /* order of creation */
	char kind[12];  /* hash, rule, rescan */
	char state[12]; /* queued, running, done, failed, cancelled */
	char user[CATALOGUE_NAME_LEN];
	const char *what; /* the hashes, one a line, or the rule; "" for a rescan; borrowed */
	const char *message, *error;               /* borrowed; error "": none */
	const char *result;                        /* JSON object; "": none yet; borrowed */
	uint64_t created_ms, started_ms, ended_ms; /* wall; 0: not yet */
};

typedef int catalogue_hunt_fn(void *arg, const struct catalogue_hunt *hunt, struct err *err);

/* seq is chosen. Of the ended ones the newest CATALOGUE_HUNTS_KEPT stay. Return 0 or -errno. */
enum { CATALOGUE_HUNTS_KEPT = 200 };
int catalogue_hunt_add(struct db_conn *c, struct catalogue_hunt *hunt, struct err *err);
/* Write state, message, error, result, started and ended. Return 0 or -errno. */
int catalogue_hunt_put(struct db_conn *c, const struct catalogue_hunt *hunt, struct err *err);
/* Return 0, CATALOGUE_NONE, -errno. */
int catalogue_hunt_get(struct db_conn *c, const char *id, catalogue_hunt_fn *fn, void *arg,
		       struct err *err);
/* The oldest that waits, or was under way when a server ended. Return 0, CATALOGUE_NONE, -errno. */
int catalogue_hunt_next(struct db_conn *c, catalogue_hunt_fn *fn, void *arg, struct err *err);
/* Newest first, below @before (0: all), without what and result. Return 0 or -errno. */
int catalogue_hunt_each(struct db_conn *c, uint64_t before, catalogue_hunt_fn *fn, void *arg,
			struct err *err);

#endif
