/* bench_memory.c - figures about a machine's memory, from a real QEMU.
 *
 *   bench_memory lazy  MEMORY_MIB LOAD_MIB    resume lazily over a line of 20 MB/s, and load in full over the same line
 *   bench_memory pause MEMORY_MIB LOAD_MIB    the pause of five captures
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base.h"
#include "common/clock.h"
#include "common/io.h"
#include "tests/lib/memory_trip.h"
#include "tests/lib/vm_harness.h"

enum { LINE_BYTES_PER_S = 20000000, ROUNDS = 5, BOOT_MS = 600000 };

static char folder[] = "/tmp/godwit-bench.XXXXXX";
static char disk[128], disk_copy[128];

__attribute__((noreturn)) static void give_up(const char *what)
{
	fprintf(stderr, "bench_memory: %s\n", what);
	exit(1);
}

static void boot(struct vm_harness *vm, unsigned memory_mib, unsigned load_mib)
{
	CLEANUP_FREE char *build = io_printf("tests/guest/small.sh '%s' --load 'mem=%u hot=16 "
					     "rate=500 disk_rate=20 report_ms=100'",
					     disk, load_mib);
	struct vm_harness_line line;

	if (system(build))
		give_up("the guest was not built");
	vm_harness_start(vm, &(struct vm_harness_options){ .folder = folder,
							   .name = "origin",
							   .machine = "q35",
							   .disk = disk,
							   .memory_mib = memory_mib });
	if (!vm_harness_line(vm, &line, BOOT_MS))
		give_up("the guest did not boot");
}

/* With a disk of its own: the next one needs it as it was. */
static void start_waiting(struct vm_harness *vm, const char *name, unsigned memory_mib)
{
	CLEANUP_FREE char *own = io_printf("%s/%s.raw", folder, name);
	CLEANUP_FREE char *copy = io_printf("cp --sparse=always '%s' '%s'", disk_copy, own);

	if (system(copy))
		give_up("the disk was not copied");
	vm_harness_start(vm, &(struct vm_harness_options){ .folder = folder,
							   .name = name,
							   .machine = "q35",
							   .disk = own,
							   .memory_mib = memory_mib,
							   .incoming = true });
}

static double since(uint64_t began_us, uint64_t now_us)
{
	return (double)(now_us - began_us) / 1e6;
}

static void sound(const struct vm_harness_line *line, const struct vm_harness_line *before)
{
	if (line->bad || line->disk_bad || strcmp(line->run, before->run) != 0 ||
	    line->n < before->n)
		give_up("the guest that came back is not the one that was captured");
}

static void lazy(const struct manifest *snapshot, struct chunk_source inner, unsigned memory_mib,
		 const struct vm_harness_line *before)
{
	struct memory_trip_line slow = { .inner = inner, .bytes_per_s = LINE_BYTES_PER_S };
	struct memory_trip_server server;
	struct vm_harness_line line;
	uint64_t began_us, ran_us, bytes;
	struct vm_harness vm;

	start_waiting(&vm, "lazy", memory_mib);
	began_us = clock_now_us();
	memory_trip_serve(&server, &vm, snapshot, memory_trip_line_source(&slow), false);
	if (!vm_harness_wait_event(&vm, "RESUME", BOOT_MS))
		give_up("no RESUME");
	ran_us = clock_now_us();
	if (!vm_harness_line(&vm, &line, BOOT_MS))
		give_up("no output");
	bytes = slow.bytes;
	sound(&line, before);
	printf("lazy resume:  RESUME %.2f s, first output %.2f s (%.1f MB moved)\n",
	       since(began_us, ran_us), since(began_us, line.at_us), (double)bytes / 1e6);
	if (memory_trip_serve_end(&server) < 0)
		give_up(err_text(&server.err));
	printf("              everything local %.1f s, %llu page requests\n",
	       since(began_us, clock_now_us()), (unsigned long long)server.stats.requests);
	vm_harness_skip(&vm);
	if (!vm_harness_line(&vm, &line, BOOT_MS))
		give_up("the guest went silent");
	sound(&line, before);
	vm_harness_kill(&vm);
}

static void full(const struct manifest *snapshot, struct chunk_source inner, unsigned memory_mib,
		 const struct vm_harness_line *before)
{
	struct memory_trip_line slow = { .inner = inner, .bytes_per_s = LINE_BYTES_PER_S };
	struct vm_harness_line line;
	struct vm_harness vm;
	uint64_t began_us;

	start_waiting(&vm, "full", memory_mib);
	began_us = clock_now_us();
	memory_trip_load(&vm, snapshot, memory_trip_line_source(&slow));
	if (!vm_harness_line(&vm, &line, BOOT_MS))
		give_up("no output");
	sound(&line, before);
	printf("full load:    first output %.2f s (%.1f MB moved)\n", since(began_us, line.at_us),
	       (double)slow.bytes / 1e6);
	vm_harness_kill(&vm);
}

static void bench_lazy(unsigned memory_mib, unsigned load_mib)
{
	CLEANUP_FREE char *store_path = io_printf("%s/store", folder);
	CLEANUP(store_close) struct store *store = NULL;
	struct vm_harness_line before;
	struct manifest snapshot;
	struct err err = { 0 };
	struct vm_harness vm;
	uint64_t pause_us;
	int fd;

	boot(&vm, memory_mib, load_mib);
	vm_harness_skip(&vm);
	if (!vm_harness_line(&vm, &before, BOOT_MS))
		give_up("the guest went silent");
	fd = memory_trip_capture(&vm, disk, disk_copy, &pause_us);
	vm_harness_kill(&vm);
	if (store_init(store_path, NULL, &err) < 0 ||
	    store_open(&store, store_path, NULL, STORE_WRITE, &err) < 0)
		give_up(err_text(&err));
	memory_trip_put(store, fd, (uint64_t)(memory_mib + 256) << 20, &snapshot);
	close(fd);

	printf("%u MiB of RAM, %u MiB of it in use by a program; the store behind a line of 20 "
	       "MB/s\n",
	       memory_mib, load_mib);
	lazy(&snapshot, store_source(store), memory_mib, &before);
	full(&snapshot, store_source(store), memory_mib, &before);
	manifest_deinit(&snapshot);
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void bench_pause(unsigned memory_mib, unsigned load_mib)
{
	uint64_t pause_us[ROUNDS];
	struct vm_harness vm;

	boot(&vm, memory_mib, load_mib);
	for (unsigned i = 0; i < ROUNDS; i++) {
		clock_sleep_ms(2000);
		vm_harness_skip(&vm);
		close(memory_trip_capture(&vm, disk, NULL, &pause_us[i]));
	}
	vm_harness_kill(&vm);
	qsort(pause_us, ROUNDS, sizeof(pause_us[0]), by_value);
	printf("capture of %u MiB of RAM, %u MiB of it in use: pause median of %d: %.1f ms (%.1f "
	       "to %.1f)\n",
	       memory_mib, load_mib, ROUNDS, (double)pause_us[ROUNDS / 2] / 1e3,
	       (double)pause_us[0] / 1e3, (double)pause_us[ROUNDS - 1] / 1e3);
}

int main(int argc, char **argv)
{
	const char *why_not = vm_harness_why_not();
	unsigned memory_mib = argc == 4 ? (unsigned)atoi(argv[2]) : 0;
	unsigned load_mib = argc == 4 ? (unsigned)atoi(argv[3]) : 0;
	CLEANUP_FREE char *clean = NULL;

	if (why_not)
		give_up(why_not);
	if (load_mib == 0 || memory_mib <= load_mib || !mkdtemp(folder))
		give_up("usage: bench_memory lazy|pause MEMORY_MIB LOAD_MIB");
	snprintf(disk, sizeof(disk), "%s/disk.raw", folder);
	snprintf(disk_copy, sizeof(disk_copy), "%s/copy.raw", folder);
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (strcmp(argv[1], "lazy") == 0)
		bench_lazy(memory_mib, load_mib);
	else
		bench_pause(memory_mib, load_mib);
	clean = io_printf("rm -rf '%s'", folder);
	return system(clean) ? 1 : 0;
}
