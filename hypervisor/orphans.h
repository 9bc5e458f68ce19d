/* orphans.h - disks that were put aside because their epoch is over: STATE/orphans/DESKTOP-epochN-I, each with the
 * desktop.json it had. They stay until whoever saved them as a branch says so.
 */
#ifndef GODWIT_HYPERVISOR_ORPHANS_H
#define GODWIT_HYPERVISOR_ORPHANS_H

#include "common/err.h"
#include "common/json.h"

/* An array as docs/protocol.md, op `orphans`, describes; folders that cannot be read are left out and logged. */
int orphans_list(const char *state, json_t **out, struct err *err);

/* Delete the orphan in @folder, one of those listed. Return 0; -ENOENT when there is none; or -errno. */
int orphans_delete(const char *state, const char *folder, struct err *err);

#endif
