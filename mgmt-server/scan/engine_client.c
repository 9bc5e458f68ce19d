#include "mgmt-server/scan/engine_client.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "mgmt-server/scan/child.h"

enum {
	LOAD_TIMEOUT_MS = 10 * 60 * 1000,  /* official signatures compile in half a minute */
	ANSWER_TIMEOUT_MS = 12 * 60 * 1000 /* longer than the engine's own limit for one content */
};

struct engine_client {
	pid_t pid;
	int control;
	unsigned workers;
	pthread_t listener; /* collects the sockets of workers as they are forked */
	bool listening;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	int idle[ENGINE_WORKERS_MAX]; /* under lock: sockets of workers that do nothing */
	unsigned idle_count;
	bool gone; /* under lock: the engine itself ended */
	struct engine_hello hello;
	char temp[64];
};

static int start_program(struct engine_client *e, const char *program, const char *signatures,
			 struct err *err)
{
	char count[16];
	const char *argv[] = { program, signatures, e->temp, count, NULL };
	int pair[2];

	snprintf(count, sizeof(count), "%u", e->workers);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_set(err, errno, "start the scan engine");
	e->control = pair[0];
	e->pid = child_start_apart(argv, &pair[1], 1, err);
	close(pair[1]);
	return e->pid < 0 ? (int)e->pid : 0;
}

static void give_back(struct engine_client *e, int socket)
{
	pthread_mutex_lock(&e->lock);
	if (e->idle_count < ENGINE_WORKERS_MAX)
		e->idle[e->idle_count++] = socket;
	else
		close(socket);
	pthread_cond_signal(&e->changed);
	pthread_mutex_unlock(&e->lock);
}

static void *listen_for_workers(void *arg)
{
	struct engine_client *e = arg;
	struct engine_worker_ready ready;
	int socket = -1;

	while (engine_wire_receive(e->control, &ready, sizeof(ready), &socket, -1) == 0) {
		if (socket >= 0)
			give_back(e, socket);
	}
	pthread_mutex_lock(&e->lock);
	e->gone = true;
	pthread_cond_broadcast(&e->changed);
	pthread_mutex_unlock(&e->lock);
	return NULL;
}

static int wait_until_loaded(struct engine_client *e, struct err *err)
{
	int r = engine_wire_receive(e->control, &e->hello, sizeof(e->hello), NULL, LOAD_TIMEOUT_MS);

	if (r == ENGINE_WIRE_CLOSED)
		return err_say(err, EIO, "the scan engine ended while it loaded its signatures");
	if (r < 0)
		return err_set(err, -r, "wait for the scan engine to load its signatures");
	e->hello.version[ENGINE_TEXT_MAX - 1] = 0;
	e->hello.signature_version[ENGINE_TEXT_MAX - 1] = 0;
	if (e->hello.status < 0)
		return err_say(err, -e->hello.status, "%s", e->hello.version);
	return 0;
}

int engine_client_start(struct engine_client **out, const char *program, const char *signatures,
			unsigned workers, struct err *err)
{
	CLEANUP(engine_client_stop) struct engine_client *e = calloc(1, sizeof(*e));
	int r;

	if (!e)
		return err_set(err, ENOMEM, "start the scan engine");
	e->control = -1;
	e->workers = workers < 1 ? 1 : workers > ENGINE_WORKERS_MAX ? ENGINE_WORKERS_MAX : workers;
	pthread_mutex_init(&e->lock, NULL);
	pthread_cond_init(&e->changed, NULL);
	snprintf(e->temp, sizeof(e->temp), "/tmp/godwit-scan.XXXXXX");
	if (!mkdtemp(e->temp)) {
		e->temp[0] = 0;
		return err_set(err, errno, "make a temp folder for the scan engine");
	}
	r = start_program(e, program, signatures, err);
	if (r == 0)
		r = wait_until_loaded(e, err);
	if (r < 0)
		return r;
	r = pthread_create(&e->listener, NULL, listen_for_workers, e);
	if (r)
		return err_set(err, r, "start the scan engine");
	e->listening = true;
	*out = TAKE(e);
	return 0;
}

void engine_client_stop(struct engine_client *e)
{
	char path[128];

	if (!e)
		return;
	if (e->control >= 0)
		shutdown(e->control, SHUT_RDWR);
	if (e->listening)
		pthread_join(e->listener, NULL);
	base_close(e->control);
	for (unsigned i = 0; i < e->idle_count; i++)
		close(e->idle[i]);
	if (e->pid > 0)
		child_end(e->pid, 0);
	if (e->temp[0]) {
		snprintf(path, sizeof(path), "%s/godwit-canary.ndb", e->temp);
		unlink(path);
		rmdir(e->temp);
	}
	pthread_cond_destroy(&e->changed);
	pthread_mutex_destroy(&e->lock);
	free(e);
}

const struct engine_hello *engine_client_hello(const struct engine_client *e)
{
	return &e->hello;
}

/* A worker's socket, or -1 when the engine is gone. */
static int take_worker(struct engine_client *e)
{
	int socket = -1;

	pthread_mutex_lock(&e->lock);
	while (!e->idle_count && !e->gone)
		pthread_cond_wait(&e->changed, &e->lock);
	if (e->idle_count)
		socket = e->idle[--e->idle_count];
	pthread_mutex_unlock(&e->lock);
	return socket;
}

/* Ask one worker; its socket is given back only after a good answer, a successor's comes by itself. */
static int ask(struct engine_client *e, int content, const struct engine_request *request,
	       struct engine_reply *reply)
{
	int r, socket = take_worker(e);

	if (socket < 0)
		return -EPIPE;
	r = engine_wire_send(socket, request, sizeof(*request), content);
	if (r == 0)
		r = engine_wire_receive(socket, reply, sizeof(*reply), NULL, ANSWER_TIMEOUT_MS);
	if (r == 0)
		give_back(e, socket);
	else
		close(socket);
	return r > 0 ? -EPIPE : r;
}

static void scan(struct engine_client *e, int content, const struct engine_request *request,
		 struct engine_reply *reply)
{
	int r = -EPIPE;

	for (int tries = 0; tries < 2 && r < 0; tries++)
		r = ask(e, content, request, reply);

	reply->text[ENGINE_TEXT_MAX - 1] = 0;
	if (r < 0) {
		*reply = (struct engine_reply){ .verdict = ENGINE_UNFINISHED };
		snprintf(reply->text, sizeof(reply->text),
			 "the engine died twice while scanning it");
	} else if (reply->verdict != ENGINE_INFECTED && reply->canaries != ENGINE_CANARIES) {
		reply->verdict = ENGINE_UNFINISHED;
		snprintf(reply->text, sizeof(reply->text), "the engine did not find its canary%s",
			 reply->canaries & ENGINE_CANARY_PLAIN ? " inside an archive" : "");
	} else if (reply->verdict > ENGINE_UNFINISHED) {
		reply->verdict = ENGINE_UNFINISHED;
		snprintf(reply->text, sizeof(reply->text), "the engine gave no verdict");
	}
}

void engine_client_scan(struct engine_client *e, int content, uint64_t size,
			struct engine_reply *reply)
{
	scan(e, content, &(struct engine_request){ .size = size, .way = ENGINE_FILE }, reply);
}

void engine_client_scan_memory(struct engine_client *e, int content, uint64_t size,
			       struct engine_reply *reply)
{
	scan(e, content, &(struct engine_request){ .size = size, .way = ENGINE_MEMORY }, reply);
}
