/* fill.h - pulling the rest of a desktop's disks to this host, in the background.
 *
 * One block-stream job per disk, node diskN; when it has ended, the overlay stands alone and the NBD backing goes. A job
 * that fails to read waits (on-error=stop) and is sent on every second until the server is back.
 */
#ifndef GODWIT_HYPERVISOR_FILL_H
#define GODWIT_HYPERVISOR_FILL_H

#include "hypervisor/desktop.h"

/* From now on fill, also after a restart. Return 0 or -errno. */
int fill_start(struct desktop *desktop, struct err *err);

/* One look at the jobs: start, resume, report, finish. Called by the watch thread about once a second. */
void fill_tick(struct desktop *desktop);

#endif
