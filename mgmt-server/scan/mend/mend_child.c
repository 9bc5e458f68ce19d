#include "mgmt-server/scan/mend/mend_child.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/io.h"
#include "mgmt-server/scan/child.h"

enum { SILENCE_MAX_S = 15 * 60 };

struct server {
	const struct mend_child *child;
	int fd;
};

static void *serve(void *arg)
{
	struct server *s = arg;
	struct err err = { 0 };

	volume_channel_serve_writable(s->fd, s->child->volume, s->child->write, &err);
	shutdown(s->fd, SHUT_RDWR);
	return NULL;
}

static pid_t start(const struct mend_child *c, int volume, int entry, struct err *err)
{
	CLEANUP_FREE char *program = io_printf("%s/%s", c->libexec, c->program);
	int fds[] = { volume, entry, c->content };
	char offset[24], length[24];
	const char *argv[] = { program, offset, length, c->mode, c->path, NULL };

	if (!program)
		return err_set(err, ENOMEM, "start %s", c->program);
	snprintf(offset, sizeof(offset), "%llu", (unsigned long long)c->offset);
	snprintf(length, sizeof(length), "%llu", (unsigned long long)c->length);
	return child_start_apart(argv, fds, c->content ? 3 : 2, err);
}

static int take_entries(const struct mend_child *c, int fd, struct content_room *room,
			mend_child_entry_fn *fn, void *arg, struct err *err)
{
	const struct entry_receiver from = { .fd = fd, .room = room };
	CLEANUP_FREE char *buf = malloc(ENTRY_CHANNEL_MESSAGE_MAX);

	if (!buf)
		return err_set(err, ENOMEM, "listen to %s", c->program);
	for (;;) {
		struct entry e = { .content = -1 };
		int r = entry_channel_receive(&from, buf, &e, err);

		if (r == ENTRY_CHANNEL_CLOSED)
			return err_say(err, EIO, "%s ended before it was done", c->program);
		if (r < 0)
			return err_wrap(err, r, "%s", c->program);
		if (e.kind == ENTRY_FAILED)
			return err_say(err, EPERM, "%.*s", (int)e.reason_len, e.reason);
		if (e.kind == ENTRY_DONE)
			return 0;
		r = fn ? fn(arg, &e, err) : 0;
		base_close(e.content);
		content_room_give(room, e.held);
		if (r < 0)
			return r;
	}
}

static int run(const struct mend_child *c, const int *volume, const int *entry,
	       mend_child_entry_fn *fn, void *arg, struct err *err)
{
	struct timeval silence = { .tv_sec = SILENCE_MAX_S };
	struct server server = { .child = c, .fd = volume[0] };
	pid_t pid = start(c, volume[1], entry[1], err);
	struct content_room room;
	pthread_t thread;
	int r;

	close(volume[1]);
	close(entry[1]);
	if (pid < 0)
		return (int)pid;
	setsockopt(entry[0], SOL_SOCKET, SO_RCVTIMEO, &silence, sizeof(silence));
	r = -pthread_create(&thread, NULL, serve, &server);
	if (r < 0) {
		child_end(pid, 1);
		return err_set(err, -r, "serve a volume");
	}
	content_room_init(&room, 0, NULL);
	r = take_entries(c, entry[0], &room, fn, arg, err);
	content_room_deinit(&room);
	shutdown(volume[0], SHUT_RDWR);
	pthread_join(thread, NULL);
	child_end(pid, 1);
	return r;
}

int mend_child_run(const struct mend_child *c, mend_child_entry_fn *fn, void *arg, struct err *err)
{
	int volume[2], entry[2], r;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, volume) < 0)
		return err_set(err, errno, "start %s", c->program);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, entry) < 0) {
		close(volume[0]);
		close(volume[1]);
		return err_set(err, errno, "start %s", c->program);
	}
	r = run(c, volume, entry, fn, arg, err);
	close(volume[0]);
	close(entry[0]);
	return r;
}
