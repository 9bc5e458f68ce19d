/* The memory of a real machine: captured while it runs, put into a real store, and brought back in three ways. The guest
 * checks its own memory and disk; `n` going on under the same `run` proves that it is the same machine. */
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

#include "common/base.h"
#include "common/clock.h"
#include "common/io.h"
#include "tests/lib/memory_trip.h"
#include "tests/lib/vm_harness.h"

enum { MEMORY_MIB = 160, RAM_MAX = 512 << 20, LINE_MS = 300000 };

static struct {
	char folder[64];
	char disk[96], disk_copy[96], store_path[96];
	const char *why_not;
	struct store *store;
	struct manifest snapshot;
	struct vm_harness_line before; /* the last line before the instant */
} world;

/* A machine that waits for its memory, with its own copy of the disk. */
static void start_waiting(struct vm_harness *vm, const char *name)
{
	CLEANUP_FREE char *disk = io_printf("%s/%s.raw", world.folder, name);
	CLEANUP_FREE char *copy = io_printf("cp --sparse=always '%s' '%s'", world.disk_copy, disk);

	assert_int_equal(system(copy), 0);
	vm_harness_start(vm, &(struct vm_harness_options){ .folder = world.folder,
							   .name = name,
							   .machine = "q35",
							   .disk = disk,
							   .memory_mib = MEMORY_MIB,
							   .incoming = true });
}

/* It is the same machine, it went on from the snapshot, and nothing in it is damaged. */
static void assert_sound(const struct vm_harness_line *line)
{
	assert_string_equal(line->run, world.before.run);
	assert_true(line->n >= world.before.n);
	assert_int_equal(line->bad, 0);
	assert_int_equal(line->disk_bad, 0);
}

/* Watch until the guest has verified each of its cold pages once more. */
static void assert_stays_sound(struct vm_harness *vm)
{
	struct vm_harness_line line, first;

	vm_harness_skip(vm);
	assert_true(vm_harness_line(vm, &first, LINE_MS));
	assert_sound(&first);
	do {
		assert_true(vm_harness_line(vm, &line, LINE_MS));
		assert_sound(&line);
	} while (line.passes < first.passes + 2);
	assert_true(line.n > first.n && line.acked > first.acked && line.written > first.written);
}

static int set_up(void **state)
{
	CLEANUP_FREE char *build = NULL;
	struct vm_harness_line line;
	struct vm_harness vm;
	struct err err = { 0 };
	uint64_t pause_us, began_us, stored;
	int fd;

	(void)state;
	world.why_not = vm_harness_why_not();
	if (world.why_not)
		return 0;
	strcpy(world.folder, "/tmp/godwit-trip.XXXXXX");
	assert_non_null(mkdtemp(world.folder));
	snprintf(world.disk, sizeof(world.disk), "%s/disk.raw", world.folder);
	snprintf(world.disk_copy, sizeof(world.disk_copy), "%s/copy.raw", world.folder);
	snprintf(world.store_path, sizeof(world.store_path), "%s/store", world.folder);
	build = io_printf("tests/guest/small.sh '%s' --load 'mem=40 hot=16 rate=500 disk_rate=20 "
			  "report_ms=100'",
			  world.disk);
	assert_int_equal(system(build), 0);

	vm_harness_start(&vm, &(struct vm_harness_options){ .folder = world.folder,
							    .name = "origin",
							    .machine = "q35",
							    .disk = world.disk,
							    .memory_mib = MEMORY_MIB });
	do
		assert_true(vm_harness_line(&vm, &line, LINE_MS));
	while (line.passes < 1);
	vm_harness_skip(&vm);
	assert_true(vm_harness_line(&vm, &world.before, LINE_MS));
	fd = memory_trip_capture(&vm, world.disk, world.disk_copy, &pause_us);
	assert_true(vm_harness_line(&vm, &line, LINE_MS));
	assert_sound(&line); /* the origin itself was not harmed */
	vm_harness_kill(&vm);

	assert_int_equal(store_init(world.store_path, NULL, &err), 0);
	assert_int_equal(store_open(&world.store, world.store_path, NULL, STORE_WRITE, &err), 0);
	began_us = clock_now_us();
	stored = memory_trip_put(world.store, fd, RAM_MAX, &world.snapshot);
	print_message("# captured %u MiB: paused %.1f ms; stored %.1f MiB in %.2f s\n", MEMORY_MIB,
		      (double)pause_us / 1e3, (double)stored / 1048576,
		      (double)(clock_now_us() - began_us) / 1e6);
	close(fd);
	return 0;
}

static int tear_down(void **state)
{
	CLEANUP_FREE char *clean = io_printf("rm -rf '%s'", world.folder);

	(void)state;
	if (world.why_not)
		return 0;
	store_close(world.store);
	manifest_deinit(&world.snapshot);
	return system(clean);
}

static bool skipped(void)
{
	if (world.why_not) {
		print_message("# %s\n", world.why_not);
		skip();
	}
	return world.why_not;
}

static void test_memory_trip_joined(void **state)
{
	struct vm_harness_line line;
	struct vm_harness vm;
	uint64_t began_us;

	(void)state;
	if (skipped())
		return;
	start_waiting(&vm, "joined");
	began_us = clock_now_us();
	memory_trip_load(&vm, &world.snapshot, store_source(world.store));
	assert_true(vm_harness_line(&vm, &line, LINE_MS));
	print_message("# joined stream: first output %.2f s\n",
		      (double)(line.at_us - began_us) / 1e6);
	assert_sound(&line);
	assert_stays_sound(&vm);
	vm_harness_kill(&vm);
}

static void test_memory_trip_lazy(void **state)
{
	struct memory_trip_line slow = { .inner = store_source(world.store),
					 .bytes_per_s = 4 << 20,
					 .latency_ms = 5 };
	struct memory_trip_server server;
	struct vm_harness_line line;
	struct vm_harness vm;
	uint64_t began_us, ran_us;

	(void)state;
	if (skipped())
		return;
	start_waiting(&vm, "lazy");
	began_us = clock_now_us();
	memory_trip_serve(&server, &vm, &world.snapshot, memory_trip_line_source(&slow), false);
	assert_true(vm_harness_wait_event(&vm, "RESUME", LINE_MS));
	ran_us = clock_now_us();
	assert_true(vm_harness_line(&vm, &line, LINE_MS));
	assert_sound(&line);
	assert_true(server.stats.running);
	/* It ran before its memory was there. */
	assert_true(server.stats.pages_sent < server.stats.pages_total);
	slow.bytes_per_s = 0; /* has been shown; the rest may come at once */
	print_message("# lazy at 4 MiB/s: ran after %.3f s, first output %.3f s, %.0f %% of the "
		      "pages sent\n",
		      (double)(ran_us - began_us) / 1e6, (double)(line.at_us - began_us) / 1e6,
		      100.0 * (double)server.stats.pages_sent / (double)server.stats.pages_total);
	if (memory_trip_serve_end(&server) < 0)
		fail_msg("%s", err_text(&server.err));
	print_message("# everything local %.2f s, %llu requests\n",
		      (double)(clock_now_us() - began_us) / 1e6,
		      (unsigned long long)server.stats.requests);
	assert_int_equal(server.stats.pages_sent, server.stats.pages_total);
	assert_true(server.stats.requests > 0);
	assert_true(vm_harness_wait_status(&vm, "query-migrate", "completed", LINE_MS));
	assert_stays_sound(&vm);
	vm_harness_kill(&vm);
}

/* The page server dies twice; a new one asks what QEMU has and sends the rest. */
static void test_memory_trip_recovers(void **state)
{
	struct memory_trip_line slow = { .inner = store_source(world.store),
					 .bytes_per_s = 4 << 20 };
	struct chunk_source source = memory_trip_line_source(&slow);
	struct memory_trip_server server;
	struct vm_harness_line line;
	struct vm_harness vm;
	uint64_t sent_before = 0, again_us;

	(void)state;
	if (skipped())
		return;
	start_waiting(&vm, "recover");
	memory_trip_serve(&server, &vm, &world.snapshot, source, false);
	assert_true(vm_harness_line(&vm, &line, LINE_MS));
	for (int deaths = 1; deaths <= 2; deaths++) {
		while (server.stats.pages_sent < sent_before + server.stats.pages_total / 16)
			clock_sleep_ms(10);
		server.cancel = true;
		assert_int_equal(memory_trip_serve_end(&server), -ECANCELED);
		sent_before = server.stats.pages_sent;
		assert_true(
			vm_harness_wait_status(&vm, "query-migrate", "postcopy-paused", LINE_MS));

		if (deaths == 2)
			slow.bytes_per_s = 0;
		vm_harness_skip(&vm);
		again_us = clock_now_us();
		memory_trip_serve(&server, &vm, &world.snapshot, source, true);
		assert_true(vm_harness_line(&vm, &line, LINE_MS));
		assert_sound(&line);
		print_message("# page server died: recovered, output again after %.3f s\n",
			      (double)(line.at_us - again_us) / 1e6);
	}
	if (memory_trip_serve_end(&server) < 0)
		fail_msg("%s", err_text(&server.err));
	assert_int_equal(server.stats.pages_sent, server.stats.pages_total);
	assert_true(vm_harness_wait_status(&vm, "query-migrate", "completed", LINE_MS));
	assert_stays_sound(&vm);
	vm_harness_kill(&vm);
}

/* QEMU dies: the source says so at once and does not hang. */
static void test_memory_trip_qemu_dies(void **state)
{
	struct memory_trip_line slow = { .inner = store_source(world.store),
					 .bytes_per_s = 4 << 20 };
	struct memory_trip_server server;
	struct vm_harness_line line;
	struct vm_harness vm;

	(void)state;
	if (skipped())
		return;
	start_waiting(&vm, "dies");
	memory_trip_serve(&server, &vm, &world.snapshot, memory_trip_line_source(&slow), false);
	assert_true(vm_harness_line(&vm, &line, LINE_MS));
	vm_harness_kill(&vm);
	assert_int_equal(memory_trip_serve_end(&server), -EPIPE);
	assert_non_null(strstr(err_text(&server.err), "pages still to send"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_memory_trip_joined),
		cmocka_unit_test(test_memory_trip_lazy),
		cmocka_unit_test(test_memory_trip_recovers),
		cmocka_unit_test(test_memory_trip_qemu_dies),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
