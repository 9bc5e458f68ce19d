/* desktop.h - one desktop: its folder, its QEMU, and the thread that watches over both.
 *
 * Threads. Request threads call the operations below. QEMU's reader thread (qmp.h) only notes what it hears and wakes the
 * watch thread; that one alone tells QEMU to stop and go on (except within a capture's instant), so pauses, leases, errors
 * and captures cannot give contradicting orders. `lock` guards the fields; it is never held while QEMU is asked something.
 * Crash rule: desktop.json is ahead of the facts (desktop_record.h). QEMU never depends on us: it has its own session and
 * sockets, and we find it again.
 * Long operations (start, capture, discard …) claim the desktop: one at a time.
 */
#ifndef GODWIT_HYPERVISOR_DESKTOP_H
#define GODWIT_HYPERVISOR_DESKTOP_H

#include <pthread.h>

#include "hypervisor/desktop_record.h"
#include "hypervisor/desktop_state.h"
#include "hypervisor/hypervisor.h"
#include "hypervisor/lease_guard.h"
#include "hypervisor/qmp.h"

enum { DESKTOP_REASON_MAX = 255 };

struct desktop {
	struct hypervisor *hypervisor;
	struct desktop *next; /* in hypervisor->desktops */
	char *folder;         /* absolute; desktops/NAME of the state folder */

	pthread_mutex_t lock;
	pthread_cond_t changed; /* CLOCK_MONOTONIC; whatever below changed */
	unsigned refs;
	const char *busy; /* the operation that has claimed it; NULL */
	struct desktop_record record;
	struct lease_guard lease;
	struct desktop_facts facts;
	enum desktop_state shown; /* what the last event said */
	char reason[DESKTOP_REASON_MAX + 1];
	bool autostart;    /* what an incoming QEMU was told */
	bool refresh;      /* QEMU has to be asked for its state again */
	bool link_due;     /* QEMU has to be told whether the network cable is in (quarantine.h) */
	bool closing;      /* being discarded, or the hypervisor ends: no more events */
	bool capture_open; /* between capture and capture_end */
	bool capture_hold; /* that capture keeps the guest paused */
	bool capture_held; /* an earlier one did to its good end: it stands until it leaves */
	bool capture_left; /* QEMU may still have parts of one that could not be undone */
	const void *capture_owner;   /* the connection that asked for it */
	uint64_t stop_us, resume_us; /* QEMU's clock at its last STOP and RESUME event */
	unsigned io_errors; /* events so far: an answer from before one says nothing about it */
	unsigned exports_deleted;    /* BLOCK_EXPORT_DELETED events so far */
	uint64_t fill_complained_ms; /* the watch thread's own */
	uint64_t resumed_ms;         /* clock_now_ms() when it first ran; 0: not yet */

	struct qmp *qmp; /* NULL before the first attach; stays until the desktop is freed */
	int pidfd;       /* -1: no QEMU */
	int wake_fd;     /* an eventfd: the watch thread has to look */
	pthread_t watch;
	bool watching;
};

/* A desktop with a folder but without QEMU: one reference, the caller's. Return 0 or -errno. */
int desktop_new(struct desktop **out, struct hypervisor *hypervisor, const char *name,
		struct err *err);
struct desktop *desktop_ref(struct desktop *desktop);
void desktop_unref(struct desktop *desktop);
DEFINE_CLEANUP(struct desktop *, desktop_unref);

/* Claim it for a long operation, waiting up to @wait_ms for another one. Return 0 or -EBUSY. */
int desktop_claim(struct desktop *desktop, const char *operation, int wait_ms, struct err *err);
void desktop_release(struct desktop *desktop);

/* Make the watch thread look at facts again. Any thread, with or without the lock. */
void desktop_wake(struct desktop *desktop);

/**
 * desktop_settle(desktop, timeout_ms, err):
 * Wait until QEMU does what the facts ask for.
 *
 * Return 0, -ESRCH when QEMU is gone, or -ETIMEDOUT.
 */
int desktop_settle(struct desktop *desktop, int timeout_ms, struct err *err);

/* The status object of docs/protocol.md, a new reference; NULL: out of memory. */
json_t *desktop_status(struct desktop *desktop);

/* Send an event about this desktop; @fields are stolen and may be NULL. Never with the lock held. */
void desktop_emit(struct desktop *desktop, const char *event, json_t *fields);

/* desktop.json as it is now. With the lock held or before the desktop is shared. */
int desktop_save(struct desktop *desktop, struct err *err);

/* Return 0, or -ESRCH with a text when there is no QEMU to talk to. */
int desktop_need_qemu(struct desktop *desktop, struct err *err);

#endif
