#include "client-agent/memory_server.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/unix_socket.h"
#include "migrate/postcopy_source.h"
#include "snapshot/store_client.h"

enum { WATCH_MS = 2 }; /* how exactly the moment is known in which the guest begins to run */

/* One desktop. In the list until memory_server_end; refs: the list and its thread. */
struct page_source {
	struct memory_server *server;
	struct page_source *next;
	unsigned refs;
	uint64_t epoch;
	struct manifest manifest;
	char *job;
	bool recover;
	int fd;
	struct http_client *http; /* its own, so that its bytes can be counted */
	struct chunk_source source;
	struct postcopy_source_stats stats;
	atomic_bool cancel, active;
	uint64_t running_at_ms, bytes_before_run; /* under the server's lock */
	int r;
	struct err err;
};

struct memory_server {
	struct agent *agent;
	pthread_mutex_t lock; /* list, refs */
	struct page_source *list;
};

static void page_source_free(struct page_source *p)
{
	base_close(p->fd);
	store_client_source_free(&p->source);
	http_client_free(p->http);
	manifest_deinit(&p->manifest);
	free(p->job);
	free(p);
}
DEFINE_CLEANUP(struct page_source *, page_source_free);

/* The lock is held. */
static void unref(struct page_source *p)
{
	if (--p->refs == 0)
		page_source_free(p);
}

static struct page_source **find(struct memory_server *s, const char *desktop, uint64_t epoch)
{
	struct page_source **at = &s->list;

	while (*at && !((*at)->epoch == epoch && strcmp((*at)->manifest.desktop, desktop) == 0))
		at = &(*at)->next;
	return at;
}

/* ---- Its threads ------------------------------------------------------------------------------------------------- */

/* Note the moment in which the guest begins to run: stats say only that it has. */
static void *watch(void *arg)
{
	struct page_source *p = arg;
	uint64_t sent, received;

	while (p->active && !p->stats.running)
		clock_sleep_ms(WATCH_MS);
	if (p->stats.running) {
		http_client_bytes(p->http, &sent, &received);
		pthread_mutex_lock(&p->server->lock);
		p->running_at_ms = clock_now_ms();
		p->bytes_before_run = received;
		pthread_mutex_unlock(&p->server->lock);
	}
	return NULL;
}

static void *play(void *arg)
{
	struct page_source *p = arg;
	struct memory_server *server = p->server;
	struct err err = { 0 };
	pthread_t watcher;
	bool watched;
	int r;

	watched = pthread_create(&watcher, NULL, watch, p) == 0;
	r = postcopy_source_run(&(struct postcopy_source){ .manifest = &p->manifest,
							   .source = p->source,
							   .fd = p->fd,
							   .recover = p->recover,
							   .cancel = &p->cancel,
							   .stats = &p->stats },
				&err);
	if (r < 0)
		log_warning("memory did not arrive as a whole: %s desktop=%s pages=%ju/%ju",
			    err_text(&err), p->manifest.desktop, (uintmax_t)p->stats.pages_sent,
			    (uintmax_t)p->stats.pages_total);
	else
		log_info("memory is local desktop=%s pages=%ju requests=%ju", p->manifest.desktop,
			 (uintmax_t)p->stats.pages_sent, (uintmax_t)p->stats.requests);
	shutdown(p->fd, SHUT_RDWR);
	pthread_mutex_lock(&server->lock);
	p->r = r;
	p->err = err;
	p->active = false;
	pthread_mutex_unlock(&server->lock);
	if (watched)
		pthread_join(watcher, NULL);
	pthread_mutex_lock(&server->lock);
	unref(p);
	pthread_mutex_unlock(&server->lock);
	return NULL;
}

/* ---- Beginning ---------------------------------------------------------------------------------------------------- */

static int copy_manifest(const struct manifest *from, struct manifest *to, struct err *err)
{
	CLEANUP(json_decref) json_t *value = manifest_to_json(from);

	return value ? manifest_from_json(to, value, err) : err_set(err, ENOMEM, "copy a manifest");
}

static int prepare(struct memory_server *s, const struct memory_server_order *order,
		   struct page_source **out, struct err *err)
{
	CLEANUP(page_source_free) struct page_source *p = calloc(1, sizeof(*p));
	int r;

	if (!p)
		return err_set(err, ENOMEM, "send memory");
	p->server = s;
	p->fd = -1;
	p->epoch = order->epoch;
	p->recover = order->recover;
	p->refs = 2;
	p->active = true;
	manifest_init(&p->manifest);
	r = copy_manifest(order->manifest, &p->manifest, err);
	if (r < 0)
		return r;
	p->job = strdup(order->job);
	if (!p->job)
		return err_set(err, ENOMEM, "send memory");
	r = identity_http(&s->agent->identity, 0, &p->http, err);
	if (r == 0)
		r = store_client_source_new(&p->source, p->http, AGENT_PREFIX, p->manifest.desktop,
					    p->job[0] ? p->job : NULL, err);
	if (r < 0)
		return r;
	p->fd = unix_socket_connect(order->socket, err);
	if (p->fd < 0)
		return p->fd;
	*out = TAKE(p);
	return 0;
}

static int add(struct memory_server *s, struct page_source *p, struct err *err)
{
	struct page_source **at = find(s, p->manifest.desktop, p->epoch), *old = *at;
	pthread_attr_t attr;
	pthread_t thread;
	int r;

	if (old && old->active)
		return err_say(err, EALREADY, "memory of desktop %s is being sent already",
			       p->manifest.desktop);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	r = pthread_create(&thread, &attr, play, p); /* it waits for the lock before it unrefs */
	pthread_attr_destroy(&attr);
	if (r != 0)
		return err_set(err, r, "start a thread for memory");
	if (old) {
		*at = old->next;
		unref(old);
	}
	p->next = s->list;
	s->list = p;
	return 0;
}

int memory_server_begin(struct memory_server *server, const struct memory_server_order *order,
			struct err *err)
{
	CLEANUP(page_source_free) struct page_source *p = NULL;
	int r;

	r = prepare(server, order, &p, err);
	if (r < 0)
		return err_wrap(err, r, "memory of desktop %s", order->manifest->desktop);
	pthread_mutex_lock(&server->lock);
	r = add(server, p, err);
	if (r == 0)
		p = NULL;
	pthread_mutex_unlock(&server->lock);
	return r;
}

bool memory_server_state(struct memory_server *server, const char *desktop, uint64_t epoch,
			 struct memory_server_state *out)
{
	const struct page_source *p;

	pthread_mutex_lock(&server->lock);
	p = *find(server, desktop, epoch);
	if (p)
		*out = (struct memory_server_state){
			.active = p->active,
			.running = p->stats.running,
			.running_at_ms = p->running_at_ms,
			.bytes_before_run = p->bytes_before_run,
			.pages_sent = p->stats.pages_sent,
			.pages_total = p->stats.pages_total,
			.requests = p->stats.requests,
			.r = p->r,
			.err = p->err,
		};
	pthread_mutex_unlock(&server->lock);
	return p != NULL;
}

void memory_server_end(struct memory_server *server, const char *desktop, uint64_t epoch)
{
	struct page_source **at, *p;

	pthread_mutex_lock(&server->lock);
	at = find(server, desktop, epoch);
	p = *at;
	if (p) {
		*at = p->next;
		p->cancel = true;
		unref(p);
	}
	pthread_mutex_unlock(&server->lock);
}

int memory_server_new(struct memory_server **out, struct agent *agent, struct err *err)
{
	struct memory_server *s = calloc(1, sizeof(*s));

	if (!s)
		return err_set(err, ENOMEM, "serve memory");
	s->agent = agent;
	pthread_mutex_init(&s->lock, NULL);
	*out = s;
	return 0;
}
