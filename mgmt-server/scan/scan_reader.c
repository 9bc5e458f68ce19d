#include "mgmt-server/scan/scan_reader.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/io.h"
#include "mgmt-server/scan/child.h"
#include "mgmt-server/scan/reader.h"
#include "mgmt-server/scan/scan_index.h"

/* A reader that says nothing for so long is stuck, whatever the bytes made it do. */
enum { SILENCE_MAX_S = 15 * 60 };

struct running {
	const struct scan_reader *order;
	int volume_fd, entry_fd; /* our ends */
	pid_t pid;
	bool finished; /* ENTRY_DONE or ENTRY_FAILED came */
	struct scan_reader_said said;
	/* Of the content that was received last. */
	bool has_identity;
	uint8_t identity[CONTENT_IDENTITY_LEN];
	uint8_t sha256[CONTENT_CACHE_SHA256_LEN]; /* when it is known, as is the verdict */
	struct engine_reply reply;
};

struct server {
	int fd;
	const struct volume_input *input;
};

static void *serve(void *arg)
{
	struct server *server = arg;
	struct err err = { 0 };

	/* A reader that asks for nonsense gets no more answers and ends. */
	volume_channel_serve(server->fd, server->input, &err);
	shutdown(server->fd, SHUT_RDWR);
	return NULL;
}

static int start(struct running *run, struct err *err)
{
	const struct scan_reader *o = run->order;
	CLEANUP_FREE char *program = io_printf("%s/%s", o->scan->order->libexec, o->program);
	char offset[24], length[24];
	bool tell = o->part && !o->input_fd; /* the micro-VM's reader takes everything */
	const char *argv[7] = { program, offset, length };
	size_t argc = 3;
	CLEANUP_FD int known = tell ? scan_index_known(o->part, err) : -1;
	struct timeval silence = { .tv_sec = SILENCE_MAX_S };
	int volume[2], entry[2], fds[3];

	if (tell && known < 0)
		return known;
	if (!program)
		return err_set(err, ENOMEM, "start %s", o->program);
	if (o->scan->order->deleted)
		argv[argc++] = "deleted";
	if (tell)
		argv[argc++] = "known";
	if (o->may_leave)
		argv[argc++] = "kernel";
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
	if (o->input_fd) {
		close(volume[1]);
		volume[1] = fcntl(o->input_fd, F_DUPFD_CLOEXEC, 0);
	}
	setsockopt(run->entry_fd, SOL_SOCKET, SO_RCVTIMEO, &silence, sizeof(silence));
	fds[0] = volume[1];
	fds[1] = entry[1];
	fds[2] = known;
	run->pid = child_start_apart(argv, fds, tell ? 3 : 2, err);
	close(volume[1]);
	close(entry[1]);
	return run->pid < 0 ? (int)run->pid : 0;
}

/* Names are bytes; a NUL, which only a damaged directory can hold, would end the text too early. */
static char *text_of(const char *bytes, size_t len)
{
	char *text = malloc(len + 1);

	if (!text)
		return NULL;
	memcpy(text, bytes, len);
	text[len] = 0;
	for (size_t i = 0; i < len; i++) {
		if (!text[i])
			text[i] = '\n';
	}
	return text;
}

static struct scan_content *content_of(const struct running *run, struct entry *e)
{
	const struct scan_reader *o = run->order;
	struct scan_content *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	*c = (struct scan_content){
		.scan = o->scan,
		.volume = strdup(o->volume->name),
		.partition = strdup(o->partition),
		.path = text_of(e->path, e->path_len),
		.stream = text_of(e->stream, e->stream_len),
		.inode = e->inode,
		.size = e->size,
		.flags = e->flags,
		.part = o->part,
		.has_digest = (e->flags & READER_HAS_DIGEST) != 0,
		.memory = o->memory,
		.has_identity = run->has_identity,
		.fd = TAKE_FD(e->content),
		.received = e->received,
		.held = e->held,
	};
	e->held = 0;
	memcpy(c->digest, e->digest, sizeof(c->digest));
	memcpy(c->identity, run->identity, sizeof(c->identity));
	if (!c->volume || !c->partition || !c->path || !c->stream) {
		scan_content_free(c);
		return NULL;
	}
	return c;
}

static void same_seen(void *arg, const struct scan_index_file *file)
{
	const struct scan_reader *o = arg;

	scan_content_same(o->scan, o->volume->name, o->partition, file);
}

/* A file that is as it was. What the reader says of it is not needed any more than its path. */
static int unchanged_seen(const struct running *run, const struct entry *e, struct err *err)
{
	const struct scan_reader *o = run->order;
	CLEANUP_FREE char *path = text_of(e->path, e->path_len);
	int r = !path     ? -ENOMEM
		: o->part ? scan_index_same(o->part, e->inode, path, same_seen, (void *)o)
			  : -ENOENT;

	if (r == -ENOENT) {
		scan_incomplete(o->scan, "unreadable: %s %s %s: %s took it for known",
				o->volume->name, o->partition, path, o->program);
		return 0;
	}
	return r < 0 ? err_set(err, -r, "take in a file") : 0;
}

static int file_seen(const struct running *run, struct entry *e, struct err *err)
{
	struct scan *s = run->order->scan;
	struct scan_content *c;
	struct scan_file file;
	int r = 0;

	if (run->said.leaves) {
		scan_incomplete(s, "unreadable: %s %s: %s reported a file that it left to another",
				run->order->volume->name, run->order->partition,
				run->order->program);
		return 0;
	}
	if (e->flags & READER_UNCHANGED)
		return unchanged_seen(run, e, err);
	c = content_of(run, e);
	if (!c)
		return err_set(err, ENOMEM, "take in a file");
	if (c->flags & (READER_UNREADABLE | READER_TRUNCATED | READER_ENCRYPTED))
		scan_incomplete(s, "%s: %s %s %s%s%s: %.*s",
				c->flags & READER_ENCRYPTED ? "encrypted" : "unreadable", c->volume,
				c->partition, c->path, c->stream[0] ? ":" : "", c->stream,
				(int)e->reason_len, e->reason);
	if (e->known) {
		scan_content_known(c, run->sha256, &run->reply);
		return 0;
	}
	if (c->fd >= 0) {
		r = task_pool_submit(s->pool, scan_content_task, c);
		if (r < 0)
			scan_content_free(c);
		return r < 0 ? err_set(err, -r, "scan a file") : 0;
	}
	file = scan_content_file(c);
	scan_file_seen(s, &file);
	r = c->part && !(c->flags & READER_DELETED) ? scan_index_problem(c->part, c->inode) : 0;
	scan_content_free(c);
	return r < 0 ? err_set(err, -r, "take in a file") : 0;
}

/* Once files were reported it is too late: they would be reported twice. */
static int leaves_seen(struct running *run)
{
	const struct scan_reader *o = run->order;

	if (!o->may_leave || run->said.files)
		scan_incomplete(o->scan, "unreadable: %s %s: %s leaves it to nobody",
				o->volume->name, o->partition, o->program);
	else
		run->said.leaves = true;
	return 0;
}

static int entry_seen(struct running *run, struct entry *e, struct err *err)
{
	const struct scan_reader *o = run->order;

	switch (e->kind) {
	case ENTRY_FILE:
		run->said.files++;
		return file_seen(run, e, err);
	case ENTRY_KERNEL:
		return leaves_seen(run);
	case ENTRY_PARTITION:
		if (o->partition_seen)
			return o->partition_seen(o->arg, e, err);
		scan_incomplete(o->scan, "unreadable: %s %s: %s reported a partition",
				o->volume->name, o->partition, o->program);
		return 0;
	case ENTRY_INCOMPLETE:
		run->said.lost++;
		scan_incomplete(o->scan, "unreadable: %s %s: %.*s", o->volume->name, o->partition,
				(int)e->reason_len, e->reason);
		return 0;
	case ENTRY_FAILED:
		run->said.lost++;
		scan_incomplete(o->scan, "unreadable: %s %s: %s: %.*s", o->volume->name,
				o->partition, o->program, (int)e->reason_len, e->reason);
		run->finished = true;
		return 0;
	case ENTRY_DONE:
		run->finished = true;
		return 0;
	case ENTRY_DATA: /* these are never handed out */
	case ENTRY_RUNS:
		return 0;
	}
	return 0;
}

/* Memory has no files, and the micro-VM's reader sees another volume than we do: those send bytes. */
static int open_source(const struct scan_reader *o, struct content_source **source, struct err *err)
{
	return o->memory || o->input_fd
		       ? 0
		       : content_source_open(source, &o->volume->input, o->offset, o->length, err);
}

/* Did an earlier scan read and scan the same content, by what the tree of the volume says of it? Only then it is not read. */
static bool content_known(void *arg, const struct entry *e, const struct content_runs *runs)
{
	struct running *run = arg;
	const struct scan_reader *o = run->order;
	const struct scan *s = o->scan;
	struct err unread = { 0 };

	run->has_identity = !(e->flags & ~(uint32_t)READER_HAS_DIGEST) &&
			    content_identity(&o->volume->chunks, o->offset, runs, e->size,
					     run->identity, &unread) == 0;
	return run->has_identity &&
	       identity_memo_find(s->identities, run->identity, e->size, run->sha256) &&
	       content_cache_find(s->cache, run->sha256, e->size, &run->reply);
}

static int take_entries(struct running *run, struct err *err)
{
	const struct scan_reader *o = run->order;
	CLEANUP(content_source_close) struct content_source *source = NULL;
	CLEANUP_FREE char *buf = malloc(ENTRY_CHANNEL_MESSAGE_MAX);
	struct entry_receiver from = { .fd = run->entry_fd, .room = &o->scan->room, .arg = run };
	struct err fault = { 0 };
	int r = open_source(o, &source, err);

	if (!buf || r < 0)
		return r < 0 ? r : err_set(err, ENOMEM, "listen to %s", o->program);
	from.source = source;
	if (o->scan->identities && o->volume->chunks.ids)
		from.known = content_known;
	for (;;) {
		struct entry e = { .content = -1 };

		run->has_identity = false;
		r = entry_channel_receive(&from, buf, &e, &fault);

		if (r == ENTRY_CHANNEL_CLOSED)
			return 0;
		if (r == -ECANCELED)
			return r;
		if (r < 0) {
			scan_incomplete(o->scan, "unreadable: %s %s: %s: %s", o->volume->name,
					o->partition, o->program,
					r == -EAGAIN ? "it hung and was ended" : err_text(&fault));
			run->said.lost++;
			run->finished = true; /* the reason is said */
			return 0;
		}
		r = entry_seen(run, &e, err);
		base_close(e.content);
		content_room_give(&o->scan->room, e.held);
		if (r < 0)
			return r;
		if (o->scan->order->cancel && atomic_load(o->scan->order->cancel))
			return -ECANCELED;
	}
}

static void say_how_it_ended(const struct running *run, int status)
{
	const struct scan_reader *o = run->order;

	if (WIFSIGNALED(status))
		scan_incomplete(o->scan, "unreadable: %s %s: %s was ended by signal %d (%s)",
				o->volume->name, o->partition, o->program, WTERMSIG(status),
				strsignal(WTERMSIG(status)));
	else
		scan_incomplete(o->scan,
				"unreadable: %s %s: %s ended with status %d before it was done",
				o->volume->name, o->partition, o->program, WEXITSTATUS(status));
}

int scan_reader_run(const struct scan_reader *order, struct err *err)
{
	struct running run = { .order = order, .volume_fd = -1, .entry_fd = -1, .pid = -1 };
	struct server server;
	pthread_t thread;
	int r, status, waited;

	r = start(&run, err);
	if (r == 0) {
		server = (struct server){ .fd = run.volume_fd, .input = &order->volume->input };
		r = -pthread_create(&thread, NULL, serve, &server);
		if (r < 0)
			child_end(run.pid, 1);
	}
	if (r < 0) {
		base_close(run.volume_fd);
		base_close(run.entry_fd);
		return err_wrap(err, r, "read %s", order->volume->name);
	}
	r = take_entries(&run, err);
	waited = task_pool_wait(order->scan->pool, NULL);
	shutdown(run.volume_fd, SHUT_RDWR);
	pthread_join(thread, NULL);
	status = child_end(run.pid, 1);
	if (r == 0 && !run.finished)
		say_how_it_ended(&run, status);
	run.said.lost += !run.finished;
	if (order->said)
		*order->said = run.said;
	base_close(run.volume_fd);
	base_close(run.entry_fd);
	return r < 0 ? r : waited;
}
