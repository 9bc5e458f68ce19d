/* change.h - one change of the fleet: catalogue and memory together, or neither.
 *
 * A change holds the fleet's lock and the catalogue's transaction. Leases that it moves are put back when it is
 * aborted or cannot be committed (full disk); watchers hear of it, and parked polls are answered, after the commit.
 */
#ifndef GODWIT_MGMT_SERVER_CHANGE_H
#define GODWIT_MGMT_SERVER_CHANGE_H

#include "mgmt-server/core/fleet.h"
#include "mgmt-server/core/server.h"

struct change {
	struct server *server;
	struct db_conn *db;
	struct change_undo *undo; /* newest first */
	struct change_topic *topics;
	bool held; /* the fleet's lock and @db are ours */
};

enum change_kind {
	CHANGE_ENDPOINT,
	CHANGE_DESKTOP,
	CHANGE_SNAPSHOT,
	CHANGE_JOB,
	CHANGE_NOTICE,
	CHANGE_WORK, /* not published: what it does is said at change_touch() */
	CHANGE_PIN,
};

/* @change is the caller's, on his stack; CLEANUP_CHANGE aborts it unless it was committed. */
int change_begin(struct change *change, struct server *server, struct err *err);
/* Durable on 0; on failure everything is as before. */
int change_commit(struct change *change, struct err *err);
void change_abort(struct change *change);
#define CLEANUP_CHANGE __attribute__((cleanup(change_abort)))

/* After the commit: publish that object; CHANGE_WORK: @name is an endpoint that has new work. CHANGE_PIN:
 * after the commit, and after an abort too, the store pins what the catalogue pins. */
void change_touch(struct change *change, enum change_kind kind, const char *name);

/* Remember how @d was, before it is modified. Return 0 or -ENOMEM. */
int change_keep(struct change *change, struct fleet_desktop *d, struct err *err);

/* An entry in the audit trail, part of the same transaction. */
int change_audit(struct change *change, const char *actor, const char *address, const char *action,
		 const char *object, const char *detail, struct err *err);

#endif
