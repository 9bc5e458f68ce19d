#include "hypervisor/desktop_state.h"

#include <stddef.h>
#include <string.h>

#include "common/base.h"

enum fact {
	FACT_GONE = 1 << 0,
	FACT_BROKEN = 1 << 1,
	FACT_STARTING = 1 << 2,
	FACT_SHUTDOWN = 1 << 3,
	FACT_FENCED = 1 << 4,
	FACT_POSTCOPY_PAUSED = 1 << 5,
	FACT_INCOMING = 1 << 6,
	FACT_IO_ERROR = 1 << 7,
	FACT_PAUSED = 1 << 8,
};

static const char *const names[] = {
	[DESKTOP_STATE_STARTING] = "starting", [DESKTOP_STATE_INCOMING] = "incoming",
	[DESKTOP_STATE_RUNNING] = "running",   [DESKTOP_STATE_PAUSED] = "paused",
	[DESKTOP_STATE_FENCED] = "fenced",     [DESKTOP_STATE_POSTCOPY_PAUSED] = "postcopy-paused",
	[DESKTOP_STATE_OFF] = "off",           [DESKTOP_STATE_IO_ERROR] = "io-error",
	[DESKTOP_STATE_CRASHED] = "crashed",
};

/*
 * The first row that applies names the state. What ends the right or the possibility to run comes before what merely
 * interrupts it. A guest that stands still for a moment (a capture) is none of these: it is running.
 */
static const struct {
	unsigned fact;
	enum desktop_state state;
	bool may_run; /* `cont` makes sense: QEMU retries a failed disk operation */
} rules[] = {
	{ FACT_GONE, DESKTOP_STATE_CRASHED, false },
	{ FACT_BROKEN, DESKTOP_STATE_CRASHED, false },
	{ FACT_STARTING, DESKTOP_STATE_STARTING, false },
	{ FACT_SHUTDOWN, DESKTOP_STATE_OFF, false },
	{ FACT_FENCED, DESKTOP_STATE_FENCED, false },
	{ FACT_POSTCOPY_PAUSED, DESKTOP_STATE_POSTCOPY_PAUSED, true },
	{ FACT_INCOMING, DESKTOP_STATE_INCOMING, true },
	{ FACT_IO_ERROR, DESKTOP_STATE_IO_ERROR, false },
	{ FACT_PAUSED, DESKTOP_STATE_PAUSED, false },
	{ 0, DESKTOP_STATE_RUNNING, true },
};

static const struct {
	const char *status;
	enum desktop_qemu qemu;
} qemu_words[] = {
	{ "running", DESKTOP_QEMU_RUNNING },
	{ "suspended", DESKTOP_QEMU_RUNNING }, /* ACPI S3: the guest's own business */
	{ "watchdog", DESKTOP_QEMU_RUNNING },
	{ "inmigrate", DESKTOP_QEMU_INCOMING },
	{ "shutdown", DESKTOP_QEMU_SHUTDOWN },
	{ "io-error", DESKTOP_QEMU_IO_ERROR },
	{ "internal-error", DESKTOP_QEMU_BROKEN },
	{ "guest-panicked", DESKTOP_QEMU_BROKEN },
};

static unsigned collect(const struct desktop_facts *f)
{
	return (f->gone ? FACT_GONE : 0) | (f->starting ? FACT_STARTING : 0) |
	       (f->fenced ? FACT_FENCED : 0) | (f->paused ? FACT_PAUSED : 0) |
	       (f->postcopy_paused ? FACT_POSTCOPY_PAUSED : 0) |
	       (f->qemu == DESKTOP_QEMU_BROKEN ? FACT_BROKEN : 0) |
	       (f->qemu == DESKTOP_QEMU_SHUTDOWN ? FACT_SHUTDOWN : 0) |
	       (f->qemu == DESKTOP_QEMU_INCOMING ? FACT_INCOMING : 0) |
	       (f->qemu == DESKTOP_QEMU_IO_ERROR ? FACT_IO_ERROR : 0);
}

static size_t first_rule(unsigned facts)
{
	size_t i = 0;

	while (rules[i].fact && !(rules[i].fact & facts))
		i++;
	return i;
}

enum desktop_state desktop_state_derive(const struct desktop_facts *facts)
{
	return rules[first_rule(collect(facts))].state;
}

const char *desktop_state_name(enum desktop_state state)
{
	return names[state];
}

enum desktop_wish desktop_state_wish(const struct desktop_facts *facts, bool autostart)
{
	bool should_run;

	if (facts->frozen || facts->gone || facts->starting)
		return DESKTOP_WISH_NONE;
	should_run = rules[first_rule(collect(facts))].may_run && !facts->paused;
	switch (facts->qemu) {
	case DESKTOP_QEMU_RUNNING:
		return should_run ? DESKTOP_WISH_NONE : DESKTOP_WISH_STOP;
	case DESKTOP_QEMU_STOPPED:
		return should_run && !facts->postcopy_paused ? DESKTOP_WISH_CONT
							     : DESKTOP_WISH_NONE;
	case DESKTOP_QEMU_INCOMING:
		if (should_run == autostart)
			return DESKTOP_WISH_NONE;
		return should_run ? DESKTOP_WISH_CONT : DESKTOP_WISH_STOP;
	case DESKTOP_QEMU_SHUTDOWN:
	case DESKTOP_QEMU_IO_ERROR:
	case DESKTOP_QEMU_BROKEN:
		break;
	}
	return DESKTOP_WISH_NONE;
}

enum desktop_qemu desktop_state_parse_qemu(const char *status)
{
	for (size_t i = 0; i < ARRAY_LEN(qemu_words); i++) {
		if (strcmp(qemu_words[i].status, status) == 0)
			return qemu_words[i].qemu;
	}
	return DESKTOP_QEMU_STOPPED;
}
