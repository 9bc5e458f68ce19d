/* vm_harness.c - start, QMP, console. */
#include "tests/lib/vm_harness.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base.h"
#include "common/clock.h"
#include "common/io.h"
#include "common/unix_socket.h"

enum { LINE_MAX_LEN = 1 << 20, QMP_MS = 300000 };

__attribute__((noreturn, format(printf, 2, 3))) static void die(const struct vm_harness *vm,
								const char *format, ...)
{
	char log[256];
	va_list ap;

	fprintf(stderr, "machine %s: ", vm->name);
	va_start(ap, format);
	vfprintf(stderr, format, ap);
	va_end(ap);
	snprintf(log, sizeof(log), "tail -n 5 '%s/%s.log' >&2", vm->folder, vm->name);
	fputc('\n', stderr);
	if (system(log))
		fputs("(no log)\n", stderr);
	if (vm->pid > 0)
		kill(vm->pid, SIGKILL);
	exit(1);
}

const char *vm_harness_why_not(void)
{
	FILE *p = popen("qemu-system-x86_64 --version 2>/dev/null", "r");
	unsigned major = 0;
	int found;

	if (!p)
		return "popen failed";
	found = fscanf(p, "QEMU emulator version %u", &major);
	pclose(p);
	if (found != 1)
		return "qemu-system-x86_64 is not installed";
	return major < 10 ? "QEMU is older than 10.0" : NULL;
}

/* ---- Start and end -------------------------------------------------------------------------------------------- */

static void run_qemu(const struct vm_harness *vm, const struct vm_harness_options *o)
{
	CLEANUP_FREE char *qmp =
		io_printf("socket,id=qmp,path=%s/%s.qmp,server=on,wait=off", o->folder, o->name);
	CLEANUP_FREE char *console = io_printf(
		"socket,id=console,path=%s/%s.console,server=on,wait=off", o->folder, o->name);
	CLEANUP_FREE char *drive = io_printf("file=%s,format=raw,if=none,id=disk0", o->disk);
	CLEANUP_FREE char *memory = io_printf("%u", o->memory_mib);
	CLEANUP_FREE char *log = io_printf("%s/%s.log", o->folder, o->name);
	const char *argv[] = {
		"qemu-system-x86_64",
		"-machine",
		o->machine,
		"-accel",
		"tcg,thread=multi",
		"-m",
		memory,
		"-smp",
		"1", /* with more, TCG of QEMU 10.0 can fail in iotlb_to_section() on a busy machine */
		"-nodefaults",
		"-no-user-config",
		"-display",
		"none",
		"-chardev",
		qmp,
		"-mon",
		"chardev=qmp,mode=control",
		"-chardev",
		console,
		"-serial",
		"chardev:console",
		"-drive",
		drive,
		"-device",
		"virtio-blk-pci,drive=disk0,addr=5",
		o->incoming ? "-incoming" : NULL,
		"defer",
		NULL,
	};
	int fd = open(log, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (fd < 0 || dup2(fd, 1) < 0 || dup2(fd, 2) < 0)
		die(vm, "open %s: %s", log, strerror(errno));
	execvp(argv[0], (char *const *)argv);
	die(vm, "exec %s: %s", argv[0], strerror(errno));
}

static int connect_to(const struct vm_harness *vm, const char *what)
{
	CLEANUP_FREE char *path = io_printf("%s/%s.%s", vm->folder, vm->name, what);
	struct err err = { 0 };
	int fd = -1;

	for (unsigned tries = 0; fd < 0 && tries < 6000; tries++) {
		fd = unix_socket_connect(path, &err);
		if (fd < 0)
			clock_sleep_ms(20);
	}
	if (fd < 0)
		die(vm, "%s", err_text(&err));
	return fd;
}

void vm_harness_start(struct vm_harness *vm, const struct vm_harness_options *options)
{
	*vm = (struct vm_harness){ .events = json_array(),
				   .qmp_in = malloc(LINE_MAX_LEN),
				   .console_in = malloc(LINE_MAX_LEN) };
	snprintf(vm->folder, sizeof(vm->folder), "%s", options->folder);
	snprintf(vm->name, sizeof(vm->name), "%s", options->name);
	vm->pid = fork();
	if (vm->pid == 0)
		run_qemu(vm, options);
	vm->qmp = connect_to(vm, "qmp");
	vm->console = connect_to(vm, "console");
	vm_harness_do(vm, "qmp_capabilities", NULL, -1);
}

void vm_harness_kill(struct vm_harness *vm)
{
	if (vm->pid <= 0)
		return;
	kill(vm->pid, SIGKILL);
	waitpid(vm->pid, NULL, 0);
	close(vm->qmp);
	close(vm->console);
	json_decref(vm->events);
	free(vm->qmp_in);
	free(vm->console_in);
	vm->pid = 0;
}

/* ---- Lines ---------------------------------------------------------------------------------------------------- */

/* The next line of a socket into a new string; NULL when the time is over. */
static char *next_line(const struct vm_harness *vm, int fd, char *in, size_t *len,
		       uint64_t until_ms)
{
	for (;;) {
		char *end = memchr(in, '\n', *len);
		struct pollfd p = { .fd = fd, .events = POLLIN };
		uint64_t now = clock_now_ms();
		ssize_t n;

		if (end) {
			size_t used = (size_t)(end - in) + 1;
			char *line = strndup(in, used - 1);

			memmove(in, in + used, *len - used);
			*len -= used;
			return line;
		}
		if (now >= until_ms || poll(&p, 1, (int)(until_ms - now)) == 0)
			return NULL;
		n = read(fd, in + *len, LINE_MAX_LEN - *len);
		if (n <= 0)
			die(vm, "QEMU is gone");
		*len += (size_t)n;
	}
}

/* ---- QMP ------------------------------------------------------------------------------------------------------ */

/* The next message; events are kept. NULL: time is over. */
static json_t *next_answer(struct vm_harness *vm, uint64_t until_ms)
{
	for (;;) {
		CLEANUP_FREE char *line =
			next_line(vm, vm->qmp, vm->qmp_in, &vm->qmp_len, until_ms);
		json_t *m;

		if (!line)
			return NULL;
		m = json_loads(line, 0, NULL);
		if (json_object_get(m, "return") || json_object_get(m, "error"))
			return m;
		if (json_object_get(m, "event"))
			json_array_append(vm->events, m);
		json_decref(m);
	}
}

json_t *vm_harness_try(struct vm_harness *vm, const char *command, json_t *arguments, int fd)
{
	json_t *order = json_pack("{s:s}", "execute", command), *answer;
	struct err err = { 0 };
	char *text;

	if (arguments)
		json_object_set_new(order, "arguments", arguments);
	text = json_dumps(order, JSON_COMPACT);
	if (unix_socket_send_line(vm->qmp, text, &fd, fd >= 0, &err) < 0)
		die(vm, "%s", err_text(&err));
	free(text);
	json_decref(order);
	answer = next_answer(vm, clock_now_ms() + QMP_MS);
	if (!answer)
		die(vm, "%s: no answer", command);
	return answer;
}

void vm_harness_do(struct vm_harness *vm, const char *command, json_t *arguments, int fd)
{
	json_t *answer = vm_harness_try(vm, command, arguments, fd);
	const char *text =
		json_string_value(json_object_get(json_object_get(answer, "error"), "desc"));

	if (text)
		die(vm, "%s: %s", command, text);
	json_decref(answer);
}

void vm_harness_capability(struct vm_harness *vm, const char *name, bool on)
{
	vm_harness_do(
		vm, "migrate-set-capabilities",
		json_pack("{s:[{s:s,s:b}]}", "capabilities", "capability", name, "state", (int)on),
		-1);
}

const char *vm_harness_status(struct vm_harness *vm, const char *query)
{
	static _Thread_local char status[32];
	json_t *answer = vm_harness_try(vm, query, NULL, -1);
	const char *text =
		json_string_value(json_object_get(json_object_get(answer, "return"), "status"));

	snprintf(status, sizeof(status), "%s", text ? text : "");
	json_decref(answer);
	return status;
}

bool vm_harness_wait_status(struct vm_harness *vm, const char *query, const char *want,
			    unsigned timeout_ms)
{
	uint64_t until = clock_now_ms() + timeout_ms;

	while (strcmp(vm_harness_status(vm, query), want) != 0) {
		if (clock_now_ms() >= until)
			return false;
		clock_sleep_ms(5);
	}
	return true;
}

bool vm_harness_wait_event(struct vm_harness *vm, const char *event, unsigned timeout_ms)
{
	uint64_t until = clock_now_ms() + timeout_ms;
	json_t *e;

	for (;;) {
		size_t i;

		json_array_foreach (vm->events, i, e) {
			if (strcmp(json_string_value(json_object_get(e, "event")), event) == 0) {
				json_array_remove(vm->events, i);
				return true;
			}
		}
		CLEANUP_FREE char *line = next_line(vm, vm->qmp, vm->qmp_in, &vm->qmp_len, until);
		if (!line)
			return false;
		e = json_loads(line, 0, NULL);
		if (json_object_get(e, "event"))
			json_array_append(vm->events, e);
		json_decref(e);
	}
}

/* ---- The console ---------------------------------------------------------------------------------------------- */

static unsigned long long number(const char *line, const char *word)
{
	const char *p = strstr(line, word);

	return p ? strtoull(p + strlen(word), NULL, 10) : 0;
}

bool vm_harness_line(struct vm_harness *vm, struct vm_harness_line *out, unsigned timeout_ms)
{
	uint64_t until = clock_now_ms() + timeout_ms;

	for (;;) {
		CLEANUP_FREE char *line =
			next_line(vm, vm->console, vm->console_in, &vm->console_len, until);
		const char *load = line ? strstr(line, "load ") : NULL;

		if (!line)
			return false;
		if (load && strncmp(load, "load bad", 8) == 0)
			fprintf(stderr, "%s: %s\n", vm->name, line);
		/* A line that was cut by the snapshot or lost its beginning is none. */
		if (!load || sscanf(load, "load n=%llu run=%31[0-9a-f]", &out->n, out->run) != 2 ||
		    !strstr(load, " disk_bad="))
			continue;
		out->at_us = clock_now_us();
		out->bad = number(load, " bad=");
		out->disk_bad = number(load, " disk_bad=");
		out->passes = number(load, " passes=");
		out->checked = number(load, " checked=");
		out->acked = number(load, " acked=");
		out->written = number(load, " written=");
		return true;
	}
}

void vm_harness_skip(struct vm_harness *vm)
{
	struct vm_harness_line line;

	while (vm_harness_line(vm, &line, 1))
		;
}
