/* desktop_state.h - from what is known about a desktop to its state, and to whether it should run. Pure.
 *
 * The facts are levels, not edges: whoever learns something sets a fact and derives again. So the order in which a lease
 * ends, a person pauses and QEMU stops by itself never matters, and a restarted hypervisor needs no history.
 * Source: docs/protocol.md section 1, "States".
 */
#ifndef GODWIT_HYPERVISOR_DESKTOP_STATE_H
#define GODWIT_HYPERVISOR_DESKTOP_STATE_H

#include <stdbool.h>

enum desktop_state {
	DESKTOP_STATE_STARTING,
	DESKTOP_STATE_INCOMING,
	DESKTOP_STATE_RUNNING,
	DESKTOP_STATE_PAUSED,
	DESKTOP_STATE_FENCED,
	DESKTOP_STATE_POSTCOPY_PAUSED,
	DESKTOP_STATE_OFF,
	DESKTOP_STATE_IO_ERROR,
	DESKTOP_STATE_CRASHED,
};

/* QEMU's run states, as far as they differ for us. Source: qapi/run-state.json. */
enum desktop_qemu {
	DESKTOP_QEMU_STOPPED, /* paused, prelaunch, postmigrate, save-vm …: `cont` makes it run */
	DESKTOP_QEMU_RUNNING,
	DESKTOP_QEMU_INCOMING, /* inmigrate: it waits for its memory */
	DESKTOP_QEMU_SHUTDOWN, /* the guest powered off */
	DESKTOP_QEMU_IO_ERROR,
	DESKTOP_QEMU_BROKEN, /* internal-error, guest-panicked: nothing brings it back */
};

struct desktop_facts {
	enum desktop_qemu qemu;
	bool gone;            /* there is no QEMU process */
	bool starting;        /* `start` has not ended yet */
	bool fenced;          /* strict lease, and it has ended */
	bool paused;          /* a person, or a capture with hold, wants it to stand still */
	bool frozen;          /* a capture is between its stop and its cont: hands off */
	bool postcopy_paused; /* the source of its memory went away */
};

enum desktop_state desktop_state_derive(const struct desktop_facts *facts);
const char *desktop_state_name(enum desktop_state state);

enum desktop_wish {
	DESKTOP_WISH_NONE, /* leave it alone */
	DESKTOP_WISH_STOP, /* tell QEMU `stop` (while incoming: do not start by itself) */
	DESKTOP_WISH_CONT, /* tell QEMU `cont` (while incoming: start by itself) */
};

/**
 * desktop_state_wish(facts, autostart):
 * What QEMU has to be told now. autostart: what an incoming QEMU was told last; it starts with true.
 */
enum desktop_wish desktop_state_wish(const struct desktop_facts *facts, bool autostart);

/* query-status' word to ours; an unknown one is STOPPED. */
enum desktop_qemu desktop_state_parse_qemu(const char *status);

#endif
