/* What QEMU says, told apart; what it must never say, refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "hypervisor/qmp_message.h"

static const struct {
	const char *name, *line;
	int want;
	enum qmp_message_kind kind;
	uint64_t id;
	const char *text;
	uint64_t time_us;
} cases[] = {
	{ "greeting", "{\"QMP\": {\"version\": {}, \"capabilities\": []}}", 0, QMP_MESSAGE_GREETING,
	  0, NULL, 0 },
	{ "return", "{\"return\": {}, \"id\": 7}", 0, QMP_MESSAGE_RETURN, 7, NULL, 0 },
	{ "return of a string", "{\"return\": \"disk0\", \"id\": 8}", 0, QMP_MESSAGE_RETURN, 8,
	  NULL, 0 },
	{ "return without id", "{\"return\": {}}", 0, QMP_MESSAGE_RETURN, 0, NULL, 0 },
	{ "error", "{\"id\": 9, \"error\": {\"class\": \"GenericError\", \"desc\": \"no\"}}", 0,
	  QMP_MESSAGE_ERROR, 9, "no", 0 },
	{ "event", "{\"timestamp\": {\"seconds\": 2, \"microseconds\": 5}, \"event\": \"STOP\"}", 0,
	  QMP_MESSAGE_EVENT, 0, "STOP", 2000005 },
	{ "event without a clock",
	  "{\"timestamp\": {\"seconds\": -1, \"microseconds\": -1}, \"event\": \"STOP\"}", 0,
	  QMP_MESSAGE_EVENT, 0, "STOP", 0 },
	{ "no JSON", "hello", -EBADMSG, 0, 0, NULL, 0 },
	{ "an array", "[]", -EBADMSG, 0, 0, NULL, 0 },
	{ "nothing known", "{\"x\": 1}", -EBADMSG, 0, 0, NULL, 0 },
	{ "id is text", "{\"return\": {}, \"id\": \"7\"}", -EBADMSG, 0, 0, NULL, 0 },
	{ "id is negative", "{\"return\": {}, \"id\": -7}", -EBADMSG, 0, 0, NULL, 0 },
	{ "error without text", "{\"id\": 9, \"error\": {}}", -EBADMSG, 0, 0, NULL, 0 },
	{ "event name is a number", "{\"event\": 3}", -EBADMSG, 0, 0, NULL, 0 },
	{ "event data is a list", "{\"event\": \"STOP\", \"data\": []}", -EBADMSG, 0, 0, NULL, 0 },
	{ "keys twice", "{\"return\": {}, \"return\": {}, \"id\": 1}", -EBADMSG, 0, 0, NULL, 0 },
};

static void test_qmp_message_parse(void **unused)
{
	(void)unused;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct qmp_message m = { .id = 0 };
		struct err err = { .code = 0 };
		int r = qmp_message_parse(&m, cases[i].line, strlen(cases[i].line), &err);

		if (r != cases[i].want)
			fail_msg("%s: got %d (%s)", cases[i].name, r, err_text(&err));
		if (r < 0)
			continue;
		if (m.kind != cases[i].kind || m.id != cases[i].id ||
		    m.time_us != cases[i].time_us ||
		    (cases[i].text && strcmp(m.text, cases[i].text) != 0))
			fail_msg("%s: kind %d id %llu", cases[i].name, (int)m.kind,
				 (unsigned long long)m.id);
		qmp_message_deinit(&m);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_qmp_message_parse) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
