/* nbd_input against a real qemu-nbd: holes, content, a dirty bitmap, and what it says when there is none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "snapshot/nbd_input.h"
#include "tests/lib/memory_chunks.h"

static char folder[] = "/tmp/godwit-test-nbd.XXXXXX";
static char image[64], socket_path[64];
static pid_t server;

enum { SIZE = 16 << 20 };

static int shell(const char *format, ...) __attribute__((format(printf, 1, 2)));
static int shell(const char *format, ...)
{
	char command[512];
	va_list ap;

	va_start(ap, format);
	vsnprintf(command, sizeof(command), format, ap);
	va_end(ap);
	return system(command);
}

/* 3 MiB of 0x11 at 1 MiB; a bitmap; then 100 KB of 0x22 at 2 MB, which the bitmap sees. */
static int setup(void **state)
{
	(void)state;
	if (!mkdtemp(folder))
		return -1;
	snprintf(image, sizeof(image), "%s/disk.qcow2", folder);
	snprintf(socket_path, sizeof(socket_path), "%s/nbd.sock", folder);
	if (shell("qemu-img create -q -f qcow2 %s %d && qemu-io -f qcow2 -c 'write -q -P 0x11 1M "
		  "3M' %s && "
		  "qemu-img bitmap --add -g 65536 %s changes && qemu-io -f qcow2 -c 'write -q -P "
		  "0x22 2000000 100000' %s",
		  image, SIZE, image, image, image))
		return -1;
	server = fork();
	if (server == 0) {
		execlp("qemu-nbd", "qemu-nbd", "-r", "-t", "-e", "8", "-f", "qcow2", "-B",
		       "changes", "-k", socket_path, image, (char *)NULL);
		_exit(127);
	}
	for (int i = 0; i < 2400 && access(socket_path, F_OK) != 0; i++)
		clock_sleep_ms(25);
	return access(socket_path, F_OK);
}

static int teardown(void **state)
{
	(void)state;
	kill(server, SIGTERM);
	waitpid(server, NULL, 0);
	return shell("rm -rf %s", folder);
}

static void expect(uint8_t *want)
{
	memset(want, 0, SIZE);
	memset(want + (1 << 20), 0x11, 3 << 20);
	memset(want + 2000000, 0x22, 100000);
}

static void test_nbd_input_reads_what_the_disk_holds(void **state)
{
	struct nbd_input_options options = { .socket_path = socket_path };
	uint8_t *want = malloc(SIZE), *got = malloc(SIZE);
	struct volume_input volume;
	struct nbd_input *input;
	struct err err = { 0 };

	(void)state;
	expect(want);
	if (nbd_input_open(&input, &options, &err) < 0)
		fail_msg("%s", err_text(&err));
	volume = nbd_input_volume(input);
	assert_int_equal(volume.size, SIZE);
	for (uint64_t at = 0; at < SIZE; at += 1 << 20)
		assert_int_equal(volume.read(volume.ctx, got + at, 1 << 20, at, &err), 0);
	assert_memory_equal(got, want, SIZE);
	assert_true(volume.read(volume.ctx, got, 4096, SIZE, &err) < 0);
	nbd_input_close(input);
	free(want);
	free(got);
}

static void test_nbd_input_knows_holes(void **state)
{
	struct nbd_input_options options = { .socket_path = socket_path };
	struct memory_chunks *chunks = memory_chunks_new();
	struct volume v = { .name = "disk0", .grid = CHUNK_GRID_DISK };
	struct volume_put order = { .sink = memory_chunks_sink(chunks), .codec = CHUNK_CODEC_ZSTD };
	struct volume_put_stats stats = { 0 };
	struct volume_input volume;
	struct nbd_input *input;
	struct err err = { 0 };

	(void)state;
	assert_int_equal(nbd_input_open(&input, &options, &err), 0);
	volume = nbd_input_volume(input);
	order.input = &volume;
	assert_int_equal(volume_put(&order, &v, &stats, &err), 0);
	assert_int_equal(stats.read_bytes, 3 << 20); /* of 16 MiB */
	nbd_input_close(input);
	memory_chunks_free(chunks);
}

static void test_nbd_input_tells_what_the_bitmap_marks(void **state)
{
	struct nbd_input_options options = { .socket_path = socket_path, .bitmap = "changes" };
	struct volume_extent *extents;
	struct nbd_input *input;
	struct err err = { 0 };
	size_t count;

	(void)state;
	assert_int_equal(nbd_input_open(&input, &options, &err), 0);
	assert_int_equal(nbd_input_dirty(input, &extents, &count, &err), 0);
	assert_int_equal(count, 1);
	assert_int_equal(extents[0].offset, 2000000 / 65536 * 65536);
	assert_int_equal(extents[0].offset + extents[0].length, (2099999 / 65536 + 1) * 65536);
	free(extents);
	nbd_input_close(input);
}

static void test_nbd_input_says_what_is_not_there(void **state)
{
	struct nbd_input_options options = { .socket_path = socket_path, .bitmap = "nosuch" };
	struct nbd_input *input;
	struct err err = { 0 };

	(void)state;
	assert_int_equal(nbd_input_open(&input, &options, &err), -ENODATA);
	assert_non_null(strstr(err_text(&err), "nosuch"));
	options.bitmap = NULL;
	options.export_name = "nosuch";
	assert_true(nbd_input_open(&input, &options, &err) < 0);
	options.socket_path = "/nonexistent/socket";
	assert_int_equal(nbd_input_open(&input, &options, &err), -ENOENT);
}

static void test_nbd_input_reports_a_server_that_dies(void **state)
{
	struct nbd_input_options options = { .socket_path = socket_path };
	struct volume_input volume;
	struct nbd_input *input;
	struct err err = { 0 };
	uint8_t *buf = malloc(1 << 20);

	(void)state;
	assert_int_equal(nbd_input_open(&input, &options, &err), 0);
	volume = nbd_input_volume(input);
	kill(server, SIGKILL);
	waitpid(server, NULL, 0);
	assert_true(volume.read(volume.ctx, buf, 1 << 20, 1 << 20, &err) < 0);
	assert_non_null(strstr(err_text(&err), "nbd.sock"));
	nbd_input_close(input);
	free(buf);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nbd_input_reads_what_the_disk_holds),
		cmocka_unit_test(test_nbd_input_knows_holes),
		cmocka_unit_test(test_nbd_input_tells_what_the_bitmap_marks),
		cmocka_unit_test(test_nbd_input_says_what_is_not_there),
		cmocka_unit_test(
			test_nbd_input_reports_a_server_that_dies), /* the last: the server is gone */
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
