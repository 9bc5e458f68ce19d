#include "client-agent/hypervisor_client.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/unix_socket.h"

enum {
	CALL_TIMEOUT_MS = 30 * 1000,
	RECONNECT_MS = 250,
	ERRNO_MAX = 200,
	GREETING_ID = 0, /* calls have ids from 1 on */
};

/* A call that waits. It lives on its caller's stack and is in the list exactly while nobody has answered it. */
struct waiting {
	json_int_t id;
	json_t *reply; /* the whole reply line */
	int fd;
	bool over; /* answered, or the connection is gone (reply NULL) */
	struct waiting *next;
};

/* A call whose time was over before its answer came, if somebody has to undo what it may still do. */
struct late {
	json_int_t id;
	char *undo; /* a request */
	struct late *next;
};

struct hypervisor_client {
	char *path;
	pthread_t thread;
	bool thread_started;

	pthread_mutex_t lock; /* all below */
	pthread_cond_t changed;
	int fd;       /* -1: not connected */
	bool greeted; /* somebody answers there */
	bool stop;
	json_int_t last_id;
	uint64_t connections;
	struct waiting *waiting;
	struct late *
		late; /* of this connection: the hypervisor itself ends captures of one that is lost */

	pthread_mutex_t listen_lock; /* held while listeners run */
	struct hypervisor_listener *listeners;
};

static char *request_text(const char *op, const char *desktop, json_t *args, json_int_t id)
{
	CLEANUP(json_decref) json_t *request = NULL;

	request = args ? json_copy(args) : json_object();
	if (!request || json_object_set_new(request, "id", json_integer(id)) < 0 ||
	    json_object_set_new(request, "op", json_string(op)) < 0 ||
	    (desktop && json_object_set_new(request, "desktop", json_string(desktop)) < 0))
		return NULL;
	return json_text(request);
}

/* ---- The reader --------------------------------------------------------------------------------------------- */

static void tell_listeners(struct hypervisor_client *c, const char *event, const json_t *object)
{
	const char *desktop = object ? json_string_value(json_object_get(object, "desktop")) : NULL;
	struct hypervisor_listener *l;

	pthread_mutex_lock(&c->listen_lock);
	for (l = c->listeners; l; l = l->next) {
		if (!l->desktop || !desktop || strcmp(l->desktop, desktop) == 0)
			l->fn(l->arg, event, object);
	}
	pthread_mutex_unlock(&c->listen_lock);
}

static void late_free(struct late *late)
{
	free(late->undo);
	free(late);
}

/* A part of a line may be out: what is sent behind it would be read as its end. The reader ends the connection, and with
 * it what waits for answers on it. The lock is held. */
static void cut(struct hypervisor_client *c)
{
	c->greeted = false;
	shutdown(c->fd, SHUT_RDWR);
}

/* The lock is held. */
static void undo_late(struct hypervisor_client *c, json_int_t id, bool ok)
{
	struct err err = { 0 };
	struct late **at, *late;

	for (at = &c->late; *at && (*at)->id != id;)
		at = &(*at)->next;
	late = *at;
	if (!late)
		return;
	*at = late->next;
	if (ok) {
		log_warning("the hypervisor answered after the time limit; it is undone: %s",
			    late->undo);
		if (unix_socket_send_line(c->fd, late->undo, NULL, 0, &err) < 0) {
			log_warning("the connection to the hypervisor is cut: %s", err_text(&err));
			cut(c);
		}
	}
	late_free(late);
}

/*
 * A hypervisor that was killed still takes connections while its last thread goes, so only an answer shows that one is
 * there. Calls wait for it.
 */
static void greeted(struct hypervisor_client *c)
{
	log_info("connected to the hypervisor socket=%s", c->path);
	pthread_mutex_lock(&c->lock);
	c->greeted = true;
	c->connections++;
	pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->lock);
	tell_listeners(c, "reconnected", NULL);
}

static void answer(struct hypervisor_client *c, json_t *reply, int *fd)
{
	const json_t *id = json_object_get(reply, "id");
	struct waiting **at, *w;

	if (json_is_integer(id) && json_integer_value(id) == GREETING_ID) {
		greeted(c);
		return;
	}
	pthread_mutex_lock(&c->lock);
	for (at = &c->waiting;
	     *at && !(json_is_integer(id) && (*at)->id == json_integer_value(id));)
		at = &(*at)->next;
	w = *at;
	if (w) {
		*at = w->next;
		w->reply = json_incref(reply);
		w->fd = TAKE_FD(*fd);
		w->over = true;
		pthread_cond_broadcast(&c->changed);
	} else if (json_is_integer(id)) {
		undo_late(c, json_integer_value(id), json_object_get(reply, "ok") != NULL);
	}
	pthread_mutex_unlock(&c->lock);
	if (!w)
		log_debug("a reply that nobody waits for any more came from the hypervisor");
}

static int take_line(struct hypervisor_client *c, const char *line, int *fd, struct err *err)
{
	CLEANUP(json_decref) json_t *object = NULL;
	const char *event;
	int r;

	r = json_parse(&object, line, strlen(line), "a line of the hypervisor", err);
	if (r < 0)
		return r;
	if (!json_is_object(object))
		return err_say(err, EINVAL, "a line of the hypervisor is no object");
	event = json_string_value(json_object_get(object, "event"));
	if (event)
		tell_listeners(c, event, object);
	else
		answer(c, object, fd);
	return 0;
}

/* Greet and read until the connection ends, for whatever reason. */
static void read_connection(struct hypervisor_client *c, int fd)
{
	struct unix_socket_lines lines = { .fd = fd };
	CLEANUP_FREE char *greeting = request_text("hello", NULL, NULL, GREETING_ID);
	struct err err = { 0 };
	int r = greeting ? unix_socket_send_line(fd, greeting, NULL, 0, &err)
			 : err_set(&err, ENOMEM, "greet the hypervisor");

	while (r == 0) {
		int fds[UNIX_SOCKET_FDS_MAX];
		size_t n = 0, i;
		char *line;

		r = unix_socket_read_line(&lines, -1, &line, fds, &n, &err);
		if (r != 0)
			break;
		r = take_line(c, line, n > 0 ? &fds[0] : &(int){ -1 }, &err);
		for (i = 0; i < n; i++)
			base_close(fds[i]);
	}
	unix_socket_lines_deinit(&lines);
	if (r < 0 && r != -EPIPE)
		log_warning("connection to the hypervisor lost: %s", err_text(&err));
}

static void set_connection(struct hypervisor_client *c, int fd)
{
	struct waiting *w, *next;

	pthread_mutex_lock(&c->lock);
	if (fd < 0)
		base_close(c->fd);
	else if (c->stop) /* whoever stops us saw the connection before this one */
		shutdown(fd, SHUT_RDWR);
	c->fd = fd;
	c->greeted = false;
	while (fd < 0 && c->late) {
		struct late *late = c->late;

		c->late = late->next;
		late_free(late);
	}
	for (w = fd < 0 ? c->waiting : NULL; w; w = next) {
		next = w->next;
		w->over = true;
	}
	if (fd < 0)
		c->waiting = NULL;
	pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->lock);
}

static void pause_before_reconnect(struct hypervisor_client *c)
{
	uint64_t end = clock_now_ms() + RECONNECT_MS;
	bool stop = false;

	while (!stop && clock_now_ms() < end) {
		clock_sleep_ms(20);
		pthread_mutex_lock(&c->lock);
		stop = c->stop;
		pthread_mutex_unlock(&c->lock);
	}
}

static void *reader(void *arg)
{
	struct hypervisor_client *c = arg;
	bool stop = false, complained = false;

	while (!stop) {
		struct err err = { 0 };
		int fd = unix_socket_connect(c->path, &err);

		if (fd < 0) {
			if (!complained)
				log_warning("no hypervisor yet: %s", err_text(&err));
			complained = true;
			pause_before_reconnect(c);
		} else {
			complained = false;
			set_connection(c, fd);
			read_connection(c, fd);
			set_connection(c, -1);
		}
		pthread_mutex_lock(&c->lock);
		stop = c->stop;
		pthread_mutex_unlock(&c->lock);
	}
	return NULL;
}

/* ---- Calls ---------------------------------------------------------------------------------------------------- */

static void monotonic_deadline(struct timespec *ts, uint64_t timeout_ms)
{
	clock_gettime(CLOCK_MONOTONIC, ts);
	ts->tv_sec += (time_t)(timeout_ms / 1000);
	ts->tv_nsec += (long)(timeout_ms % 1000) * 1000000;
	if (ts->tv_nsec >= 1000000000) {
		ts->tv_sec++;
		ts->tv_nsec -= 1000000000;
	}
}

/* The lock is held. Out of memory: then a capture stays open until this connection ends. */
static void expect_late(struct hypervisor_client *c, const struct hypervisor_call *call,
			json_int_t id)
{
	struct late *late = call->undo ? malloc(sizeof(*late)) : NULL;

	if (!late)
		return;
	*late = (struct late){
		.id = id,
		.undo = request_text(call->undo, call->desktop, call->undo_args, ++c->last_id),
		.next = c->late,
	};
	if (late->undo)
		c->late = late;
	else
		free(late);
}

/* 0 … UNIX_SOCKET_SEND_TIMEOUT_MS */
static int time_to_send(const struct timespec *end)
{
	struct timespec now;
	int64_t left;

	clock_gettime(CLOCK_MONOTONIC, &now);
	left = (int64_t)(end->tv_sec - now.tv_sec) * 1000 + (end->tv_nsec - now.tv_nsec) / 1000000;
	return left < 0                             ? 0
	       : left < UNIX_SOCKET_SEND_TIMEOUT_MS ? (int)left
						    : UNIX_SOCKET_SEND_TIMEOUT_MS;
}

/* Over whatever connection there is or comes, until @end. The lock is held. */
static int send_request(struct hypervisor_client *c, const char *text, const struct timespec *end,
			struct err *err)
{
	for (;;) {
		int r = 0, left_ms;

		while (!c->greeted && !c->stop && r == 0)
			r = pthread_cond_timedwait(&c->changed, &c->lock, end);
		if (!c->greeted)
			return err_say(err, ENOTCONN, "no hypervisor answers on %s", c->path);
		left_ms = time_to_send(end);
		if (left_ms == 0) /* nothing of it is out: the others keep their connection */
			return err_say(err, ETIMEDOUT, "the hypervisor on %s takes no requests",
				       c->path);
		r = unix_socket_send_line_within(c->fd, text, NULL, 0, left_ms, err);
		if (r == 0 || r == -EMSGSIZE || r == -EINVAL)
			return r; /* the last two: not a byte of it was sent */
		cut(c);
		if (r != -EPIPE)
			return r;
		/* It is gone, and did not get this line; our reader is about to hear of it. */
	}
}

/* Send and wait. The lock is held. */
static int exchange(struct hypervisor_client *c, const struct hypervisor_call *call,
		    const struct timespec *deadline, struct waiting *w, struct err *err)
{
	CLEANUP_FREE char *text = NULL;
	struct waiting **at;
	int r;

	*w = (struct waiting){ .id = ++c->last_id, .fd = -1 };
	text = request_text(call->op, call->desktop, call->args, w->id);
	if (!text)
		return err_set(err, ENOMEM, "ask the hypervisor");
	r = send_request(c, text, deadline, err);
	if (r < 0)
		return r;
	w->next = c->waiting;
	c->waiting = w;
	for (r = 0; !w->over && r == 0;)
		r = pthread_cond_timedwait(&c->changed, &c->lock, deadline);
	if (!w->over) {
		for (at = &c->waiting; *at != w;)
			at = &(*at)->next;
		*at = w->next;
		expect_late(c, call, w->id);
		return err_say(err, ETIMEDOUT, "the hypervisor does not answer");
	}
	if (!w->reply)
		return err_say(err, ECONNRESET, "the hypervisor went away");
	return 0;
}

static int errno_of(const char *name)
{
	int code;

	for (code = 1; code < ERRNO_MAX; code++) {
		const char *known = strerrorname_np(code);

		if (known && strcmp(known, name) == 0)
			return code;
	}
	return EIO;
}

static int take_reply(json_t *reply, json_t **ok, struct err *err)
{
	const char *code = NULL, *text = NULL;
	json_t *error = json_object_get(reply, "error"), *got = json_object_get(reply, "ok");
	const struct json_field fields[] = {
		{ "code", JSON_KIND_STRING, false, &code },
		{ "text", JSON_KIND_STRING, false, &text },
	};
	int r;

	if (error) {
		r = json_fields(error, fields, ARRAY_LEN(fields), "an error", err);
		return r < 0 ? r : err_say(err, errno_of(code), "%s", text);
	}
	if (!json_is_object(got))
		return err_say(err, EBADMSG, "the reply has neither ok nor error");
	if (ok)
		*ok = json_incref(got);
	return 0;
}

int hypervisor_client_call(struct hypervisor_client *c, const struct hypervisor_call *call,
			   struct err *err)
{
	struct timespec deadline;
	struct waiting w;
	int r;

	if (call->fd)
		*call->fd = -1;
	monotonic_deadline(&deadline, call->timeout_ms ? call->timeout_ms : CALL_TIMEOUT_MS);
	pthread_mutex_lock(&c->lock);
	do
		r = exchange(c, call, &deadline, &w, err);
	while (r == -ECONNRESET && call->again);
	pthread_mutex_unlock(&c->lock);
	if (r == 0)
		r = take_reply(w.reply, call->reply, err);
	if (r == 0 && call->fd)
		*call->fd = TAKE_FD(w.fd);
	json_decref(w.reply);
	base_close(w.fd);
	return r < 0 ? err_wrap(err, r, "hypervisor, %s%s%s", call->op, call->desktop ? " " : "",
				call->desktop ? call->desktop : "")
		     : 0;
}

uint64_t hypervisor_client_connections(struct hypervisor_client *c)
{
	uint64_t n;

	pthread_mutex_lock(&c->lock);
	n = c->connections;
	pthread_mutex_unlock(&c->lock);
	return n;
}

int hypervisor_client_epoch_op(struct hypervisor_client *client, const char *op,
			       const char *desktop, uint64_t epoch, json_t **reply, struct err *err)
{
	CLEANUP(json_decref) json_t *args = json_pack("{s:I}", "epoch", (json_int_t)epoch);

	if (!args)
		return err_set(err, ENOMEM, "ask the hypervisor");
	return hypervisor_client_call(client,
				      &(struct hypervisor_call){
					      .op = op,
					      .desktop = desktop,
					      .args = args,
					      .reply = reply,
				      },
				      err);
}

/* ---- Listeners, life ------------------------------------------------------------------------------------------ */

void hypervisor_client_listen(struct hypervisor_client *client,
			      struct hypervisor_listener *listener)
{
	pthread_mutex_lock(&client->listen_lock);
	listener->next = client->listeners;
	client->listeners = listener;
	pthread_mutex_unlock(&client->listen_lock);
}

void hypervisor_client_unlisten(struct hypervisor_client *client,
				struct hypervisor_listener *listener)
{
	struct hypervisor_listener **at;

	pthread_mutex_lock(&client->listen_lock);
	for (at = &client->listeners; *at && *at != listener;)
		at = &(*at)->next;
	if (*at)
		*at = listener->next;
	pthread_mutex_unlock(&client->listen_lock);
}

int hypervisor_client_new(struct hypervisor_client **out, const char *socket_path, struct err *err)
{
	CLEANUP(hypervisor_client_free) struct hypervisor_client *c = calloc(1, sizeof(*c));
	pthread_condattr_t attr;
	int r;

	if (!c)
		return err_set(err, ENOMEM, "connect to %s", socket_path);
	c->fd = -1;
	pthread_mutex_init(&c->lock, NULL);
	pthread_mutex_init(&c->listen_lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&c->changed, &attr);
	pthread_condattr_destroy(&attr);
	c->path = strdup(socket_path);
	if (!c->path)
		return err_set(err, ENOMEM, "connect to %s", socket_path);
	r = pthread_create(&c->thread, NULL, reader, c);
	if (r != 0)
		return err_set(err, r, "start a thread for %s", socket_path);
	c->thread_started = true;
	*out = TAKE(c);
	return 0;
}

void hypervisor_client_free(struct hypervisor_client *c)
{
	if (!c)
		return;
	pthread_mutex_lock(&c->lock);
	c->stop = true;
	if (c->fd >= 0)
		shutdown(c->fd, SHUT_RDWR);
	pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->lock);
	if (c->thread_started)
		pthread_join(c->thread, NULL);
	pthread_cond_destroy(&c->changed);
	pthread_mutex_destroy(&c->lock);
	pthread_mutex_destroy(&c->listen_lock);
	free(c->path);
	free(c);
}
