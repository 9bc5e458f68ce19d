#include "hypervisor/agent_socket.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/log.h"
#include "common/unix_socket.h"
#include "hypervisor/desktop_capture.h"
#include "hypervisor/requests.h"

enum {
	CLIENTS_MAX = 64,
	IN_FLIGHT_MAX = 64, /* per connection; then its reader waits */
	QUEUE_MAX = 4096,   /* lines that wait to be sent */
	SOCKET_MODE = 0660,
};

struct message {
	struct message *next;
	char *line;
	int fd; /* -1: none */
};

struct client {
	struct agent_socket *server;
	struct client *next;
	int fd;
	pthread_t reader, writer;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct message *first, **last;
	size_t queued, in_flight;
	bool closed; /* nothing is sent any more */
};

struct agent_socket {
	struct hypervisor *hypervisor;
	int listen_fd, stop_fd;
	pthread_t acceptor;
	pthread_mutex_t lock; /* clients; taken before a client's lock */
	pthread_cond_t changed;
	struct client *clients;
	size_t client_count;
};

struct job {
	struct client *client;
	char *line;
};

/* ---- sending --------------------------------------------------------------------------------------------------- */

static void free_message(struct message *m)
{
	base_close(m->fd);
	free(m->line);
	free(m);
}

/* With the client's lock held. */
static void cut(struct client *c)
{
	c->closed = true;
	shutdown(c->fd, SHUT_RDWR);
	pthread_cond_broadcast(&c->changed);
}

/* Takes line and fd. */
static void send_later(struct client *c, char *line, int fd)
{
	struct message *m = line ? malloc(sizeof(*m)) : NULL;

	pthread_mutex_lock(&c->lock);
	if (m && !c->closed && c->queued < QUEUE_MAX) {
		*m = (struct message){ .line = line, .fd = fd };
		*c->last = m;
		c->last = &m->next;
		c->queued++;
		pthread_cond_broadcast(&c->changed);
		m = NULL;
		line = NULL;
		fd = -1;
	} else if (!c->closed) {
		log_warning("a client that does not read its lines is cut off");
		cut(c);
	}
	pthread_mutex_unlock(&c->lock);
	free(m);
	free(line);
	base_close(fd);
}

static void *write_loop(void *arg)
{
	struct client *c = arg;

	pthread_mutex_lock(&c->lock);
	for (;;) {
		struct message *m;
		int r;

		while (!c->first && !c->closed)
			pthread_cond_wait(&c->changed, &c->lock);
		if (c->closed)
			break;
		m = c->first;
		c->first = m->next;
		if (!c->first)
			c->last = &c->first;
		c->queued--;
		pthread_mutex_unlock(&c->lock);
		r = unix_socket_send_line(c->fd, m->line, &m->fd, m->fd >= 0 ? 1 : 0, NULL);
		free_message(m);
		pthread_mutex_lock(&c->lock);
		if (r < 0)
			cut(c);
	}
	pthread_mutex_unlock(&c->lock);
	return NULL;
}

void agent_socket_emit(void *arg, json_t *event)
{
	struct agent_socket *s = arg;
	char *text = json_text(event);

	json_decref(event);
	pthread_mutex_lock(&s->lock);
	for (struct client *c = s->clients; c && text; c = c->next)
		send_later(c, strdup(text), -1);
	pthread_mutex_unlock(&s->lock);
	free(text);
}

/* ---- requests -------------------------------------------------------------------------------------------------- */

static void *run_job(void *arg)
{
	struct job *job = arg;
	struct client *c = job->client;
	int fd;
	char *answer = requests_answer(c->server->hypervisor, c, job->line, &fd);

	send_later(c, answer, fd);
	free(job->line);
	free(job);
	pthread_mutex_lock(&c->lock);
	c->in_flight--;
	pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->lock);
	return NULL;
}

/* Return 0 or -errno: then the connection ends. */
static int start_job(struct client *c, const char *line)
{
	struct job *job = malloc(sizeof(*job));
	char *copy = strdup(line);
	pthread_t thread;
	int r = -ENOMEM;

	pthread_mutex_lock(&c->lock);
	while (c->in_flight >= IN_FLIGHT_MAX && !c->closed)
		pthread_cond_wait(&c->changed, &c->lock);
	c->in_flight++;
	pthread_mutex_unlock(&c->lock);
	if (job && copy) {
		*job = (struct job){ .client = c, .line = copy };
		r = -pthread_create(&thread, NULL, run_job, job);
	}
	if (r == 0) {
		pthread_detach(thread);
		return 0;
	}
	free(job);
	free(copy);
	pthread_mutex_lock(&c->lock);
	c->in_flight--;
	pthread_mutex_unlock(&c->lock);
	return r;
}

static void read_requests(struct client *c)
{
	struct unix_socket_lines lines = { .fd = c->fd };
	struct err err = { .code = 0 };
	char *line;
	int r;

	while ((r = unix_socket_read_line(&lines, -1, &line, NULL, NULL, &err)) == 0) {
		r = start_job(c, line);
		if (r < 0)
			break;
	}
	if (r < 0)
		log_warning("a connection ends: %s",
			    err.code ? err_text(&err) : strerrordesc_np(-r));
	unix_socket_lines_deinit(&lines);
}

/* ---- connections ----------------------------------------------------------------------------------------------- */

static void free_client(struct client *c)
{
	while (c->first) {
		struct message *m = c->first;

		c->first = m->next;
		free_message(m);
	}
	base_close(c->fd);
	pthread_cond_destroy(&c->changed);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

static void forget_client(struct client *c)
{
	struct agent_socket *s = c->server;
	struct client **at;

	pthread_mutex_lock(&s->lock);
	for (at = &s->clients; *at != c; at = &(*at)->next)
		;
	*at = c->next;
	pthread_mutex_unlock(&s->lock);
}

static void *read_loop(void *arg)
{
	struct client *c = arg;
	struct agent_socket *s = c->server;

	read_requests(c);
	pthread_mutex_lock(&c->lock);
	cut(c);
	while (c->in_flight > 0)
		pthread_cond_wait(&c->changed, &c->lock);
	pthread_mutex_unlock(&c->lock);
	pthread_join(c->writer, NULL);
	desktop_capture_abandon(s->hypervisor, c);
	forget_client(c);
	free_client(c);
	pthread_mutex_lock(&s->lock);
	s->client_count--;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

static int start_threads(struct client *c)
{
	int r = pthread_create(&c->writer, NULL, write_loop, c);

	if (r != 0)
		return -r;
	r = pthread_create(&c->reader, NULL, read_loop, c);
	if (r == 0) {
		pthread_detach(c->reader);
		return 0;
	}
	pthread_mutex_lock(&c->lock);
	cut(c);
	pthread_mutex_unlock(&c->lock);
	pthread_join(c->writer, NULL);
	return -r;
}

static void add_client(struct agent_socket *s, int fd)
{
	struct client *c = calloc(1, sizeof(*c));
	int r = -ENOMEM;

	if (!c) {
		base_close(fd);
		return;
	}
	*c = (struct client){ .server = s, .fd = fd };
	c->last = &c->first;
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->changed, NULL);
	/* The list is held until the threads are there: the reader takes itself off it. */
	pthread_mutex_lock(&s->lock);
	if (s->client_count < CLIENTS_MAX)
		r = start_threads(c);
	if (r == 0) {
		c->next = s->clients;
		s->clients = c;
		s->client_count++;
	}
	pthread_mutex_unlock(&s->lock);
	if (r < 0) {
		log_warning("a connection is refused: too many clients or no memory");
		free_client(c);
	}
}

static void *accept_loop(void *arg)
{
	struct agent_socket *s = arg;
	struct pollfd polls[] = { { .fd = s->listen_fd, .events = POLLIN },
				  { .fd = s->stop_fd, .events = POLLIN } };

	while (!(polls[1].revents & POLLIN)) {
		int fd;

		if (poll(polls, ARRAY_LEN(polls), -1) < 0 || !(polls[0].revents & POLLIN))
			continue;
		fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC);
		if (fd >= 0)
			add_client(s, fd);
		else if (errno == EMFILE || errno == ENFILE)
			poll(polls + 1, 1, 100); /* no descriptors: give clients time to go */
	}
	return NULL;
}

int agent_socket_new(struct agent_socket **out, struct hypervisor *hypervisor, struct err *err)
{
	struct agent_socket *s = malloc(sizeof(*s));

	if (!s)
		return err_set(err, ENOMEM, "make the server");
	*s = (struct agent_socket){ .hypervisor = hypervisor,
				    .listen_fd = -1,
				    .stop_fd = eventfd(0, EFD_CLOEXEC) };
	if (s->stop_fd < 0) {
		free(s);
		return err_set(err, errno, "make the server");
	}
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->changed, NULL);
	*out = s;
	return 0;
}

int agent_socket_listen(struct agent_socket *s, const char *path, struct err *err)
{
	int fd = unix_socket_listen(path, SOCKET_MODE, err), r;

	if (fd < 0)
		return fd;
	s->listen_fd = fd;
	r = pthread_create(&s->acceptor, NULL, accept_loop, s);
	if (r != 0) {
		base_close(TAKE_FD(s->listen_fd));
		return err_set(err, r, "serve %s", path);
	}
	return 0;
}

static void end_connections(struct agent_socket *s)
{
	pthread_mutex_lock(&s->lock);
	for (struct client *c = s->clients; c; c = c->next) {
		pthread_mutex_lock(&c->lock);
		cut(c);
		pthread_mutex_unlock(&c->lock);
	}
	while (s->client_count > 0)
		pthread_cond_wait(&s->changed, &s->lock);
	pthread_mutex_unlock(&s->lock);
}

void agent_socket_end(struct agent_socket *s)
{
	uint64_t one = 1;

	if (s->listen_fd < 0)
		return;
	if (write(s->stop_fd, &one, sizeof(one)) < 0)
		log_error("the server cannot be stopped: %s", strerrordesc_np(errno));
	pthread_join(s->acceptor, NULL);
	end_connections(s);
	base_close(TAKE_FD(s->listen_fd));
}

void agent_socket_free(struct agent_socket *s)
{
	if (!s)
		return;
	agent_socket_end(s);
	base_close(s->stop_fd);
	pthread_cond_destroy(&s->changed);
	pthread_mutex_destroy(&s->lock);
	free(s);
}
