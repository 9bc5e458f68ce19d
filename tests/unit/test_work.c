#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client-agent/work.h"
#include "common/io.h"

static void test_work_item(void **state)
{
	static const struct {
		const char *name, *text;
		int want;
		bool reportable; /* a failure has a job to be reported on */
		const char *says;
	} cases[] = {
		{ "capture",
		  "{\"job\":\"j1\",\"step\":\"s\",\"kind\":\"capture\",\"desktop\":\"anna\","
		  "\"epoch\":3,\"memory\":true}",
		  0, true, NULL },
		{ "no object", "[]", -EINVAL, false, "object" },
		{ "no job", "{\"step\":\"s\"}", -EINVAL, false, "'job'" },
		{ "job leaves the folder", "{\"job\":\"../x\",\"step\":\"s\"}", -EINVAL, false,
		  "'job'" },
		{ "step is a number", "{\"job\":\"j\",\"step\":1}", -EINVAL, false, "'step'" },
		{ "no kind", "{\"job\":\"j\",\"step\":\"s\"}", -EINVAL, true, "'kind'" },
		{ "a kind of the future", "{\"job\":\"j\",\"step\":\"s\",\"kind\":\"teleport\"}",
		  -EINVAL, true, "teleport" },
		{ "no desktop", "{\"job\":\"j\",\"step\":\"s\",\"kind\":\"pause\",\"epoch\":1}",
		  -EINVAL, true, "'desktop'" },
		{ "bad desktop",
		  "{\"job\":\"j\",\"step\":\"s\",\"kind\":\"pause\",\"desktop\":\"A\",\"epoch\":1}",
		  -EINVAL, true, "name for a desktop" },
		{ "no epoch",
		  "{\"job\":\"j\",\"step\":\"s\",\"kind\":\"pause\",\"desktop\":\"anna\"}", -EINVAL,
		  true, "'epoch'" },
		{ "negative epoch",
		  "{\"job\":\"j\",\"step\":\"s\",\"kind\":\"pause\",\"desktop\":\"anna\",\"epoch\":"
		  "-1}",
		  -EINVAL, true, "'epoch'" },
	};
	struct agent agent = { .state_dir = "/nonexistent" };
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_LEN(cases); i++) {
		CLEANUP(json_decref) json_t *item = json_loads(cases[i].text, 0, NULL);
		struct work_job *job = NULL;
		struct err err = { 0 };
		int r = work_item_parse(&agent, item, &job, &err);

		if (r != cases[i].want || (job != NULL) != cases[i].reportable)
			fail_msg("%s: %d, %s", cases[i].name, r, err_text(&err));
		if (cases[i].says)
			assert_non_null(strstr(err_text(&err), cases[i].says));
		if (r == 0) {
			assert_string_equal(job->desktop, "anna");
			assert_string_equal(job->kind, "capture");
			assert_int_equal(job->epoch, 3);
			assert_int_equal(json_object_size(job->args), 1); /* memory */
		}
		work_job_free(job);
	}
}

static void test_work_journal_keeps_what_matters(void **state)
{
	char folder[] = "/tmp/test_work.XXXXXX";
	struct journal journal = { .phase = JOURNAL_COMMITTED,
				   .message = "because",
				   .session = "s-7" };
	struct journal read = { 0 };
	struct err err = { 0 };

	(void)state;
	assert_non_null(mkdtemp(folder));
	assert_int_equal(journal_load(folder, "j", "s", &read, &err), 0);
	assert_int_equal(read.phase, JOURNAL_NONE);
	journal_deinit(&read);

	journal.result = json_pack("{s:s}", "snapshot", "x");
	assert_int_equal(journal_save(folder, "j", "s", &journal, &err), 0);
	assert_int_equal(journal_load(folder, "j", "s", &read, &err), 0);
	assert_int_equal(read.phase, JOURNAL_COMMITTED);
	assert_string_equal(read.session, "s-7");
	assert_string_equal(read.message, "because");
	assert_true(json_equal(read.result, journal.result));
	journal_deinit(&read);
	journal_deinit(&journal);

	assert_int_equal(journal_remove(folder, "j", "s", &err), 0);
	assert_int_equal(journal_remove(folder, "j", "s", &err), 0);
	assert_int_equal(journal_load(folder, "j", "s", &read, &err), 0);
	assert_int_equal(read.phase, JOURNAL_NONE);
	journal_deinit(&read);
	{
		CLEANUP_FREE char *jobs = io_printf("%s/jobs", folder);

		rmdir(jobs);
		rmdir(folder);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_work_item),
		cmocka_unit_test(test_work_journal_keeps_what_matters),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
