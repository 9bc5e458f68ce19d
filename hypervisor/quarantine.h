/* quarantine.h - a desktop's network cable: pulled, and put back.
 *
 * What is wanted is in the desktop's record before QEMU hears of it, so that a restarted hypervisor goes on with it. QEMU is
 * told by the watch thread whenever it may have something else: after a request, after this hypervisor took hold of it,
 * and after a memory stream was loaded, which brings the card's link as it was when the stream was taken. The order is
 * about the far end of the cable, which no stream changes: a quarantined desktop whose memory arrives sends nothing
 * from its first instruction on, even before its own side shows that the cable is out.
 * Source: docs/protocol.md section 1; QEMU's set_link (net/net.c: a packet from or to an end that is down is dropped).
 */
#ifndef GODWIT_HYPERVISOR_QUARANTINE_H
#define GODWIT_HYPERVISOR_QUARANTINE_H

#include "hypervisor/desktop.h"

/* Before the guest's first instruction, as the record says. Return 0 or -errno. */
int quarantine_begin(struct desktop *desktop, struct err *err);

/* Durable when it returns 0; QEMU follows at once, or when a capture's instant is over. -ESTALE: another epoch is here. */
int quarantine_set(struct desktop *desktop, uint64_t epoch, bool on, struct err *err);

/* The watch thread: tell QEMU what is due. */
void quarantine_obey(struct desktop *desktop);

#endif
