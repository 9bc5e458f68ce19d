/* verdicts.h - what follows from a scan's verdict: holds, the pin of the last clean snapshot, notices.
 *
 * Whoever finds a verdict (a scan's job, a rescan with new signatures) calls verdicts_apply in the change that writes
 * it. Infected: the snapshot is held and an alarm is raised, once. A hold goes only with a verdict `clean`: a later
 * `incomplete` takes nothing back. While a desktop has a held snapshot, its newest clean one on the main line is pinned.
 */
#ifndef GODWIT_MGMT_SERVER_VERDICTS_H
#define GODWIT_MGMT_SERVER_VERDICTS_H

#include "mgmt-server/catalogue/catalogue_scans.h"
#include "mgmt-server/core/change.h"

#define VERDICTS_SOURCE "scan" /* of its marks */

/* After catalogue_scan_put of @scan. Return 0 or -errno. */
int verdicts_apply(struct change *change, const struct catalogue_scan *scan, struct err *err);

#endif
