/* failover.h - a desktop goes on elsewhere: which snapshot, which endpoint, and when its old place is certainly quiet. */
#ifndef GODWIT_MGMT_SERVER_FAILOVER_H
#define GODWIT_MGMT_SERVER_FAILOVER_H

#include "mgmt-server/core/jobs.h"

/* The steps of jobs_kinds.c. */
int failover_fence(struct change *change, struct catalogue_job *job, struct err *err);
int failover_place(struct change *change, struct catalogue_job *job, struct err *err);
int failover_run_failed(struct change *change, struct catalogue_job *job, struct err *err);

/* The lease of @d was lost: its other jobs fail, a failover begins. */
int failover_lost(struct change *change, struct fleet_desktop *d, struct err *err);
/* Its endpoint says that its QEMU is gone; the lease is free. Strict desktops go on by themselves. */
int failover_crashed(struct change *change, struct fleet_desktop *d, const char *endpoint,
		     struct err *err);
/* A person gives a silent endpoint up. endpoint: where to; NULL: anywhere. id: char[CATALOGUE_ID_LEN]. */
int failover_ordered(struct change *change, struct fleet_desktop *d, const char *endpoint,
		     const char *user, char *id, struct err *err);

#endif
