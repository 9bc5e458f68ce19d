#include "mgmt-server/scan/watch_reader.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "common/io.h"
#include "mgmt-server/scan/child.h"
#include "mgmt-server/scan/volume_channel.h"

enum { SILENCE_MAX_S = 15 * 60 };

struct running {
	const struct watch_reader *order;
	int volume_fd, entry_fd; /* our ends */
	pid_t pid;
};

static void *serve(void *arg)
{
	const struct running *run = arg;
	struct err err = { 0 };

	volume_channel_serve(run->volume_fd, run->order->input, &err);
	shutdown(run->volume_fd, SHUT_RDWR);
	return NULL;
}

static int start(struct running *run, struct err *err)
{
	const struct watch_reader *o = run->order;
	CLEANUP_FREE char *program = io_printf("%s/%s", o->libexec, o->program);
	CLEANUP_FD int known = o->known ? known_files_send(o->known, err) : -1;
	char offset[24], length[24];
	const char *argv[] = { program, offset, length, o->known ? "known" : NULL, NULL };
	struct timeval silence = { .tv_sec = SILENCE_MAX_S };
	int volume[2], entry[2], fds[3];

	if (!program || (o->known && known < 0))
		return program ? known : err_set(err, ENOMEM, "start %s", o->program);
	snprintf(offset, sizeof(offset), "%llu", (unsigned long long)o->offset);
	snprintf(length, sizeof(length), "%llu", (unsigned long long)o->length);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, volume) < 0)
		return err_set(err, errno, "start %s", o->program);
	run->volume_fd = volume[0];
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, entry) < 0) {
		close(volume[1]);
		return err_set(err, errno, "start %s", o->program);
	}
	run->entry_fd = entry[0];
	setsockopt(run->entry_fd, SOL_SOCKET, SO_RCVTIMEO, &silence, sizeof(silence));
	fds[0] = volume[1];
	fds[1] = entry[1];
	fds[2] = known;
	run->pid = child_start_apart(argv, fds, o->known ? 3 : 2, err);
	close(volume[1]);
	close(entry[1]);
	return run->pid < 0 ? (int)run->pid : 0;
}

static int take(const struct running *run, const struct entry *e, bool *done, struct err *err)
{
	const struct watch_reader *o = run->order;

	switch (e->kind) {
	case ENTRY_FILE:
	case ENTRY_PARTITION:
		return o->seen(o->arg, e, err);
	case ENTRY_DATA: /* these are never handed out */
	case ENTRY_RUNS:
	case ENTRY_KERNEL:     /* no reader was told that there is one */
	case ENTRY_INCOMPLETE: /* a part of it; what can be read is worth looking at */
		return 0;
	case ENTRY_FAILED:
		err_say(err, EBADMSG, "%s: %.*s", o->program, (int)e->reason_len, e->reason);
		return WATCH_READER_UNREADABLE;
	case ENTRY_DONE:
		*done = true;
		return 0;
	}
	return 0;
}

static int take_entries(const struct running *run, struct content_room *room, struct err *err)
{
	const struct watch_reader *o = run->order;
	CLEANUP(content_source_close) struct content_source *source = NULL;
	CLEANUP_FREE char *buf = malloc(ENTRY_CHANNEL_MESSAGE_MAX);
	struct entry_receiver from = { .fd = run->entry_fd, .room = room };
	bool done = false;
	int r = buf ? content_source_open(&source, o->input, o->offset, o->length, err)
		    : err_set(err, ENOMEM, "listen to %s", o->program);

	from.source = source;
	while (r == 0 && !done) {
		struct entry e = { .content = -1 };

		r = entry_channel_receive(&from, buf, &e, err);
		if (r) {
			if (r == ENTRY_CHANNEL_CLOSED || r == -EAGAIN)
				err_say(err, EPIPE, "%s ended or hung before it was done",
					run->order->program);
			return r == -ECANCELED ? r : WATCH_READER_UNREADABLE;
		}
		r = take(run, &e, &done, err);
		base_close(e.content);
		content_room_give(room, e.held);
		if (r == 0 && run->order->cancel && atomic_load(run->order->cancel))
			return -ECANCELED;
	}
	return r;
}

int watch_reader_run(const struct watch_reader *order, struct err *err)
{
	struct running run = { .order = order, .volume_fd = -1, .entry_fd = -1, .pid = -1 };
	struct content_room room;
	pthread_t thread;
	int r = start(&run, err);

	if (r == 0) {
		r = -pthread_create(&thread, NULL, serve, &run);
		if (r < 0)
			child_end(run.pid, 1);
	}
	if (r == 0) {
		content_room_init(&room, 0, order->cancel);
		r = take_entries(&run, &room, err);
		content_room_deinit(&room);
		shutdown(run.volume_fd, SHUT_RDWR);
		pthread_join(thread, NULL);
		child_end(run.pid, 1);
	}
	base_close(run.volume_fd);
	base_close(run.entry_fd);
	return r;
}
