#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdint.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base.h"
#include "common/clock.h"
#include "common/io.h"
#include "mgmt-server/core/doubt.h"

enum { NOW = 100000, LATER = NOW + 1, TTL = 6000, MARGIN = 3000 };

static struct fleet_desktop desktop(enum lease_policy policy, enum lease_state state)
{
	return (struct fleet_desktop){ .lease = { .policy = policy,
						  .state = state,
						  .epoch = 7,
						  .until_ms = NOW + 1000,
						  .ttl_ms = TTL,
						  .margin_ms = MARGIN,
						  .holder = "a" } };
}

static void test_doubt_tells_only_who_runs(void **state)
{
	static const struct {
		const char *name;
		enum lease_policy policy;
		bool doubt, in_force;
		uint64_t told_from_ms;
		bool want;
	} cases[] = {
		{ "no doubt", LEASE_STRICT, false, false, 0, true },
		{ "it stands still", LEASE_STRICT, true, false, 0, false },
		{ "it runs", LEASE_STRICT, true, true, 0, true },
		{ "it may be offline", LEASE_OFFLINE_OK, true, false, 0, true },
		{ "the displaced one may run", LEASE_STRICT, false, false, LATER, false },
		{ "... however sure it is of itself", LEASE_STRICT, false, true, LATER, false },
		{ "the displaced one has stopped", LEASE_STRICT, false, false, NOW, true },
		{ "... but an older copy is doubted", LEASE_STRICT, true, false, NOW, false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct server s = { .doubt_until_ms = cases[i].doubt ? LATER : NOW };
		struct fleet_desktop d = desktop(cases[i].policy, LEASE_HELD);

		d.told_from_ms = cases[i].told_from_ms;
		if (doubt_tells(&s, &d, cases[i].in_force, NOW) != cases[i].want)
			fail_msg("%s", cases[i].name);
	}
}

static void test_doubt_waits_for_the_displaced(void **state)
{
	static const struct {
		const char *name, *claimer;
		enum lease_policy policy;
		enum lease_state state;
		bool doubt, told;
		uint64_t until_ms, want;
	} cases[] = {
		{ "a holder", "b", LEASE_STRICT, LEASE_HELD, false, false, NOW + 1000,
		  NOW + 1000 + MARGIN },
		{ "one whose lease has just ended", "b", LEASE_STRICT, LEASE_EXPIRED, false, true,
		  NOW - 500, NOW + MARGIN },
		{ "the claimer himself", "a", LEASE_STRICT, LEASE_HELD, false, true, NOW + 1000,
		  0 },
		{ "nobody", "b", LEASE_STRICT, LEASE_FREE, false, false, 0, 0 },
		{ "one who has stopped", "b", LEASE_STRICT, LEASE_LOST, false, false, NOW, 0 },
		{ "one whom only the copy knows", "b", LEASE_STRICT, LEASE_HELD, true, false,
		  NOW + 1000, 0 },
		{ "one who was told in the doubt", "b", LEASE_STRICT, LEASE_HELD, true, true,
		  NOW + 1000, NOW + 1000 + MARGIN },
		{ "one whom nobody stops", "b", LEASE_OFFLINE_OK, LEASE_HELD, false, true,
		  NOW + 1000, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct server s = { .doubt_until_ms = cases[i].doubt ? LATER : 0 };
		struct fleet_desktop d = desktop(cases[i].policy, cases[i].state);
		uint64_t got;

		d.told = cases[i].told;
		d.lease.until_ms = cases[i].until_ms;
		got = doubt_displaces(&s, &d, cases[i].claimer, NOW);
		if (got != cases[i].want)
			fail_msg("%s: %ju", cases[i].name, (uintmax_t)got);
	}
}

static bool there(const char *path)
{
	return access(path, F_OK) == 0;
}

/* A restart meanwhile finds it; the end removes it; a claim that waits keeps it. */
static void test_doubt_outlives_a_restart(void **state)
{
	char folder[] = "/tmp/godwit-doubt-XXXXXX";
	struct server s = { .config = { .lease_ttl_ms = TTL, .lease_margin_ms = MARGIN } };
	struct server again;
	struct fleet_desktop *d;
	struct err err = { 0 };
	char *path, number[sizeof(s.doubt)];
	uint64_t now;

	(void)state;
	assert_non_null(mkdtemp(folder));
	s.state = folder;
	path = io_printf("%s/catalogue.doubt", folder);
	assert_int_equal(fleet_new(&s.fleet, &s, &err), 0);
	d = fleet_desktop_add(s.fleet, "anna", LEASE_STRICT);
	assert_non_null(d);
	assert_int_equal(doubt_load(&s, &err), 0);
	assert_false(s.doubt_marked || s.recovered[0]);

	assert_int_equal(doubt_mark(&s, "it rotted", &err), 0);
	assert_true(there(path));
	doubt_begin(&s, 60000);
	memcpy(number, s.doubt, sizeof(number));
	now = clock_now_ms();
	assert_in_range(doubt_left(&s, now), 30000, 60000 + MARGIN);
	doubt_tick(&s, now);
	assert_true(there(path));

	again = (struct server){ .state = folder, .config = s.config };
	assert_int_equal(doubt_load(&again, &err), 0);
	assert_true(again.doubt_marked);
	assert_non_null(strstr(again.recovered, "it rotted"));
	doubt_begin(&again, 60000);
	assert_string_not_equal(again.doubt, number);

	d->told_from_ms = now = s.doubt_until_ms;
	doubt_tick(&s, now - 1);
	assert_true(there(path));
	d->told_from_ms = now + 10;
	doubt_tick(&s, now + 9);
	assert_true(there(path));
	doubt_tick(&s, now + 10);
	assert_false(there(path));
	assert_int_equal(doubt_mark(&s, "once more", &err), 0);
	assert_true(there(path));

	unlink(path);
	rmdir(folder);
	free(path);
	fleet_free(s.fleet);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_doubt_tells_only_who_runs),
		cmocka_unit_test(test_doubt_waits_for_the_displaced),
		cmocka_unit_test(test_doubt_outlives_a_restart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
