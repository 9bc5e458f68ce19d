/* catalogue_desktops.h - desktops, who may run them (leases, grants), and their snapshots. */
#ifndef GODWIT_MGMT_SERVER_CATALOGUE_DESKTOPS_H
#define GODWIT_MGMT_SERVER_CATALOGUE_DESKTOPS_H

#include "mgmt-server/catalogue/catalogue_access.h"

struct catalogue_desktop {
	char name[CATALOGUE_NAME_LEN];
	char rest[16];  /* state while nobody holds the lease: empty, stopped, suspended, error */
	char note[512]; /* why error */
	char machine[1024];              /* JSON */
	char domain[CATALOGUE_NAME_LEN]; /* whose chunks it shares; never changes */
	uint64_t created_ms;
	uint64_t quarantined_ms; /* since when; 0: it is not */
};

int catalogue_desktop_add(struct db_conn *c, const struct catalogue_desktop *d, struct err *err);
int catalogue_desktop_get(struct db_conn *c, const char *name, struct catalogue_desktop *out,
			  struct err *err);
int catalogue_desktop_rest(struct db_conn *c, const char *name, const char *rest, const char *note,
			   struct err *err);
/* since_ms 0: the quarantine is over. */
int catalogue_desktop_quarantine(struct db_conn *c, const char *name, uint64_t since_ms,
				 struct err *err);
int catalogue_desktop_machine(struct db_conn *c, const char *name, const char *machine,
			      struct err *err);
/* How many desktops are in that domain. */
int catalogue_desktop_domain_count(struct db_conn *c, const char *domain, uint64_t *count,
				   struct err *err);
/* Whom notices about it are mailed to; "": nobody. Return 0, CATALOGUE_NONE, -errno. */
int catalogue_desktop_set_owner(struct db_conn *c, const char *name, const char *owner,
				struct err *err);
int catalogue_desktop_owner(struct db_conn *c, const char *name, char *owner, size_t size,
			    struct err *err);
typedef int catalogue_desktop_fn(void *arg, const struct catalogue_desktop *d, struct err *err);
int catalogue_desktop_each(struct db_conn *c, const char *after, catalogue_desktop_fn *fn,
			   void *arg, struct err *err);

struct catalogue_lease {
	char desktop[CATALOGUE_NAME_LEN];
	char policy[16], state[16];
	char holder[CATALOGUE_NAME_LEN];
	uint64_t epoch;
	uint64_t floor;  /* the next grant's epoch is above it */
	uint64_t ttl_ms; /* the longest that was promised; 0: not known */
};
int catalogue_lease_put(struct db_conn *c, const struct catalogue_lease *lease, struct err *err);
/* From now on renewals promise @ttl_ms: no lease is stored with less. */
int catalogue_lease_promise(struct db_conn *c, uint64_t ttl_ms, struct err *err);
typedef int catalogue_lease_fn(void *arg, const struct catalogue_lease *lease, struct err *err);
int catalogue_lease_each(struct db_conn *c, catalogue_lease_fn *fn, void *arg, struct err *err);

int catalogue_grant_add(struct db_conn *c, const char *desktop, uint64_t epoch,
			const char *endpoint, uint64_t now_ms, struct err *err);
/* Was @endpoint ever given that epoch? Return 0, CATALOGUE_NONE, -errno. */
int catalogue_grant_check(struct db_conn *c, const char *desktop, uint64_t epoch,
			  const char *endpoint, struct err *err);

struct catalogue_snapshot {
	char id[CATALOGUE_ID_LEN], parent[CATALOGUE_ID_LEN];
	char desktop[CATALOGUE_NAME_LEN];
	uint64_t seq, created_ms, epoch;
	char kind[8];
	bool branch, memory;
	int64_t read_bytes, new_bytes, stored_bytes; /* -1: not known */
	double pause_ms;                             /* < 0: not known */
	char verdict[12]; /* of its last scan; none, clean, infected, incomplete */
	char *volumes;    /* JSON; borrowed, valid during a callback */
};

/* Return 0, -EEXIST when it is known, -errno. seq is chosen. */
int catalogue_snapshot_add(struct db_conn *c, const struct catalogue_snapshot *s, struct err *err);
int catalogue_snapshot_figures(struct db_conn *c, const struct catalogue_snapshot *s,
			       struct err *err);
typedef int catalogue_snapshot_fn(void *arg, const struct catalogue_snapshot *s, struct err *err);
/* Newest first, seq < before. desktop NULL: of all. */
int catalogue_snapshot_each(struct db_conn *c, const char *desktop, uint64_t before,
			    catalogue_snapshot_fn *fn, void *arg, struct err *err);
/* id NULL: the newest good one, that is one on the main line. Return 0, CATALOGUE_NONE, -errno. */
int catalogue_snapshot_get(struct db_conn *c, const char *desktop, const char *id,
			   catalogue_snapshot_fn *fn, void *arg, struct err *err);
/* The id of the newest good one into char[CATALOGUE_ID_LEN]; "": none. */
int catalogue_snapshot_latest(struct db_conn *c, const char *desktop, char *id, struct err *err);

#endif
