/* spool.h - takes a migration stream from QEMU into a memfd, whatever happens.
 *
 * While a background snapshot runs, each page that the guest wants to write waits until its old content was taken: a
 * reader that stalls freezes the guest. So the reader is a thread that does nothing else, into memory; when that fails it
 * goes on reading and drops the bytes. The moment when all of memory is write-protected is seen by nobody but the reader
 * (QEMU's own event comes too early): it calls back. Source: DESIGN section 6.
 */
#ifndef GODWIT_HYPERVISOR_SPOOL_H
#define GODWIT_HYPERVISOR_SPOOL_H

#include <stdint.h>

#include "common/base.h"
#include "common/err.h"

struct spool;

/**
 * spool_start(out, fd, instant, arg, err):
 * Read the socket @fd (the spool's from now on, also after a failure) to its end.
 *
 * instant  called once, by the reader thread, when the guest may go on; must be quick
 *
 * Return 0 or -errno.
 */
int spool_start(struct spool **out, int fd, void (*instant)(void *arg), void *arg, struct err *err);

/* An eventfd that becomes readable at the instant or at the stream's end. */
int spool_wake_fd(const struct spool *spool);

/* 0: neither; SPOOL_INSTANT; SPOOL_ENDED: the stream ended before it. */
enum { SPOOL_INSTANT = 1, SPOOL_ENDED };
int spool_look(struct spool *spool);

/**
 * spool_finish(spool, timeout_ms, memfd, bytes, err):
 * Wait for the end of the stream.
 *
 * memfd  out: sealed, the caller's
 *
 * Return 0, -ETIMEDOUT (it still reads), or why the bytes are not all there.
 */
int spool_finish(struct spool *spool, int timeout_ms, int *memfd, uint64_t *bytes, struct err *err);

/* Stop reading, if it still does (QEMU then gets an error), and free. */
void spool_free(struct spool *spool);
DEFINE_CLEANUP(struct spool *, spool_free);

#endif
