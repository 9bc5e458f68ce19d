/* upkeep.h - what the server does for its store and its catalogue by itself: check, collect, mirror, copy.
 *
 * Each task has a thread of its own, a period ([store] in the settings) and a record of its last run that survives a
 * restart (STATE/upkeep.json). A run that a stop cut short begins again at the next start; verify then goes on with the
 * packs whose last check is oldest. Damage is noted with the snapshots and desktops it hurts, and repaired from the
 * mirror when there is one.
 */
#ifndef GODWIT_MGMT_SERVER_UPKEEP_H
#define GODWIT_MGMT_SERVER_UPKEEP_H

#include "mgmt-server/core/server.h"

struct upkeep;

int upkeep_new(struct upkeep **out, struct server *server, struct err *err);
/* Ends what runs. */
void upkeep_free(struct upkeep *upkeep);

/* All tasks as the API shows them. */
json_t *upkeep_object(struct server *server);

/* Begin a task now. Return 0, -ENOENT: no such task, or it is switched off; -EBUSY: it runs. */
int upkeep_run(struct server *server, const char *task, struct err *err);

#endif
