#include "hypervisor/guard.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/base.h"
#include "common/clock.h"
#include "common/io.h"
#include "common/json.h"
#include "common/log.h"
#include "common/unix_socket.h"
#include "hypervisor/lease_guard.h"
#include "hypervisor/machine.h"

enum {
	START_MS = 30000,
	GRACE_MS = 100,  /* a living hypervisor stops its desktops itself, and more gently */
	ANSWER_MS = 800, /* with the grace less than any sensible [lease] margin of a server */
	AGAIN_MS = 1000, /* how often a guest that stands is looked at */
	LOOK_MS = 1000,  /* … and the lease: a renewal can end it earlier, too */
	THAW_MS = 100,   /* how often for a renewal while QEMU is stopped by signal */
};

/* ---- the hypervisor's side ----------------------------------------------------------------------------------- */

int guard_start(const char *folder, const struct process *qemu, struct err *err)
{
	char pid[16], start_time[24];
	char *const argv[] = { (char[]){ "/proc/self/exe" },
			       (char[]){ "guard" },
			       (char *)folder,
			       pid,
			       start_time,
			       NULL };
	int r;

	snprintf(pid, sizeof(pid), "%d", (int)qemu->pid);
	snprintf(start_time, sizeof(start_time), "%" PRIu64, qemu->start_time);
	r = process_run(argv, START_MS, NULL, NULL, err);
	return r < 0 ? err_wrap(err, r, "start the guard over %s", folder) : 0;
}

/* ---- the guard ------------------------------------------------------------------------------------------------ */

struct guard {
	char boot_id[PROCESS_BOOT_ID_LEN];
	int lease_fd; /* locked */
	int pidfd, timer_fd;
	bool frozen; /* by our SIGSTOP */
	bool said;   /* that the lease is over, once each time */
};

/* Its control socket, in the working directory. Never waits: a QEMU whose main loop hangs accepts nothing. */
static int control_connect(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = MACHINE_GUARD_SOCKET };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	base_close(fd);
	return -1;
}

static bool word_is(const json_t *object, const char *key, const char *word)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text && strcmp(text, word) == 0;
}

/* Until the answer called @id, or the event @event, has come; a new reference, NULL: not in time. */
static json_t *await(struct unix_socket_lines *lines, const char *id, const char *event,
		     uint64_t end)
{
	for (;;) {
		uint64_t now = clock_now_ms();
		json_t *object = NULL;
		char *line;

		if (now >= end ||
		    unix_socket_read_line(lines, (int)(end - now), &line, NULL, NULL, NULL) != 0)
			return NULL;
		if (json_parse(&object, line, strlen(line), "QEMU", NULL) < 0)
			return NULL;
		if (word_is(object, "id", id) || (event && word_is(object, "event", event)))
			return object;
		json_decref(object);
	}
}

static bool tell(int fd, const char *text)
{
	return write(fd, text, strlen(text)) == (ssize_t)strlen(text);
}

static bool stops(int fd, struct unix_socket_lines *lines, bool *told)
{
	CLEANUP(json_decref) json_t *status = NULL;
	CLEANUP(json_decref) json_t *stopped = NULL;
	const uint64_t end = clock_now_ms() + ANSWER_MS;
	json_t *state;

	if (!tell(fd, "{\"execute\":\"qmp_capabilities\"}\n"
		      "{\"execute\":\"query-status\",\"id\":\"status\"}\n"))
		return false;
	status = await(lines, "status", NULL, end);
	state = json_object_get(status, "return");
	if (!state)
		return false;
	/* One that waits for its memory would begin to run by itself when it is there. */
	if (json_is_false(json_object_get(state, "running")) &&
	    !word_is(state, "status", "inmigrate"))
		return true;
	if (!tell(fd, "{\"execute\":\"stop\",\"id\":\"stop\"}\n"))
		return false;
	/* The event comes when the processors stand; the answer may wait for the disks. */
	stopped = await(lines, "stop", "STOP", end);
	*told = json_is_true(json_object_get(state, "running"));
	return stopped && !json_object_get(stopped, "error");
}

/* Does the guest stand still for certain? *told: because of us. */
static bool stand_still(bool *told)
{
	CLEANUP_FD int fd = control_connect();
	struct unix_socket_lines lines = { .fd = fd };
	bool yes;

	*told = false;
	if (fd < 0)
		return false;
	yes = stops(fd, &lines, told);
	unix_socket_lines_deinit(&lines);
	return yes;
}

static void fence(struct guard *g)
{
	bool told;

	if (g->frozen)
		return;
	if (!stand_still(&told)) {
		g->frozen = pidfd_send_signal(g->pidfd, SIGSTOP, NULL, 0) == 0;
		told = g->frozen;
		log_warning("the lease is over and QEMU does not answer: it is stopped by a "
			    "signal until the lease is renewed");
	} else if (told && !g->said) {
		log_warning("the lease is over: the guest is stopped by its guard");
	}
	g->said |= told;
}

static void let_go(struct guard *g)
{
	g->said = false;
	if (!g->frozen)
		return;
	pidfd_send_signal(g->pidfd, SIGCONT, NULL, 0);
	g->frozen = false;
	log_info("the lease is renewed: QEMU goes on");
}

/* Until @deadline_ms, also through a laptop's sleep. Return whether QEMU lives. */
static bool lives_until(struct guard *g, uint64_t deadline_ms)
{
	struct itimerspec at = { .it_value = { .tv_sec = (time_t)(deadline_ms / 1000),
					       .tv_nsec = (long)(deadline_ms % 1000) * 1000000 } };
	struct pollfd polls[] = { { .fd = g->pidfd, .events = POLLIN },
				  { .fd = g->timer_fd, .events = POLLIN } };

	if (deadline_ms > INT64_MAX / 2)
		at.it_value.tv_sec = INT32_MAX;
	timerfd_settime(g->timer_fd, TFD_TIMER_ABSTIME, &at, NULL);
	while (poll(polls, ARRAY_LEN(polls), -1) < 0 && errno == EINTR)
		;
	return !(polls[0].revents & POLLIN);
}

static uint64_t min_ms(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static void watch(struct guard *g)
{
	uint64_t next;

	do {
		/* A lease that cannot be read is over: that never lets a guest run too long. */
		struct lease_guard lease = { .strict = true };
		uint64_t now = clock_now_ms();

		lease_guard_load(&lease, "lease", g->boot_id, NULL);
		if (!lease.strict || lease.deadline_ms > now - GRACE_MS) {
			let_go(g);
			next = lease.strict ? min_ms(lease.deadline_ms, now + LOOK_MS) + GRACE_MS
					    : UINT64_MAX;
		} else {
			fence(g);
			next = now + (g->frozen ? THAW_MS : AGAIN_MS);
		}
	} while (lives_until(g, next));
}

/* ---- its beginning --------------------------------------------------------------------------------------------- */

enum { GUARDED_ALREADY = 1 };

static int take_hold(struct guard *g, char **argv, struct err *err)
{
	struct process qemu = { .pid = (pid_t)strtol(argv[2], NULL, 10),
				.start_time = strtoull(argv[3], NULL, 10) };
	int r;

	if (chdir(argv[1]) < 0)
		return err_set(err, errno, "open %s", argv[1]);
	r = process_boot_id(g->boot_id, err);
	if (r < 0)
		return r;
	g->lease_fd = open("lease", O_RDONLY | O_CLOEXEC);
	g->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC);
	if (g->lease_fd < 0 || g->timer_fd < 0)
		return err_set(err, errno, "guard %s", argv[1]);
	if (flock(g->lease_fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? GUARDED_ALREADY
					    : err_set(err, errno, "lock %s/lease", argv[1]);
	r = process_attach(&qemu, &g->pidfd, err);
	return r == PROCESS_GONE ? GUARDED_ALREADY : r;
}

/* What it says goes where QEMU's words are. Return the exit status of the process that was waited for, -1 in the other. */
static int leave(void)
{
	CLEANUP_FD int log = open("qemu.log", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	pid_t child;

	if (log < 0)
		return EXIT_FAILURE;
	child = fork();
	if (child != 0)
		return child < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
	return dup2(log, 1) < 0 || dup2(log, 2) < 0 ? EXIT_FAILURE : -1;
}

int guard_main(int argc, char **argv)
{
	struct guard g = { .lease_fd = -1, .pidfd = -1, .timer_fd = -1 };
	struct err err = { .code = 0 };
	int r;

	if (argc != 4) {
		fputs("usage: guard FOLDER PID START-TIME (godwit-hypervisor starts it)\n", stderr);
		return 2;
	}
	prctl(PR_SET_NAME, "godwit-guard");
	signal(SIGPIPE, SIG_IGN);
	log_init("godwit-guard", LOG_LEVEL_INFO);
	r = take_hold(&g, argv, &err);
	if (r < 0) {
		fprintf(stderr, "%s\n", err_text(&err));
		return EXIT_FAILURE;
	}
	if (r == GUARDED_ALREADY)
		return EXIT_SUCCESS;
	r = leave();
	if (r >= 0)
		return r;
	/* An earlier guard may have died with QEMU stopped; if the lease is over it is stopped again at once. */
	pidfd_send_signal(g.pidfd, SIGCONT, NULL, 0);
	watch(&g);
	return EXIT_SUCCESS;
}
