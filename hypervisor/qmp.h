/* qmp.h - a client of the QEMU Machine Protocol.
 *
 * A reader thread of its own takes every line: replies wake their waiters, events go to one callback. Commands may be
 * issued by any thread; several can be put on the wire in one write (qmp_post), which is what makes a capture's instant
 * short. When the connection ends, every waiter is woken with -EPIPE and later commands get the same.
 * Source: QEMU docs/interop/qmp-spec.rst.
 */
#ifndef GODWIT_HYPERVISOR_QMP_H
#define GODWIT_HYPERVISOR_QMP_H

#include "common/base.h"
#include "common/err.h"
#include "common/json.h"

enum { QMP_TIMEOUT_MS = 30000 };

struct qmp;

struct qmp_handlers {
	/* Both are called by the reader thread and must neither block nor issue commands. */
	void (*event)(void *arg, const char *name, const json_t *data, uint64_t time_us);
	void (*closed)(void *arg);
	void *arg;
};

/**
 * qmp_open(out, fd, handlers, err):
 * Greet QEMU on the connected socket @fd, which is the client's from now on, also after a failure.
 *
 * Return 0, -EPIPE, -ETIMEDOUT, -EBADMSG, or -errno.
 */
int qmp_open(struct qmp **out, int fd, const struct qmp_handlers *handlers, struct err *err);

/* Close the connection and wait for the reader; no handler runs afterwards. Not from a handler. */
void qmp_close(struct qmp *qmp);
DEFINE_CLEANUP(struct qmp *, qmp_close);

struct qmp_command {
	const char *name;
	json_t *arguments; /* stolen, also after a failure; NULL: none */
};

/**
 * qmp_run(qmp, name, arguments, out, err):
 * Issue one command and wait for its reply, QMP_TIMEOUT_MS at most.
 *
 * arguments  stolen; NULL: none
 * out        a new reference to what it returned; NULL: not wanted
 *
 * Return 0, -EREMOTEIO when QEMU refused (its words are in @err), -EPIPE when it is gone, -ETIMEDOUT, or -errno.
 */
int qmp_run(struct qmp *qmp, const char *name, json_t *arguments, json_t **out, struct err *err);

/* The same with a descriptor for `getfd`; @fd stays the caller's. */
int qmp_run_fd(struct qmp *qmp, const char *name, json_t *arguments, int fd, struct err *err);

enum { QMP_BATCH_MAX = 24 };

/* Commands that went out in one write. */
struct qmp_batch {
	size_t count;
	const char *names[QMP_BATCH_MAX];
	struct qmp_batch_state *state; /* owned */
	int wake_fd; /* owned eventfd: readable when all replies are in, one is a refusal, or the connection ended */
};

/* Put 1 to QMP_BATCH_MAX commands on the wire in one write. Return 0 or as qmp_run; then @batch needs no deinit. */
int qmp_post(struct qmp *qmp, const struct qmp_command *commands, size_t n, struct qmp_batch *batch,
	     struct err *err);

/**
 * qmp_collect(qmp, batch, timeout_ms, err):
 * Wait for the replies and release the batch.
 *
 * Return 0 when all commands succeeded, or what qmp_run would have returned for the first that did not.
 */
int qmp_collect(struct qmp *qmp, struct qmp_batch *batch, int timeout_ms, struct err *err);

/* Issue a command whose reply nobody needs. Return 0 or -errno of sending. */
int qmp_tell(struct qmp *qmp, const char *name);

#endif
