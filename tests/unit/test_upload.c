#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "client-agent/upload.h"

/* Streams that are not whole are refused before anything is sent, and the text says which desktop and what is wrong. */
static void test_upload_refuses_a_memory_stream_that_is_not_whole(void **state)
{
	static const char *const files[] = { "cut-in-head", "cut-in-page", "cut-in-devices" };
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_LEN(files); i++) {
		struct agent agent = { .config = { .ram_max_bytes = 1ULL << 32 } };
		struct work_job job = { .agent = &agent, .desktop = "anna" };
		struct capture capture = { .desktop = "anna" };
		struct upload upload = { .job = &job, .capture = &capture };
		struct err err = { 0 };
		char path[128];

		snprintf(path, sizeof(path), "tests/fuzz/corpus/qemu_stream/%s", files[i]);
		capture.memory_fd = open(path, O_RDONLY | O_CLOEXEC);
		assert_true(capture.memory_fd >= 0);
		if (upload_run(&upload, &err) != -EBADMSG)
			fail_msg("%s: %s", files[i], err_text(&err));
		assert_non_null(strstr(err_text(&err), "memory of desktop anna"));
		if (!strstr(err_text(&err), "stream"))
			fail_msg("%s: %s", files[i], err_text(&err));
		upload_deinit(&upload);
		base_close(capture.memory_fd);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_upload_refuses_a_memory_stream_that_is_not_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
