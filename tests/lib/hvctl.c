/* hvctl.c - plays the agent on the hypervisor's socket, for tests.
 *
 *   hvctl SOCKET [--memory FILE] [--events] [REQUEST...]
 *
 * Sends each REQUEST (a JSON object; `id` is added) and prints its answer as one line: the object behind "ok", or the whole
 * {"error": …} with exit status 1. Without REQUEST they are read from stdin, one a line, on one connection: a
 * capture is open as long as that connection. A descriptor that comes with an answer is copied to FILE. --events prints
 * events too, until the connection ends or stdin does.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/json.h"
#include "common/unix_socket.h"

struct tool {
	struct unix_socket_lines socket;
	const char *memory_path;
	bool events;
	json_int_t next_id;
	int failed;
};

static _Noreturn void die(const struct err *err)
{
	fprintf(stderr, "hvctl: %s\n", err_text(err));
	exit(2);
}

static void print(const json_t *value)
{
	CLEANUP_FREE char *text = json_text(value);

	puts(text ? text : "out of memory");
	fflush(stdout);
}

/* The descriptor must be what the protocol promises: a sealed memfd. */
static void keep(const char *path, int fd)
{
	CLEANUP_FD int out = -1;
	struct err err;
	struct stat st;
	off_t at = 0;

	if (!path || fstat(fd, &st) < 0) {
		err_say(&err, EINVAL, "a descriptor came, but no --memory FILE was given");
		die(&err);
	}
	if ((fcntl(fd, F_GET_SEALS) & (F_SEAL_WRITE | F_SEAL_SHRINK)) !=
	    (F_SEAL_WRITE | F_SEAL_SHRINK)) {
		err_say(&err, EINVAL, "the memory stream is not sealed");
		die(&err);
	}
	out = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	while (out >= 0 && at < st.st_size) {
		if (sendfile(out, fd, &at, (size_t)(st.st_size - at)) <= 0) {
			err_set(&err, errno, "write %s", path);
			die(&err);
		}
	}
}

/* One line of the hypervisor. Return the answer's id, or -1 for an event. */
static json_int_t take_line(struct tool *t)
{
	CLEANUP(json_decref) json_t *root = NULL;
	int fds[UNIX_SOCKET_FDS_MAX], r;
	size_t n = 0;
	struct err err;
	char *line;
	const json_t *ok;

	r = unix_socket_read_line(&t->socket, -1, &line, fds, &n, &err);
	if (r == UNIX_SOCKET_CLOSED) {
		err_say(&err, EPIPE, "the hypervisor closed the connection");
		die(&err);
	}
	if (r < 0 || json_parse(&root, line, strlen(line), "an answer", &err) < 0)
		die(&err);
	for (size_t i = 0; i < n; i++) {
		keep(t->memory_path, fds[i]);
		close(fds[i]);
	}
	if (json_object_get(root, "event")) {
		if (t->events)
			print(root);
		return -1;
	}
	ok = json_object_get(root, "ok");
	t->failed |= !ok;
	print(ok ? ok : root);
	return json_integer_value(json_object_get(root, "id"));
}

static void ask(struct tool *t, const char *request)
{
	CLEANUP(json_decref) json_t *root = NULL;
	CLEANUP_FREE char *line = NULL;
	json_int_t id = ++t->next_id;
	struct err err;

	if (json_parse(&root, request, strlen(request), "the request", &err) < 0)
		die(&err);
	json_object_set_new(root, "id", json_integer(id));
	line = json_text(root);
	if (!line || unix_socket_send_line(t->socket.fd, line, NULL, 0, &err) < 0)
		die(&err);
	while (take_line(t) != id)
		;
}

static void follow_stdin(struct tool *t)
{
	struct pollfd polls[] = { { .fd = 0, .events = POLLIN },
				  { .fd = t->socket.fd, .events = POLLIN } };
	char *line = NULL;
	size_t cap = 0;

	setvbuf(stdin, NULL, _IONBF, 0); /* so that poll(2) sees every line */
	while (poll(polls, 2, -1) >= 0 || errno == EINTR) {
		if (polls[1].revents)
			take_line(t);
		if (!polls[0].revents)
			continue;
		if (getline(&line, &cap, stdin) < 0)
			break;
		if (line[0] != '\n')
			ask(t, line);
	}
	free(line);
}

int main(int argc, char **argv)
{
	struct tool t = { .next_id = 0 };
	struct err err;
	int i;

	if (argc < 2) {
		fputs("usage: hvctl SOCKET [--memory FILE] [--events] [REQUEST...]\n", stderr);
		return 2;
	}
	t.socket.fd = unix_socket_connect(argv[1], &err);
	if (t.socket.fd < 0)
		die(&err);
	for (i = 2; i < argc && strncmp(argv[i], "--", 2) == 0; i++) {
		if (strcmp(argv[i], "--events") == 0)
			t.events = true;
		else if (strcmp(argv[i], "--memory") == 0 && i + 1 < argc)
			t.memory_path = argv[++i];
	}
	if (i == argc)
		follow_stdin(&t);
	for (; i < argc; i++)
		ask(&t, argv[i]);
	unix_socket_lines_deinit(&t.socket);
	close(t.socket.fd);
	return t.failed;
}
