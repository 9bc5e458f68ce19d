/* The record that a restarted hypervisor starts from: there and back, damaged, and the names that become paths. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/io.h"
#include "hypervisor/desktop_record.h"

static char folder[] = "/tmp/test_desktop_record.XXXXXX";

static struct desktop_record sample(void)
{
	struct desktop_record r = {
		.desktop = "anna",
		.epoch = 3,
		.machine = { .vcpus = 2,
			     .memory_mib = 512,
			     .type = "pc-q35-10.0",
			     .cpu = "qemu64",
			     .network = true },
		.snapshot = "20261122-a1",
		.disks = { { .name = "disk0", .size = 1 << 20, .export = "x" },
			   { .name = "disk1", .size = 1 << 21, .export = "y", .complete = true } },
		.disk_count = 2,
		.process = { .pid = 4711, .start_time = 99 },
		.boot_id = "0f0e0d0c-1111-4222-8333-444455556666",
		.started = true,
		.arriving = true,
		.filling = true,
		.paused = true,
		.quarantined = true,
		.output_seen = true,
		.first_output_ms = 370,
	};

	return r;
}

static void test_desktop_record_there_and_back(void **unused)
{
	struct desktop_record in = sample(), out;
	struct err err = { .code = 0 };

	(void)unused;
	assert_int_equal(desktop_record_load(&out, folder, &err), -ENOENT);
	assert_int_equal(desktop_record_save(&in, folder, &err), 0);
	if (desktop_record_load(&out, folder, &err) < 0)
		fail_msg("%s", err_text(&err));
	assert_string_equal(out.desktop, in.desktop);
	assert_string_equal(out.snapshot, in.snapshot);
	assert_string_equal(out.boot_id, in.boot_id);
	assert_true(out.epoch == 3 && out.process.pid == 4711 && out.process.start_time == 99);
	assert_true(out.started && out.arriving && out.filling && out.paused && out.output_seen);
	assert_true(out.quarantined);
	assert_int_equal(out.first_output_ms, 370);
	assert_int_equal(out.disk_count, 2);
	assert_memory_equal(out.disks, in.disks, sizeof(in.disks));
	assert_memory_equal(&out.machine, &in.machine, sizeof(in.machine));
}

/* What stands in the file instead of what was saved. */
static const struct {
	const char *name, *old, *new, *complaint;
} damages[] = {
	{ "cut off", "\"desktop\"", NULL, "desktop.json" },
	{ "a later version", "\"version\":1", "\"version\":2", "version 2" },
	{ "a path as name", "\"desktop\":\"anna\"", "\"desktop\":\"../a\"", "'desktop'" },
	{ "a path as disk", "\"name\":\"disk0\"", "\"name\":\"/etc/\"", "'name'" },
	{ "a negative pid", "\"pid\":4711", "\"pid\":-1", "pid" },
	{ "an unknown key", "\"paused\":", "\"posed\":", "posed" },
	{ "machine without memory", "\"memory_mib\":512,", "", "memory_mib" },
};

static void test_desktop_record_damaged(void **unused)
{
	CLEANUP_FREE char *path = io_printf("%s/desktop.json", folder);
	struct desktop_record in = sample(), out;

	(void)unused;
	for (size_t i = 0; i < ARRAY_LEN(damages); i++) {
		CLEANUP_FREE uint8_t *text = NULL;
		CLEANUP_FREE char *damaged = NULL;
		struct err err = { .code = 0 };
		size_t len;
		char *at;

		assert_int_equal(desktop_record_save(&in, folder, &err), 0);
		assert_int_equal(io_read_file(path, 1 << 20, &text, &len, &err), 0);
		at = strstr((char *)text, damages[i].old);
		assert_non_null(at);
		damaged = io_printf("%.*s%s%s", (int)(at - (char *)text), (char *)text,
				    damages[i].new ? damages[i].new : "",
				    damages[i].new ? at + strlen(damages[i].old) : "");
		assert_int_equal(io_replace_file(path, damaged, strlen(damaged), 0600, &err), 0);
		if (desktop_record_load(&out, folder, &err) != -EINVAL ||
		    !strstr(err_text(&err), damages[i].complaint))
			fail_msg("%s: %s", damages[i].name, err_text(&err));
	}
	unlink(path);
}

/* A hypervisor from before there was a quarantine wrote this. */
static void test_desktop_record_of_an_older_one(void **unused)
{
	CLEANUP_FREE char *path = io_printf("%s/desktop.json", folder);
	CLEANUP_FREE uint8_t *text = NULL;
	const char *key = "\"quarantined\":true,";
	struct desktop_record in = sample(), out;
	struct err err = { .code = 0 };
	size_t len;
	char *at;

	(void)unused;
	assert_int_equal(desktop_record_save(&in, folder, &err), 0);
	assert_int_equal(io_read_file(path, 1 << 20, &text, &len, &err), 0);
	at = strstr((char *)text, key);
	assert_non_null(at);
	memmove(at, at + strlen(key), strlen(at + strlen(key)) + 1);
	assert_int_equal(io_replace_file(path, text, strlen((char *)text), 0600, &err), 0);
	if (desktop_record_load(&out, folder, &err) < 0)
		fail_msg("%s", err_text(&err));
	assert_false(out.quarantined);
	unlink(path);
}

static const struct {
	int (*check)(const char *text, struct err *err);
	const char *text;
	bool good;
} names[] = {
	{ desktop_record_check_name, "a", true },
	{ desktop_record_check_name, "anna-2", true },
	{ desktop_record_check_name, "", false },
	{ desktop_record_check_name, "-anna", false },
	{ desktop_record_check_name, "Anna", false },
	{ desktop_record_check_name, "..", false },
	{ desktop_record_check_name, "a/b", false },
	{ desktop_record_check_name,
	  "a234567890123456789012345678901234567890123456789012345678901234", false },
	{ desktop_record_check_snapshot, "", true },
	{ desktop_record_check_snapshot, "20261122-1a2b.c_d", true },
	{ desktop_record_check_snapshot, "a b", false },
	{ desktop_record_check_snapshot, "a,b", false },
	{ desktop_record_check_disk, "disk0", true },
	{ desktop_record_check_disk, "disk7", true },
	{ desktop_record_check_disk, "disk8", false },
	{ desktop_record_check_disk, "disk01", false },
	{ desktop_record_check_disk, "disk", false },
	{ desktop_record_check_disk, "../..", false },
};

static void test_desktop_record_names(void **unused)
{
	(void)unused;
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		if ((names[i].check(names[i].text, NULL) == 0) != names[i].good)
			fail_msg("'%s'", names[i].text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_desktop_record_there_and_back),
		cmocka_unit_test(test_desktop_record_damaged),
		cmocka_unit_test(test_desktop_record_of_an_older_one),
		cmocka_unit_test(test_desktop_record_names),
	};
	int failed;

	if (!mkdtemp(folder))
		return 1;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	rmdir(folder);
	return failed;
}
