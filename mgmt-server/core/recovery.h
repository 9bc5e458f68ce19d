/* recovery.h - copies of the catalogue and the server's keys in the store, and how a server comes back from them.
 *
 * A copy is a snapshot of the reserved desktop "godwit-server" in a domain of that name: encrypted, checked, collected
 * and mirrored as all others, and no endpoint can reach it. So whoever has the store, or a mirror of it, and its key file
 * has everything: a server that starts with an empty state folder beside them is the same server. What happened after the
 * newest copy comes from the snapshots' manifests; epochs that may have been given out meanwhile are never given again.
 */
#ifndef GODWIT_MGMT_SERVER_RECOVERY_H
#define GODWIT_MGMT_SERVER_RECOVERY_H

#include "mgmt-server/core/server.h"

#define RECOVERY_NAME "godwit-server"

/* Write a copy of this moment; all but the newest few are forgotten. */
int recovery_save(struct server *s, struct err *err);

/* Before the keys are loaded: a state folder that has neither keys nor a catalogue gets those of the newest copy. */
int recovery_keys(struct server *s, struct err *err);

/**
 * recovery_open(s, err):
 * Open the catalogue. One that is missing or damaged is replaced by the newest copy, and where there is none by an empty
 * one; the damaged one is kept beside it. s->recovered then says what happened.
 */
int recovery_open(struct server *s, struct err *err);

/* After the store's snapshots were adopted: tell people. */
int recovery_tell(struct server *s, struct err *err);

#endif
