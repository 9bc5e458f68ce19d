/* The rules row by row, and what must hold for every combination of facts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "common/base.h"
#include "hypervisor/desktop_state.h"

static const struct {
	const char *name;
	struct desktop_facts facts;
	const char *state;
	enum desktop_wish wish;
} cases[] = {
	{ "running", { .qemu = DESKTOP_QEMU_RUNNING }, "running", DESKTOP_WISH_NONE },
	{ "stopped without a reason",
	  { .qemu = DESKTOP_QEMU_STOPPED },
	  "running",
	  DESKTOP_WISH_CONT },
	{ "starting", { .starting = true }, "starting", DESKTOP_WISH_NONE },
	{ "a person pauses",
	  { .qemu = DESKTOP_QEMU_RUNNING, .paused = true },
	  "paused",
	  DESKTOP_WISH_STOP },
	{ "paused", { .qemu = DESKTOP_QEMU_STOPPED, .paused = true }, "paused", DESKTOP_WISH_NONE },
	{ "lease over",
	  { .qemu = DESKTOP_QEMU_RUNNING, .fenced = true },
	  "fenced",
	  DESKTOP_WISH_STOP },
	{ "fenced", { .qemu = DESKTOP_QEMU_STOPPED, .fenced = true }, "fenced", DESKTOP_WISH_NONE },
	{ "fenced and paused",
	  { .qemu = DESKTOP_QEMU_STOPPED, .fenced = true, .paused = true },
	  "fenced",
	  DESKTOP_WISH_NONE },
	{ "lease over within an instant",
	  { .qemu = DESKTOP_QEMU_RUNNING, .fenced = true, .frozen = true },
	  "fenced",
	  DESKTOP_WISH_NONE },
	{ "an instant",
	  { .qemu = DESKTOP_QEMU_RUNNING, .frozen = true },
	  "running",
	  DESKTOP_WISH_NONE },
	{ "powered off", { .qemu = DESKTOP_QEMU_SHUTDOWN }, "off", DESKTOP_WISH_NONE },
	{ "powered off, lease over",
	  { .qemu = DESKTOP_QEMU_SHUTDOWN, .fenced = true },
	  "off",
	  DESKTOP_WISH_NONE },
	{ "disk failed", { .qemu = DESKTOP_QEMU_IO_ERROR }, "io-error", DESKTOP_WISH_NONE },
	{ "disk failed, lease over",
	  { .qemu = DESKTOP_QEMU_IO_ERROR, .fenced = true },
	  "fenced",
	  DESKTOP_WISH_NONE },
	{ "gone", { .qemu = DESKTOP_QEMU_RUNNING, .gone = true }, "crashed", DESKTOP_WISH_NONE },
	{ "broken", { .qemu = DESKTOP_QEMU_BROKEN }, "crashed", DESKTOP_WISH_NONE },
	{ "waits for memory", { .qemu = DESKTOP_QEMU_INCOMING }, "incoming", DESKTOP_WISH_NONE },
	{ "waits for memory, paused",
	  { .qemu = DESKTOP_QEMU_INCOMING, .paused = true },
	  "incoming",
	  DESKTOP_WISH_STOP },
	{ "waits for memory, lease over",
	  { .qemu = DESKTOP_QEMU_INCOMING, .fenced = true },
	  "fenced",
	  DESKTOP_WISH_STOP },
	{ "page source gone",
	  { .qemu = DESKTOP_QEMU_RUNNING, .postcopy_paused = true },
	  "postcopy-paused",
	  DESKTOP_WISH_NONE },
	{ "page source gone, lease over",
	  { .qemu = DESKTOP_QEMU_RUNNING, .postcopy_paused = true, .fenced = true },
	  "fenced",
	  DESKTOP_WISH_STOP },
};

static void test_desktop_state_table(void **unused)
{
	(void)unused;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		const char *state = desktop_state_name(desktop_state_derive(&cases[i].facts));
		enum desktop_wish wish = desktop_state_wish(&cases[i].facts, true);

		if (strcmp(state, cases[i].state) != 0 || wish != cases[i].wish)
			fail_msg("%s: %s, wish %d", cases[i].name, state, (int)wish);
	}
}

static struct desktop_facts facts_of(unsigned bits, enum desktop_qemu qemu)
{
	return (struct desktop_facts){ .qemu = qemu,
				       .gone = bits & 1,
				       .starting = bits & 2,
				       .fenced = bits & 4,
				       .paused = bits & 8,
				       .frozen = bits & 16,
				       .postcopy_paused = bits & 32 };
}

/* All 384 combinations. */
static void test_desktop_state_invariants(void **unused)
{
	(void)unused;
	for (unsigned bits = 0; bits < 64; bits++) {
		for (int qemu = DESKTOP_QEMU_STOPPED; qemu <= DESKTOP_QEMU_BROKEN; qemu++) {
			struct desktop_facts f = facts_of(bits, (enum desktop_qemu)qemu);
			enum desktop_state state = desktop_state_derive(&f);
			enum desktop_wish wish = desktop_state_wish(&f, true),
					  again = desktop_state_wish(&f, false);

			if (f.frozen || f.gone || f.starting)
				assert_true(wish == DESKTOP_WISH_NONE &&
					    again == DESKTOP_WISH_NONE);
			if (f.fenced || f.paused)
				assert_true(wish != DESKTOP_WISH_CONT &&
					    again != DESKTOP_WISH_CONT);
			if (f.fenced && f.qemu == DESKTOP_QEMU_RUNNING && !f.frozen && !f.gone &&
			    !f.starting)
				assert_int_equal(wish, DESKTOP_WISH_STOP);
			if (state == DESKTOP_STATE_RUNNING)
				assert_false(f.gone || f.fenced || f.paused || f.starting ||
					     f.postcopy_paused);
			if (f.gone)
				assert_int_equal(state, DESKTOP_STATE_CRASHED);
			assert_non_null(desktop_state_name(state));
		}
	}
}

/* Told once, an incoming QEMU is not told again; and it is told the other thing when that changes. */
static void test_desktop_state_autostart(void **unused)
{
	struct desktop_facts f = { .qemu = DESKTOP_QEMU_INCOMING, .fenced = true };

	(void)unused;
	assert_int_equal(desktop_state_wish(&f, true), DESKTOP_WISH_STOP);
	assert_int_equal(desktop_state_wish(&f, false), DESKTOP_WISH_NONE);
	f.fenced = false;
	assert_int_equal(desktop_state_wish(&f, false), DESKTOP_WISH_CONT);
}

static void test_desktop_state_parse_qemu(void **unused)
{
	(void)unused;
	assert_int_equal(desktop_state_parse_qemu("running"), DESKTOP_QEMU_RUNNING);
	assert_int_equal(desktop_state_parse_qemu("inmigrate"), DESKTOP_QEMU_INCOMING);
	assert_int_equal(desktop_state_parse_qemu("postmigrate"), DESKTOP_QEMU_STOPPED);
	assert_int_equal(desktop_state_parse_qemu("paused"), DESKTOP_QEMU_STOPPED);
	assert_int_equal(desktop_state_parse_qemu(""), DESKTOP_QEMU_STOPPED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_desktop_state_table),
		cmocka_unit_test(test_desktop_state_invariants),
		cmocka_unit_test(test_desktop_state_autostart),
		cmocka_unit_test(test_desktop_state_parse_qemu),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
