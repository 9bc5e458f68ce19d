#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client-agent/capture.h"
#include "common/clock.h"
#include "common/io.h"
#include "common/unix_socket.h"

/* A hypervisor as far as these tests need one: it captures, and counts who ends captures. */
static struct {
	char folder[64];
	char *socket;
	int listen_fd;
	pthread_t thread;
	struct hypervisor_client *client;
	atomic_int fd; /* the connection */
	atomic_uint ends;
	atomic_bool stop, slow; /* slow: no answer until this is false */
	char last_end[256];
} world;

static void answer(int fd, const char *line)
{
	static const char captured[] =
		"{\"pause_ms\":1.5,\"parent\":\"s1\",\"reason\":\"\",\"machine\":{},\"disks\":[]}";
	CLEANUP(json_decref) json_t *request = json_loads(line, 0, NULL);
	const char *op = json_string_value(json_object_get(request, "op"));
	CLEANUP_FREE char *reply =
		io_printf("{\"id\":%lld,\"ok\":%s}",
			  (long long)json_integer_value(json_object_get(request, "id")),
			  strcmp(op, "capture") == 0 ? captured : "{}");

	while (world.slow)
		clock_sleep_ms(5);
	if (strcmp(op, "capture_end") == 0) {
		snprintf(world.last_end, sizeof(world.last_end), "%s", line);
		world.ends++;
	}
	unix_socket_send_line(fd, reply, NULL, 0, NULL);
}

static void *hypervisor(void *arg)
{
	(void)arg;
	while (!world.stop) {
		int fd = accept(world.listen_fd, NULL, NULL);
		struct unix_socket_lines lines = { .fd = fd };
		char *line;

		if (fd < 0)
			break;
		world.fd = fd;
		while (unix_socket_read_line(&lines, -1, &line, NULL, NULL, NULL) == 0)
			answer(fd, line);
		unix_socket_lines_deinit(&lines);
		close(fd);
	}
	return NULL;
}

static int set_up(void **state)
{
	(void)state;
	memset(&world, 0, sizeof(world));
	strcpy(world.folder, "/tmp/godwit-capture-XXXXXX");
	assert_non_null(mkdtemp(world.folder));
	world.socket = io_printf("%s/s", world.folder);
	world.listen_fd = unix_socket_listen(world.socket, 0600, NULL);
	assert_true(world.listen_fd >= 0);
	assert_int_equal(pthread_create(&world.thread, NULL, hypervisor, NULL), 0);
	assert_int_equal(hypervisor_client_new(&world.client, world.socket, NULL), 0);
	while (hypervisor_client_connections(world.client) == 0)
		clock_sleep_ms(2);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	world.stop = true;
	shutdown(world.listen_fd, SHUT_RDWR);
	hypervisor_client_free(world.client);
	pthread_join(world.thread, NULL);
	close(world.listen_fd);
	unlink(world.socket);
	rmdir(world.folder);
	free(world.socket);
	return 0;
}

static void begin(struct capture *c)
{
	struct err err = { 0 };
	int r = capture_begin(
		c, &(struct capture_order){ .hypervisor = world.client, .desktop = "anna" }, &err);

	if (r < 0)
		fail_msg("%s", err_text(&err));
	assert_string_equal(c->parent, "s1");
}

static void test_capture_ends_with_its_snapshot(void **state)
{
	struct capture c;
	struct err err = { 0 };

	(void)state;
	begin(&c);
	assert_int_equal(capture_end(&c, "s2", &err), 0);
	assert_int_equal(world.ends, 1);
	assert_non_null(strstr(world.last_end, "\"s2\""));
}

/* The hypervisor ended it when the connection broke. What is open now belongs to somebody else. */
static void test_capture_that_broke_names_nothing(void **state)
{
	uint64_t until = clock_now_ms() + 60000;
	struct capture c;
	struct err err = { 0 };
	bool lost = false;

	(void)state;
	begin(&c);
	shutdown(world.fd, SHUT_RDWR);
	while (!lost && clock_now_ms() < until) {
		clock_sleep_ms(10);
		pthread_mutex_lock(&c.lock);
		lost = c.broken;
		pthread_mutex_unlock(&c.lock);
	}
	assert_true(lost);
	assert_int_equal(hypervisor_client_connections(world.client), 2);
	assert_int_equal(capture_end(&c, "s2", &err), -EIO);
	assert_non_null(strstr(err_text(&err), "connection"));
	assert_int_equal(world.ends, 0);
}

static void await_ends(unsigned n)
{
	uint64_t until = clock_now_ms() + 60000;

	while (world.ends < n && clock_now_ms() < until)
		clock_sleep_ms(5);
	assert_int_equal(world.ends, n);
}

/* Nobody here knows of such a capture any more: open, it would refuse the next one and keep a held guest for ever. */
static void test_capture_that_comes_too_late_is_ended(void **state)
{
	struct capture_order order = { .hypervisor = world.client,
				       .desktop = "anna",
				       .timeout_ms = 200 };
	struct capture c;
	struct err err = { 0 };

	(void)state;
	world.slow = true;
	assert_int_equal(capture_begin(&c, &order, &err), -ETIMEDOUT);
	assert_int_equal(world.ends, 0);
	world.slow = false;
	await_ends(1);
	assert_non_null(strstr(world.last_end, "\"anna\""));
	assert_non_null(strstr(world.last_end, "\"ok\":false"));
	order.timeout_ms = 0;
	assert_int_equal(capture_begin(&c, &order, &err), 0);
	assert_int_equal(capture_end(&c, "s2", &err), 0);
	assert_int_equal(world.ends, 2);
}

/* The job has failed, so the guest must not stand. Without hold there is nothing to take back. */
static void test_hold_whose_end_comes_too_late_is_let_go(void **state)
{
	struct capture_order order = { .hypervisor = world.client,
				       .desktop = "anna",
				       .hold = true };
	struct capture c;
	struct err err = { 0 };

	(void)state;
	for (unsigned expected = 2;; expected = 3) {
		assert_int_equal(capture_begin(&c, &order, &err), 0);
		c.timeout_ms = 200;
		world.slow = true;
		assert_int_equal(capture_end(&c, "s2", &err), -ETIMEDOUT);
		world.slow = false;
		await_ends(expected);
		if (!order.hold)
			break;
		assert_non_null(strstr(world.last_end, "\"ok\":false"));
		order.hold = false;
	}
	assert_non_null(strstr(world.last_end, "\"s2\""));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_capture_ends_with_its_snapshot, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(test_capture_that_broke_names_nothing, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(test_capture_that_comes_too_late_is_ended, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(test_hold_whose_end_comes_too_late_is_let_go,
						set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
