/* Attacks, fast and slow, and what people and upgrades do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "mgmt-server/core/ransomware_judge.h"

#define MIB (1ULL << 20)

static const struct ransomware_limits limits = { .files = 20, .slack = 2 };

/* Snapshots of one desktop, one after the other; returns the first one that is an alarm, or -1. */
static int first_alarm(const struct ransomware_measure *measures, size_t n)
{
	struct ransomware_history h = { .count = 0 };

	for (size_t i = 0; i < n; i++) {
		struct ransomware_judgement j;

		ransomware_judge(&measures[i], &h, &limits, &j);
		assert_true((j.level == RANSOMWARE_CALM) == (j.why[0] == '\0'));
		if (j.level == RANSOMWARE_ALARM)
			return (int)i;
		memmove(h.encrypted + 1, h.encrypted, sizeof(h.encrypted) - sizeof(h.encrypted[0]));
		memmove(h.changed + 1, h.changed, sizeof(h.changed) - sizeof(h.changed[0]));
		h.encrypted[0] = ransomware_judge_encrypted(&measures[i], &limits);
		h.changed[0] = (double)measures[i].changed_bytes;
		h.count += h.count < RANSOMWARE_JUDGE_HISTORY;
		h.excess = j.excess;
	}
	return -1;
}

enum { QUIET = 12 };

static const struct {
	const char *name;
	struct ransomware_measure quiet; /* QUIET times first */
	struct ransomware_measure then;  /* as often as: */
	unsigned times;
	int alarm; /* number of `then` that is the first alarm; -1: none */
} cases[] = {
	{ "nothing", { .changed_bytes = 10 * MIB }, { .changed_bytes = 12 * MIB }, 20, -1 },
	{ "many at once", { 0 }, { .encrypted_wholly = 30 }, 1, 0 },
	{ "in pieces", { 0 }, { .encrypted_partly = 20 }, 1, 0 },
	{ "fewer with one extension",
	  { 0 },
	  { .encrypted_wholly = 9, .suffix_count = 9, .suffix = ".locked" },
	  1,
	  0 },
	{ "fewer with nothing in common", { 0 }, { .encrypted_wholly = 9 }, 1, -1 },
	{ "five in each snapshot", { 0 }, { .encrypted_wholly = 5 }, 20, 6 },
	{ "one in each snapshot", { 0 }, { .encrypted_wholly = 1 }, 100, -1 },
	{ "five again and again, but always",
	  { .encrypted_wholly = 3 },
	  { .encrypted_wholly = 3 },
	  50,
	  -1 },
	{ "caches", { .encrypted_unnamed = 40 }, { .encrypted_unnamed = 44 }, 30, -1 },
	{ "new names in place of old ones",
	  { 0 },
	  { .vanished = 50, .created_random = 52, .suffix_count = 50, .suffix = ".enc" },
	  1,
	  0 },
	{ "random files come, nothing goes",
	  { 0 },
	  { .vanished = 0, .created_random = 500, .suffix_count = 500, .suffix = ".bin" },
	  5,
	  -1 },
	{ "upgrade",
	  { .changed_bytes = 100 * MIB },
	  { .changed_bytes = 9000 * MIB, .became_random_bytes = 500 * MIB, .vanished = 900 },
	  3,
	  -1 },
	{ "some, and far more churn than ever",
	  { .changed_bytes = 100 * MIB },
	  { .changed_bytes = 9000 * MIB, .encrypted_wholly = 12 },
	  1,
	  0 },
};

static void test_ransomware_judge_cases(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		static struct ransomware_measure all[QUIET + 200];
		size_t n = 0;
		int alarm;

		while (n < QUIET)
			all[n++] = cases[i].quiet;
		for (unsigned k = 0; k < cases[i].times; k++)
			all[n++] = cases[i].then;
		alarm = first_alarm(all, n);
		alarm = alarm < 0 ? alarm : alarm - QUIET;
		if (alarm != cases[i].alarm)
			fail_msg("%s: alarm at %d instead of %d", cases[i].name, alarm,
				 cases[i].alarm);
	}
}

/* Slow from the first day: it must not become usual. */
static void test_ransomware_judge_slow_is_never_usual(void **state)
{
	struct ransomware_measure all[60];

	(void)state;
	for (size_t i = 0; i < 60; i++)
		all[i] = (struct ransomware_measure){ .encrypted_wholly = 14 };
	assert_int_equal(first_alarm(all, 60), 1);
}

static void test_ransomware_judge_whole_volumes_are_unusual(void **state)
{
	const struct ransomware_measure m = { .changed_bytes = 60000 * MIB,
					      .became_random_bytes = 30000 * MIB,
					      .encrypted_volumes = 1 };
	const struct ransomware_history h = { .count = 0 };
	struct ransomware_judgement j;

	(void)state;
	ransomware_judge(&m, &h, &limits, &j);
	assert_int_equal(j.level, RANSOMWARE_UNUSUAL);
	assert_non_null(strstr(j.why, "encrypted as a whole"));
	assert_string_equal(ransomware_judge_levels[j.level], "unusual");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ransomware_judge_cases),
		cmocka_unit_test(test_ransomware_judge_slow_is_never_usual),
		cmocka_unit_test(test_ransomware_judge_whole_volumes_are_unusual),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
