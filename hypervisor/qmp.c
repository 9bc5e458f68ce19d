#include "hypervisor/qmp.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/io.h"
#include "common/unix_socket.h"
#include "hypervisor/deadline.h"
#include "hypervisor/qmp_message.h"

/* A reply that somebody waits for. Lives in qmp->waiters from before the command is sent until it is collected. */
struct waiter {
	struct waiter *next;
	uint64_t id;
	bool done;
	json_t *body;       /* owned; NULL after an error */
	char error[256];    /* "" after success */
	int wake_fd;        /* of its batch, not owned; -1: none */
	size_t *batch_open; /* how many of the batch have no reply yet */
};

struct qmp {
	int fd;
	struct qmp_handlers handlers;
	pthread_t reader;
	pthread_mutex_t send_lock; /* one write at a time: taken before lock */
	pthread_mutex_t lock;      /* waiters, closed, next_id */
	pthread_cond_t changed;
	struct waiter *waiters;
	bool closed;
	uint64_t next_id;
};

static void wake(int fd)
{
	uint64_t one = 1;

	if (fd >= 0 && write(fd, &one, sizeof(one)) < 0)
		assert(errno == EAGAIN); /* it is readable already */
}

static void settle(struct waiter *w, json_t *body, const char *error)
{
	w->done = true;
	w->body = json_incref(body);
	snprintf(w->error, sizeof(w->error), "%s", error);
	if (w->batch_open && (--*w->batch_open == 0 || error[0]))
		wake(w->wake_fd);
}

static void on_reply(struct qmp *qmp, const struct qmp_message *m)
{
	struct waiter *w;

	pthread_mutex_lock(&qmp->lock);
	for (w = qmp->waiters; w && w->id != m->id; w = w->next)
		;
	/* Without a waiter it answers qmp_tell, or somebody who gave up. */
	if (w && !w->done)
		settle(w, m->kind == QMP_MESSAGE_RETURN ? m->body : NULL,
		       m->kind == QMP_MESSAGE_ERROR ? m->text : "");
	pthread_cond_broadcast(&qmp->changed);
	pthread_mutex_unlock(&qmp->lock);
}

static void end_connection(struct qmp *qmp)
{
	struct waiter *w;

	pthread_mutex_lock(&qmp->lock);
	qmp->closed = true;
	for (w = qmp->waiters; w; w = w->next)
		wake(w->wake_fd);
	pthread_cond_broadcast(&qmp->changed);
	pthread_mutex_unlock(&qmp->lock);
	if (qmp->handlers.closed)
		qmp->handlers.closed(qmp->handlers.arg);
}

static int read_message(struct unix_socket_lines *lines, int timeout_ms, struct qmp_message *m,
			struct err *err)
{
	char *line;
	int r = unix_socket_read_line(lines, timeout_ms, &line, NULL, NULL, err);

	if (r == UNIX_SOCKET_CLOSED)
		return err_say(err, EPIPE, "QEMU closed its control connection");
	if (r == UNIX_SOCKET_TIMEOUT)
		return err_say(err, ETIMEDOUT, "QEMU does not answer on its control connection");
	if (r < 0)
		return r;
	return qmp_message_parse(m, line, strlen(line), err);
}

static void *read_loop(void *arg)
{
	struct qmp *qmp = arg;
	struct unix_socket_lines lines = { .fd = qmp->fd };
	struct qmp_message m;
	struct err err = { .code = 0 };

	while (read_message(&lines, -1, &m, &err) == 0) {
		if (m.kind == QMP_MESSAGE_EVENT && qmp->handlers.event)
			qmp->handlers.event(qmp->handlers.arg, m.text, m.body, m.time_us);
		else if (m.kind == QMP_MESSAGE_RETURN || m.kind == QMP_MESSAGE_ERROR)
			on_reply(qmp, &m);
		qmp_message_deinit(&m);
	}
	unix_socket_lines_deinit(&lines);
	end_connection(qmp);
	return NULL;
}

/* The greeting and the end of capability negotiation, before there is a reader thread. Events may come in between. */
static int negotiate(struct qmp *qmp, struct err *err)
{
	struct unix_socket_lines lines = { .fd = qmp->fd };
	enum qmp_message_kind want = QMP_MESSAGE_GREETING;
	struct qmp_message m;
	int r;

	while ((r = read_message(&lines, QMP_TIMEOUT_MS, &m, err)) == 0) {
		enum qmp_message_kind kind = m.kind;

		qmp_message_deinit(&m);
		if (kind == QMP_MESSAGE_EVENT)
			continue;
		if (kind != want) {
			r = err_say(err, EBADMSG, "QMP: an unexpected message during the greeting");
			break;
		}
		if (want == QMP_MESSAGE_RETURN)
			break;
		want = QMP_MESSAGE_RETURN;
		r = unix_socket_send_line(qmp->fd, "{\"execute\":\"qmp_capabilities\"}", NULL, 0,
					  err);
		if (r < 0)
			break;
	}
	unix_socket_lines_deinit(&lines);
	return r;
}

static void release(struct qmp *qmp)
{
	base_close(qmp->fd);
	pthread_cond_destroy(&qmp->changed);
	pthread_mutex_destroy(&qmp->lock);
	pthread_mutex_destroy(&qmp->send_lock);
	free(qmp);
}

int qmp_open(struct qmp **out, int fd, const struct qmp_handlers *handlers, struct err *err)
{
	struct qmp *qmp = malloc(sizeof(*qmp));
	int r;

	if (!qmp) {
		base_close(fd);
		return err_set(err, ENOMEM, "connect to QEMU");
	}
	*qmp = (struct qmp){ .fd = fd, .handlers = *handlers, .next_id = 1 };
	pthread_mutex_init(&qmp->send_lock, NULL);
	pthread_mutex_init(&qmp->lock, NULL);
	deadline_init_cond(&qmp->changed);

	r = negotiate(qmp, err);
	if (r == 0) {
		r = -pthread_create(&qmp->reader, NULL, read_loop, qmp);
		if (r < 0)
			err_set(err, -r, "start the reader of QEMU's messages");
	}
	if (r < 0) {
		release(qmp);
		return r;
	}
	*out = qmp;
	return 0;
}

void qmp_close(struct qmp *qmp)
{
	if (!qmp)
		return;
	shutdown(qmp->fd, SHUT_RDWR);
	pthread_join(qmp->reader, NULL);
	assert(!qmp->waiters);
	release(qmp);
}

static char *command_text(const char *name, const json_t *arguments, uint64_t id)
{
	CLEANUP(json_decref)
	json_t *root = json_pack("{s:s, s:I}", "execute", name, "id", (json_int_t)id);

	if (!root || (arguments && json_object_set(root, "arguments", (json_t *)arguments) < 0))
		return NULL;
	return json_text(root);
}

static void add_waiters(struct qmp *qmp, struct waiter *w, size_t n)
{
	pthread_mutex_lock(&qmp->lock);
	for (size_t i = 0; i < n; i++) {
		w[i].id = qmp->next_id++;
		w[i].next = qmp->waiters;
		qmp->waiters = &w[i];
	}
	pthread_mutex_unlock(&qmp->lock);
}

/* With qmp->lock held. */
static void unlink_waiter(struct qmp *qmp, const struct waiter *w)
{
	struct waiter **at;

	for (at = &qmp->waiters; *at && *at != w; at = &(*at)->next)
		;
	if (*at)
		*at = w->next;
}

/* Wait for @w and take it off the list. */
static int await(struct qmp *qmp, struct waiter *w, const char *name, int timeout_ms,
		 struct err *err)
{
	struct timespec deadline = deadline_in(timeout_ms);
	int waited = 0, r = 0;

	pthread_mutex_lock(&qmp->lock);
	while (!w->done && !qmp->closed && waited != ETIMEDOUT)
		waited = pthread_cond_timedwait(&qmp->changed, &qmp->lock, &deadline);
	unlink_waiter(qmp, w);
	pthread_mutex_unlock(&qmp->lock);

	if (w->done && w->error[0])
		r = err_say(err, EREMOTEIO, "QEMU refused '%s': %s", name, w->error);
	else if (!w->done && qmp->closed)
		r = err_say(err, EPIPE, "QEMU went away during '%s'", name);
	else if (!w->done)
		r = err_say(err, ETIMEDOUT, "QEMU did not answer '%s' within %d ms", name,
			    timeout_ms);
	return r;
}

static int send_text(struct qmp *qmp, const char *text, const int *fds, size_t fd_count,
		     struct err *err)
{
	int r;

	pthread_mutex_lock(&qmp->send_lock);
	r = unix_socket_send_line(qmp->fd, text, fds, fd_count, err);
	pthread_mutex_unlock(&qmp->send_lock);
	return r < 0 ? err_wrap(err, r, "send a command to QEMU") : 0;
}

static int run(struct qmp *qmp, const char *name, json_t *arguments_, const int *fds,
	       size_t fd_count, json_t **out, struct err *err)
{
	CLEANUP(json_decref) json_t *arguments = arguments_;
	CLEANUP_FREE char *text = NULL;
	struct waiter w = { .wake_fd = -1 };
	int sent, r;

	add_waiters(qmp, &w, 1);
	text = command_text(name, arguments, w.id);
	sent = text ? send_text(qmp, text, fds, fd_count, err)
		    : err_set(err, ENOMEM, "QMP %s", name);
	r = await(qmp, &w, name, sent < 0 ? 0 : QMP_TIMEOUT_MS, sent < 0 ? NULL : err);
	if (sent < 0)
		r = sent;
	if (r == 0 && out)
		*out = json_incref(w.body);
	json_decref(w.body);
	return r;
}

int qmp_run(struct qmp *qmp, const char *name, json_t *arguments, json_t **out, struct err *err)
{
	return run(qmp, name, arguments, NULL, 0, out, err);
}

int qmp_run_fd(struct qmp *qmp, const char *name, json_t *arguments, int fd, struct err *err)
{
	return run(qmp, name, arguments, &fd, 1, NULL, err);
}

/* What a batch keeps while its replies are outstanding; the caller's struct only names it. */
struct qmp_batch_state {
	struct waiter waiters[QMP_BATCH_MAX];
	size_t open;
};

static int batch_text(const struct qmp_command *commands, const struct waiter *w, size_t n,
		      char **out)
{
	CLEANUP_FREE char *all = NULL;

	for (size_t i = 0; i < n; i++) {
		CLEANUP_FREE char *one =
			command_text(commands[i].name, commands[i].arguments, w[i].id);
		char *both;

		if (!one)
			return -ENOMEM;
		both = io_printf("%s%s%s", all ? all : "", all ? " " : "", one);
		if (!both)
			return -ENOMEM;
		free(all);
		all = both;
	}
	*out = TAKE(all);
	return 0;
}

static void drop_batch(struct qmp *qmp, struct qmp_batch *batch)
{
	if (!batch->state) {
		base_close(batch->wake_fd);
		return;
	}
	pthread_mutex_lock(&qmp->lock);
	for (size_t i = 0; i < batch->count; i++)
		unlink_waiter(qmp, &batch->state->waiters[i]);
	pthread_mutex_unlock(&qmp->lock);
	for (size_t i = 0; i < batch->count; i++)
		json_decref(batch->state->waiters[i].body);
	free(batch->state);
	base_close(batch->wake_fd);
	*batch = (struct qmp_batch){ .wake_fd = -1 };
}

int qmp_post(struct qmp *qmp, const struct qmp_command *commands, size_t n, struct qmp_batch *batch,
	     struct err *err)
{
	CLEANUP_FREE char *text = NULL;
	int r;

	assert(n > 0 && n <= QMP_BATCH_MAX);
	*batch = (struct qmp_batch){ .wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) };
	batch->state = calloc(1, sizeof(*batch->state));
	if (batch->wake_fd < 0 || !batch->state) {
		r = err_set(err, batch->state ? errno : ENOMEM, "prepare commands for QEMU");
		goto out;
	}
	batch->count = n;
	batch->state->open = n;
	for (size_t i = 0; i < n; i++) {
		batch->names[i] = commands[i].name;
		batch->state->waiters[i].wake_fd = batch->wake_fd;
		batch->state->waiters[i].batch_open = &batch->state->open;
	}
	add_waiters(qmp, batch->state->waiters, n);
	r = batch_text(commands, batch->state->waiters, n, &text);
	if (r < 0)
		err_set(err, -r, "prepare commands for QEMU");
	else
		r = send_text(qmp, text, NULL, 0, err);
out:
	for (size_t i = 0; i < n; i++)
		json_decref(commands[i].arguments);
	if (r < 0)
		drop_batch(qmp, batch);
	return r;
}

int qmp_collect(struct qmp *qmp, struct qmp_batch *batch, int timeout_ms, struct err *err)
{
	int first = 0;

	for (size_t i = 0; i < batch->count; i++) {
		int r = await(qmp, &batch->state->waiters[i], batch->names[i], timeout_ms,
			      first < 0 ? NULL : err);

		if (first == 0)
			first = r;
	}
	drop_batch(qmp, batch);
	return first;
}

int qmp_tell(struct qmp *qmp, const char *name)
{
	CLEANUP_FREE char *text = NULL;
	uint64_t id;

	pthread_mutex_lock(&qmp->lock);
	id = qmp->next_id++;
	pthread_mutex_unlock(&qmp->lock);
	text = command_text(name, NULL, id);
	return text ? send_text(qmp, text, NULL, 0, NULL) : -ENOMEM;
}
